"""Can a dataset be trusted? What its rows, its manifest and its rejected table say, without decoding all its images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from mouse_facelift.evaluation.capture_health import HealthConfig
from mouse_facelift.evaluation.charts import Chart, Curve
from mouse_facelift.evaluation.checks import Check
from mouse_facelift.evaluation.drawings import Stretch, stretches
from mouse_facelift.samples.dataset import REJECTED, Dataset
from mouse_facelift.samples.schema import SAMPLE_SCHEMA
from mouse_facelift.samples.verdict import VERDICT_COLUMNS, VerdictConfig, ViewSummary, judge_rows

# What the gate's columns are called on a page: (title, unit).
GATE_LABELS: dict[str, tuple[str, str]] = {
    "hull_iou": ("Silhouette agreement", "hull IoU"),
    "view_hull_iou": ("Silhouette agreement per view", "hull IoU"),
    "epipolar_px": ("Centroids' distance from a common point", "px"),
    "mask_fraction": ("Animal's share of the picture", "share"),
    "truncation": ("Cut by the frame", "share of the outline"),
    "sharpness": ("Sharpness", "1 is white noise"),
    "gain": ("Contrast beside the other views", "factor"),
    "bias": ("Black level beside the other views", "share of white"),
}
_SCHEMA = pa.schema([SAMPLE_SCHEMA.field(name) for name in ("frame", *VERDICT_COLUMNS)])
_BINS = 40

Rows = Mapping[str, pa.Table]
"""Split -> its rows without their images."""


def read_rows(dataset: Dataset) -> dict[str, pa.Table]:
    """The rows of every split that has any; what an older writer did not measure is null."""
    found = {}
    for split in ("train", "val"):
        tables = [_completed(dataset.store.read_table(name, _SCHEMA.names)) for name in dataset.shards(split)]
        if tables:
            found[split] = pa.concat_tables(tables)
    return found


def gate_charts(rows: Rows) -> list[Chart]:
    """Per measured column, how its values are distributed in every split."""
    charts = []
    for column, (title, unit) in GATE_LABELS.items():
        values = {split: numbers for split, table in rows.items() if len(numbers := _numbers(table, column))}
        if values:
            charts.append(Chart(title, unit, "share of values", _histograms(values)))
    return charts


def timeline(dataset: Dataset, rows: Rows) -> tuple[dict[str, list[Stretch]], dict[str, int]]:
    """Which frames of every recording are in which split or were set aside, and the recordings' lengths."""
    frames: dict[str, dict[str, list[int]]] = {}
    parts = {**rows, "set aside": dataset.store.read_table(REJECTED)}
    for kind, table in parts.items():
        for row in table.select(["capture", "frame"]).to_pylist():
            frames.setdefault(row["capture"], {}).setdefault(kind, []).append(row["frame"])
    known = {capture["name"]: int(capture["frames"]) for capture in dataset.manifest["captures"]}
    lengths = {name: known.get(name, 1 + max(max(f) for f in kinds.values())) for name, kinds in frames.items()}
    return {name: stretches(kinds) for name, kinds in frames.items()}, lengths


def dataset_checks(dataset: Dataset, rows: Rows, config: HealthConfig) -> tuple[list[Check], list[ViewSummary]]:
    """The dataset's verdict and its reasons, what else its rows say, and the views' summaries."""
    counts = dataset.manifest["counts"]
    everything = pa.concat_tables([_SCHEMA.empty_table(), *rows.values()])
    verdict, views = judge_rows(everything, counts["rejected"], VerdictConfig())
    # The thresholds that the dataset was made with count, where they are known.
    said = dataset.manifest.get("verdict") or verdict.plain()
    checks = [Check.of("verdict", said["status"], said["status"] == "pass")]
    checks += [Check.of("verdict", finding["reason"], False) for finding in said["reasons"]]
    checks.append(
        Check.of(
            "there is something to validate on",
            f"{counts['train']} train + {counts['val']} val samples",
            counts["train"] > 0 and counts["val"] > 0,
        )
    )
    measured = [view for view in views if np.isfinite(view.view_hull_iou)]
    if measured:
        worst = min(measured, key=lambda view: view.view_hull_iou)
        found = f"worst view {worst.camera} of {worst.capture}: median hull IoU {worst.view_hull_iou:.3f}"
        checks.append(Check.of("every view agrees with the others", found, worst.view_hull_iou >= config.min_hull_iou))
    return checks + _split_checks(rows), views


def _completed(table: pa.Table) -> pa.Table:
    for field in _SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(_SCHEMA.names).cast(_SCHEMA)


def _split_checks(rows: Rows) -> list[Check]:
    """The smallest distance in frames between a training row and a validation row of one recording."""
    if len(rows) < 2:
        return []
    frames: dict[str, dict[str, list[int]]] = {}
    for split, table in rows.items():
        for capture, frame in zip(table["capture"].to_pylist(), table["frame"].to_pylist(), strict=True):
            frames.setdefault(capture, {}).setdefault(split, []).append(frame)
    apart = [_nearest(np.sort(f["train"]), np.array(f["val"])) for f in frames.values() if len(f) == 2]
    found = f"nearest train and val frames are {min(apart)} apart" if apart else "no recording is in both"
    return [Check.of("splits do not touch", found, min(apart, default=2) > 1)]


def _nearest(ordered: Int[np.ndarray, " n"], others: Int[np.ndarray, " m"]) -> int:
    """Smallest distance between a number of ``others`` and one of ``ordered``."""
    right = np.searchsorted(ordered, others).clip(1, max(len(ordered) - 1, 1))
    around = np.stack([ordered[right - 1], ordered[np.minimum(right, len(ordered) - 1)]])
    return int(np.abs(around - others).min())


def _numbers(table: pa.Table, column: str) -> Float[np.ndarray, " n"]:
    """A column's finite values, per row or per view."""
    values = table[column].combine_chunks()
    flat = values.flatten() if pa.types.is_list(values.type) else values
    numbers = flat.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers[np.isfinite(numbers)]


def _histograms(values: Mapping[str, Float[np.ndarray, " n"]]) -> list[Curve]:
    """Outlines of histograms over common bins."""
    everything = np.concatenate(list(values.values()))
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    curves = []
    for split, numbers in values.items():
        shares = np.histogram(numbers, edges)[0] / len(numbers)
        curves.append(Curve(split, np.repeat(edges, 2)[1:-1].tolist(), np.repeat(shares, 2).tolist()))
    return curves
