"""How good the views are that a trained multi-view diffusion model invents: by slot, at held-out times.

    python -m tests.benchmarks.generated_views --data DATASET --run RUN --picture grid.png

Every sample of split=val is generated from each of the run's reference cameras in turn and compared with its true
views, beside two baselines that know nothing of where a view is: the reference image copied to all slots, and the mean
training image of each slot. One denoising step gives the model's mean guess, the sharpest possible score for a blurred
picture; many steps give a sample, which may be sharp and elsewhere. So both are shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.checkpoints import read_config
from mouse_facelift.evaluation.images import encode_png
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.scoring import SCORES, Generated, TrueViews, model_scores, rival_scores, view_sheet
from mouse_facelift.mvdiffusion.source import load_mvdiffusion
from mouse_facelift.plain import from_plain
from training.dataset import Split
from training.mvdiffusion import mean_views
from training.mvdiffusion_settings import MVDiffusionTrainingConfig, ValidationConfig
from training.mvdiffusion_task import MVDiffusionTask


@dataclass(frozen=True)
class Config:
    """What is scored."""

    data: str
    """Dataset; split=train gives the mean images, split=val is generated."""
    run: Path
    """Run or checkpoint."""
    steps: tuple[int, ...] = (1, 4, 20)
    """Denoising steps of each row."""
    guidance: tuple[float, ...] = (1.0, 3.0)
    """Guidance scales; those above 1 are shown at the most steps only."""
    references: int = 0
    """Reference cameras used; 0 for all of the run's."""
    max_samples: int = 0
    """Held-out samples, evenly spread; 0 for all."""
    picture: Path | None = None
    """Where to put a sheet of some samples."""
    seed: int = 0


@dataclass(frozen=True)
class Way:
    """One way to call the sampler."""

    steps: int
    guidance: float

    @property
    def words(self) -> str:
        """A row's name."""
        return f"{self.steps} step{'s' if self.steps > 1 else ''}, guidance {self.guidance:g}"


def task_of(config: Config, number: int, names: Sequence[str]) -> MVDiffusionTask:
    """The run's task with one of its references first."""
    stored = read_config(config.run)
    settings = {key: value for key, value in stored.items() if key != "kind"} | {"data": config.data}
    full = from_plain(MVDiffusionTrainingConfig, settings, source=str(config.run))
    rotated = (*names[number:], *names[:number])
    return MVDiffusionTask(replace(full, views=replace(full.views, references=rotated)))


def generated(
    pipeline: MVDiffusion, task: MVDiffusionTask, truth: TrueViews, way: Way, seed: int
) -> Float[Tensor, "v c h w"]:
    """All views of one sample."""
    asked = replace(task.config, validation=ValidationConfig((way.guidance,), way.steps, seed))
    return replace(task, config=asked).generate(pipeline, truth, 0, way.guidance)


def found_rows(config: Config, names: Sequence[str], ways: Sequence[Way]) -> Iterator[tuple[str, dict[str, float]]]:
    """(row's name, scores) of everything generated and of the baselines."""
    pipeline = load_mvdiffusion(config.run)
    split = Split.find(config.data, "val")
    count = config.max_samples or split.rows
    sheets: list[np.ndarray] = []
    for number in range(config.references or len(names)):
        task = task_of(config, number, names)
        mean = mean_views(task, Split.find(config.data, "train"))
        rows = split.spread_rows(count, task.columns)
        for index, row in enumerate(rows):
            truth = task.true_views(row)
            rivals = rival_scores(truth, None if mean is None else torch.from_numpy(mean))
            for name, prefix in (("reference copied", "nearest_"), ("mean training image", "mean_")):
                yield name, {k.removeprefix(prefix): v for k, v in rivals.items() if k.startswith(prefix)}
            made: dict[str, Any] = {}
            for way in ways:
                began = time.process_time()
                views = generated(pipeline, task, truth, way, config.seed + index)
                seconds = time.process_time() - began
                made[way.words] = views[:, :3]
                yield way.words, model_scores(Generated.of(views, truth), truth) | {"seconds": seconds}
            if number == 0 and index % max(1, len(rows) // 4) == 0:
                sheets.append(view_sheet(truth, made))
    if config.picture is not None:
        config.picture.write_bytes(encode_png(np.concatenate(sheets)))


def table(found: Mapping[str, list[dict[str, float]]], slots: Sequence[str]) -> list[str]:
    """One row per way and score, one column per slot, and the mean over invented views."""
    lines = [
        f"{'':34}{'invented':>9} " + " ".join(f"{slot[:11]:>11}" for slot in slots) + f"{'hull IoU':>10}{'CPU s':>7}"
    ]
    for score in SCORES:
        lines.append(score.replace("_", " "))
        for name, scores in found.items():
            cells = [
                np.nanmean([s[f"{score}{'' if slot is None else '_' + slot}"] for s in scores])
                for slot in (None, *slots)
            ]
            rest = [np.mean([s.get(key, np.nan) for s in scores]) for key in ("hull_iou", "seconds")]
            line = f"  {name:32}{cells[0]:9.3f} " + " ".join(f"{cell:11.3f}" for cell in cells[1:])
            lines.append(line + f"{rest[0]:10.3f}{rest[1]:7.2f}")
    return lines


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    stored = read_config(config.run)
    names = tuple(stored["views"]["references"])
    ways = [Way(steps, 1.0) for steps in config.steps if 1.0 in config.guidance]
    ways += [Way(max(config.steps), guidance) for guidance in config.guidance if guidance != 1.0]
    found: dict[str, list[dict[str, float]]] = {}
    for name, scores in found_rows(config, names, ways):
        found.setdefault(name, []).append(scores)
    rule = task_of(config, 0, names).config.rule()
    slots = rule.names(len(rule.slots))
    objects = len(next(iter(found.values())))
    print(f"{objects} objects: held-out samples x reference cameras")
    print("\n".join(table(found, slots)))


if __name__ == "__main__":
    main()
