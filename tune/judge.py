"""How trials are judged: all by one protocol that nothing searched has a say in.

The same samples of the validation split, the same held-out view of each, the same number of input views, the same
background and image size: those of the settings the search started from. A trial's own losses, view counts and
backgrounds decide how it is trained and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.evaluation.outputs import held_out_sheet
from mouse_facelift.evaluation.reconstruction import (
    ROTATE,
    Reconstruction,
    ViewChoice,
    choose_views,
    judge,
    predict,
    reconstruct_sample,
)
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.samples.schema import Sample, placed, sample_from_row
from training.gslrm_settings import GSLRMTrainingConfig
from training.launch import LaunchedTask
from training.task import Moment, Panels, Row, Tensors
from tune.memory import PeakMemory

_ROOM, _SMALLEST = 1.4, 16
"""Side of a close-up: so many times the silhouettes' extent, and so many pixels at least."""


@dataclass(frozen=True)
class ViewJudge:
    """Held-out views of GS-LRM's reconstructions.

    Attributes:
        config: what the search started from.
        inputs: how many of a sample's other views go in; scores are means over these.
    """

    config: GSLRMTrainingConfig
    inputs: tuple[int, ...]

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> list[dict[str, float]]:
        """One mapping per row: means over the numbers of input views, undefined ones left out of them."""
        return [_means([self._scores(model, row, number, n) for n in self.inputs]) for number, row in rows]

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> Panels:
        """The same sheets for every trial, with the most input views, close to the animal."""
        most = max(self.inputs)
        background, sheets = self.config.views.background, {}
        for number, row in rows:
            sample, choice = self._chosen(row, number, most)
            shown = reconstruct_sample(_gslrm(model), sample, choice, background=background)
            sheets[f"sample{number}"] = held_out_sheet(sample, close_up(shown))
        return sheets

    def by_views(self, model: nn.Module, rows: Sequence[tuple[int, Row]], most: int) -> dict[int, dict[str, float]]:
        """Scores with 1 to `most` input views on the same targets, and the time and memory of one reconstruction."""
        table = {}
        for inputs in range(1, most + 1):
            self._scores(model, rows[0][1], rows[0][0], inputs)
            with PeakMemory() as memory:
                began = time.perf_counter()
                seen = [self._scores(model, row, number, inputs) for number, row in rows]
                seconds = (time.perf_counter() - began) / len(rows)
            table[inputs] = _means(seen) | {"seconds": seconds, "memory_mib": memory.above_start_mib}
        return table

    def _scores(self, model: nn.Module, row: Row, number: int, inputs: int) -> dict[str, float]:
        sample, choice = self._chosen(row, number, inputs)
        background = self.config.views.background
        gaussians = predict(_gslrm(model), [sample], [choice], background=background)[0]
        scores = judge(gaussians, sample, choice, background=background)
        assert scores is not None, "a view is always held out"
        return scores.named()

    def _chosen(self, row: Row, number: int, inputs: int) -> tuple[Sample, ViewChoice]:
        with placed(f"{self.config.data}, sample {row['sample_id']}"):
            sample = sample_from_row(row)
        sample = reduced_to(sample, self.config.model.image_size)
        never = self.config.views.hold_out
        held_out = never[number % len(never)] if never else ROTATE
        return sample, choose_views(sample.cameras, held_out, inputs, number, never)


Judge = ViewJudge | LaunchedTask
"""Who evaluates: for multi-view diffusion the task of the settings that the search started from."""


@dataclass(frozen=True)
class JudgedTask:
    """A task that is trained as it says and evaluated as the judge says; see `training.task.Task`."""

    inner: LaunchedTask
    judge: Judge

    @property
    def kind(self) -> str:
        return self.inner.kind

    @property
    def verdict(self) -> tuple[str, str]:
        return self.inner.verdict

    @property
    def columns(self) -> tuple[str, ...]:
        return self.inner.columns

    def build_model(self) -> nn.Module:
        return self.inner.build_model()

    def companions(self, device: torch.device) -> Any:
        return self.inner.companions(device)

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        return self.inner.describe(model, batch)

    def check_sample(self, row: Row) -> None:
        self.inner.check_sample(row)

    def collate(self, rows: Sequence[Row]) -> Tensors:
        return self.inner.collate(rows)

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        return self.inner.loss(model, batch, moment)

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> list[dict[str, float]]:
        return self.judge.evaluate(model, rows, companions)

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> Panels:
        return self.judge.panels(model, rows, companions)


def close_up(shown: Reconstruction) -> Reconstruction:
    """Only the square around the animal's true silhouettes in the held-out and the nearest view, with some room.

    The truth alone says where it lies, so that pictures of different models show the same.
    """
    views = [view for view in (shown.choice.held_out, shown.nearest) if view is not None]
    height, width = shown.masks.shape[1:]
    inside = (shown.masks[views] > 0.1).any(0).nonzero()
    if not len(inside):
        return shown
    (top, left), (bottom, right) = inside.min(0).values.tolist(), (inside.max(0).values + 1).tolist()
    side = min(max(round(_ROOM * max(bottom - top, right - left)), _SMALLEST), height, width)
    first_row = min(max((top + bottom - side) // 2, 0), height - side)
    first_column = min(max((left + right - side) // 2, 0), width - side)
    rows, columns = slice(first_row, first_row + side), slice(first_column, first_column + side)
    rendering = replace(
        shown.rendering, rgb=shown.rendering.rgb[:, rows, columns], alpha=shown.rendering.alpha[:, rows, columns]
    )
    truth, masks = shown.truth[:, rows, columns], shown.masks[:, rows, columns]
    return replace(shown, truth=truth, masks=masks, rendering=rendering)


def _gslrm(model: nn.Module) -> GSLRM:
    assert isinstance(model, GSLRM)
    return model


def _means(seen: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of all scores; a score that is defined nowhere is nan."""
    return {name: _mean([scores[name] for scores in seen]) for name in seen[0]}


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def defined(scores: Mapping[str, float | None]) -> dict[str, float]:
    """The scores that have a value."""
    return {name: value for name, value in scores.items() if value is not None and math.isfinite(value)}
