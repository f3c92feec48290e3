"""Several ways of showing held-out views, side by side: one row per way, frame, held-out camera and number of inputs.

Rows are plain values, so that they travel, lie in a Parquet file, and are summed up here without anything being drawn
again. A view that a way cannot show (too few views for it, say) keeps its row with the reason and no scores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.bootstrap import Interval, mean_interval, paired_difference
from mouse_facelift.evaluation.metrics import LOWER_IS_BETTER, ViewMetrics, view_metrics
from mouse_facelift.evaluation.reconstruction import ViewChoice, choose_views
from mouse_facelift.evaluation.rivals import Way, on_white, views_of
from mouse_facelift.perceptual.distances import LPIPS
from mouse_facelift.samples.schema import Sample

EACH = "each"
"""In place of cameras' names: every camera in turn."""

METRICS = tuple(field.name for field in fields(ViewMetrics))

TARGETS: Mapping[str, float] = MappingProxyType(
    {"psnr_foreground": 25.0, "ssim_foreground": 0.9, "lpips_foreground": 0.15, "mask_iou": 0.9}
)
"""What the mean over held-out views is to reach, on the animal itself."""

ROW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("way", "sample_id", "capture")),
        *(("frame", pa.int32()), ("time_s", pa.float64()), ("segment", pa.int16())),
        *(("camera", pa.string()), ("inputs", pa.int16()), ("input_cameras", pa.list_(pa.string()))),
        *((name, pa.float32()) for name in (*METRICS, "seconds")),
        ("problem", pa.string()),
    ]
)
"""Columns of metrics.parquet. `seconds` is what showing the view took (wall clock); `problem` says why there are no
scores, and is null where there are."""

Row = Mapping[str, Any]
Frame = tuple[str, int, str]
"""A moment: recording, frame, sample."""


def choices(cameras: Sequence[Camera], hold_out: Sequence[str], inputs: Sequence[int], index: int) -> list[ViewChoice]:
    """What is asked of every way about the ``index``-th sample: each held-out camera with each number of inputs.

    Args:
        cameras: the sample's.
        hold_out: names of cameras, "each" for all of them in turn, "rotate" for another one for each sample.
        inputs: numbers of inputs; all other views when empty.
        index: the sample's number.

    Raises:
        InputError: no such camera, or not that many views.
    """
    names = [camera.name for camera in cameras] if list(hold_out) == [EACH] else list(hold_out)
    counts: Sequence[int | None] = inputs or [None]
    return [choose_views(cameras, name, count, index) for name in names for count in counts]


def score(
    name: str, way: Way, sample: Sample, asked: Iterable[ViewChoice], lpips: LPIPS | None
) -> list[dict[str, Any]]:
    """Rows of one way on one sample; see `ROW_SCHEMA` (nan is None)."""
    rows = []
    for choice in asked:
        assert choice.held_out is not None
        target = views_of(sample, [choice.held_out]).images[0]
        began = time.perf_counter()
        scores, problem = dict.fromkeys(METRICS), None
        try:
            shown = way(sample, choice)
        except InputError as error:
            problem = str(error)
        else:
            found = asdict(view_metrics(shown.rgb, shown.alpha, on_white(target), target[3], lpips))
            scores = {key: None if math.isnan(value) else value for key, value in found.items()}
        rows.append(
            {
                "way": name,
                **{key: getattr(sample, key) for key in ("sample_id", "capture", "frame", "time_s", "segment")},
                "camera": sample.cameras[choice.held_out].name,
                "inputs": len(choice.inputs),
                "input_cameras": [sample.cameras[view].name for view in choice.inputs],
                **scores,
                "seconds": time.perf_counter() - began,
                "problem": problem,
            }
        )
    return rows


def per_frame(rows: Iterable[Row], metric: str) -> dict[Frame, float]:
    """Mean over a frame's held-out views, where the score is defined; frames in their order, without those of none."""
    found: dict[Frame, list[float]] = {}
    for row in rows:
        if row[metric] is not None:
            found.setdefault((row["capture"], row["frame"], row["sample_id"]), []).append(row[metric])
    return {frame: float(np.mean(values)) for frame, values in found.items()}


def interval(rows: Iterable[Row], metric: str) -> Interval:
    """Mean of a score over frames, with its bootstrap interval."""
    return mean_interval(np.array(list(per_frame(rows, metric).values()), dtype=float))


def difference(ours: Iterable[Row], theirs: Iterable[Row], metric: str) -> Interval:
    """How much better (above 0, whatever the score) ours are than theirs, over the views that both show."""
    ours, theirs = list(ours), list(theirs)
    both = _views(ours, metric) & _views(theirs, metric)
    mine, other = (per_frame((row for row in side if _view(row) in both), metric) for side in (ours, theirs))
    return paired_difference(other, mine) if metric in LOWER_IS_BETTER else paired_difference(mine, other)


def _view(row: Row) -> Hashable:
    return row["sample_id"], row["camera"], row["inputs"]


def _views(rows: Iterable[Row], metric: str) -> set[Hashable]:
    return {_view(row) for row in rows if row[metric] is not None}


@dataclass(frozen=True)
class Comparison:
    """All rows, and the ways in the order in which they are shown."""

    ways: tuple[str, ...]
    rows: Sequence[Row]

    def of(self, way: str, **wanted: object) -> list[Row]:
        """A way's rows with these values in these columns."""
        wanted = {"way": way, **wanted}
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]

    def values(self, column: str) -> list[Any]:
        """What occurs in a column, in order."""
        return sorted({row[column] for row in self.rows})

    @property
    def headline(self) -> dict[str, int]:
        """The rows that decide: those of the largest number of inputs."""
        return {"inputs": max(row["inputs"] for row in self.rows)}

    def passes(self, way: str, metric: str) -> bool | None:
        """Whether a way's mean reaches the target; None where nothing was measured."""
        found = interval(self.of(way, **self.headline), metric).mean
        if math.isnan(found):
            return None
        return found < TARGETS[metric] if metric in LOWER_IS_BETTER else found > TARGETS[metric]

    def record(self) -> dict[str, Any]:
        """The content of metrics.json but for what was asked: means, intervals, differences, targets."""
        grouped: tuple[tuple[str, Callable[[], dict[str, int]]], ...] = (
            ("camera", lambda: self.headline),
            ("capture", lambda: self.headline),
            ("inputs", dict),
        )
        return {
            "headline": self.headline,
            "mean": {way: _means(self.of(way, **self.headline)) for way in self.ways},
            "targets": {
                way: {m: {"target": goal, "passes": self.passes(way, m)} for m, goal in TARGETS.items()}
                for way in self.ways
            },
            "difference": {
                way: {
                    other: {
                        metric: difference(
                            self.of(way, **self.headline), self.of(other, **self.headline), metric
                        ).plain()
                        for metric in METRICS
                    }
                    for other in self.ways[number + 1 :]
                }
                for number, way in enumerate(self.ways)
            },
            **{
                f"by_{column}": {
                    str(value): {way: _means(self.of(way, **{column: value}, **which())) for way in self.ways}
                    for value in self.values(column)
                }
                for column, which in grouped
            },
            "problems": {way: _problems(self.of(way)) for way in self.ways},
        }


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows]
    means = {metric: interval(rows, metric).plain() for metric in METRICS}
    return means | {"views": len(rows), "seconds_per_view": float(np.mean(seconds)) if seconds else None}


def _problems(rows: Iterable[Row]) -> dict[str, int]:
    """How often each reason occurs for which a view could not be shown."""
    found: dict[str, int] = {}
    for row in rows:
        if row["problem"] is not None:
            found[row["problem"]] = found.get(row["problem"], 0) + 1
    return found
