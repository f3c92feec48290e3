"""What the training loop asks of a model, of whoever takes its news, and of the processes that train together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray
from torch import Tensor, nn

Tensors = dict[str, Shaped[Tensor, "..."]]
"""A batch: the first axis of every tensor counts its samples."""

Row = Mapping[str, Any]
Panels = dict[str, UInt8[ndarray, "h w 3"]]


@dataclass(frozen=True)
class Moment:
    """What a loss may depend on besides the model and the samples."""

    step: int
    """Steps made so far, for ramps."""
    generator: torch.Generator
    """A CPU generator; it alone decides what is drawn."""
    companions: Any
    """What `Task.companions` made."""


class Task(Protocol):
    """What is trained. Instances travel to workers, so they hold configuration only."""

    @property
    def kind(self) -> str:
        """Name of the model in checkpoints."""
        ...

    @property
    def verdict(self) -> tuple[str, str]:
        """Two of `evaluate`'s names: the score that decides, and the baseline it must beat (more is better)."""
        ...

    def build_model(self) -> nn.Module:
        """A new model on the CPU; torch's global seed decides its weights."""
        ...

    def companions(self, device: torch.device) -> Any:
        """Frozen networks and the like that loss and evaluation need; made once in every worker, never saved."""
        ...

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        """What a person wants to know before the first step; the batch is what goes through the model at once."""
        ...

    def collate(self, rows: Sequence[Row]) -> Tensors:
        """Decode sample rows into CPU tensors, as small as they can travel."""
        ...

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The mean loss of a batch's samples on the model's device, and detached scalars to log.

        The scalars have the same names at every step; one that a step did not compute is nan.
        """
        ...

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> list[dict[str, float]]:
        """Scores of each of the held-out rows, which come with their number in the held-out set."""
        ...

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: Any) -> Panels:
        """Pictures that show how the model does on a few held-out rows, by names fit for files."""
        ...


class Reporter(Protocol):
    """Where a run's news goes."""

    def log(self, entry: dict[str, Any]) -> None:
        """Take one line; called on rank 0."""
        ...

    def panels(self, step: int, images: Panels) -> list[str]:
        """Keep pictures of a step; called on rank 0. Returns their names inside the run's folder."""
        ...

    def checkpoint(self, metrics: dict[str, float], write: Callable[[Path], None], last: bool) -> None:
        """Keep a checkpoint. Called on every rank together; `write` fills a folder and is used on rank 0."""
        ...


def _alone(items: list[Any]) -> list[Any]:
    return items


def _unwrapped(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class World:
    """This process among those that train together; the default is a single process."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    gather: Callable[[list[Any]], list[Any]] = _alone
    """All processes' lists, joined, on every process."""
    wrap: Callable[[nn.Module], nn.Module] = _unwrapped
    """Make a model's gradients those of the whole world (DDP)."""
