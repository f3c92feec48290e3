"""What a dataset's rows say: distributions, views, splits; wrong ones are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mouse_facelift.evaluation.capture_health import HealthConfig
from mouse_facelift.evaluation.dataset_health import (
    dataset_checks,
    gate_charts,
    read_rows,
    timeline,
)
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.schema import Sample
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def template() -> Sample:
    return ring_sample(blob(), size=24)


def numbered(template: Sample, frame: int, **agreement: object) -> Sample:
    return replace(
        template,
        sample_id=f"ring-{frame:06d}",
        frame=frame,
        agreement=replace(template.agreement, **agreement),
    )


def write(folder: Path, train: list[Sample], val: list[Sample]) -> tuple[Dataset, dict[str, pa.Table]]:
    dataset = open_dataset(str(write_dataset(folder, {"train": train, "val": val})))
    return dataset, read_rows(dataset)


def statuses(dataset: Dataset, rows: dict[str, pa.Table]) -> dict[str, str]:
    return {check.question: check.status for check in dataset_checks(dataset, rows, HealthConfig())[0]}


def test_a_sound_dataset_passes_and_is_described(template, tmp_path):
    dataset, rows = write(tmp_path, [numbered(template, f) for f in range(6)], [numbered(template, f) for f in (9, 10)])
    assert set(statuses(dataset, rows).values()) == {"ok"}
    assert {split: table.num_rows for split, table in rows.items()} == {"train": 6, "val": 2}
    bars, lengths = timeline(dataset, rows)
    assert [(s.kind, s.first, s.last) for s in bars["ring"]] == [("train", 0, 5), ("val", 9, 10)]
    assert lengths == {"ring": 11}


def test_the_bad_view_is_named(template, tmp_path):
    hull = np.array([1.0, 0.6, 1.0, 1.0], np.float32)
    train = [numbered(template, f, view_hull_iou=hull) for f in range(4)]
    dataset, rows = write(tmp_path, train, [numbered(template, 9)])
    checks, views = dataset_checks(dataset, rows, HealthConfig())
    check = next(c for c in checks if c.question.startswith("every view"))
    name = template.cameras[1].name
    assert check.status == "look" and name in check.finding and "0.600" in check.finding
    assert [view.camera for view in views] == [camera.name for camera in template.cameras]


def test_what_the_dataset_was_judged_by_is_repeated(template, tmp_path):
    hull = np.full(4, 0.5, np.float32)
    dataset, rows = write(tmp_path, [numbered(template, f, view_hull_iou=hull) for f in range(3)], [])
    checks, _ = dataset_checks(dataset, rows, HealthConfig())
    said = dataset.manifest["verdict"]
    assert said["status"] == "fail"
    assert [c.finding for c in checks if c.question == "verdict"] == ["fail", *(r["reason"] for r in said["reasons"])]
    # A dataset of an older writer has no verdict: it is judged now.
    del dataset.manifest["verdict"]
    assert dataset_checks(dataset, rows, HealthConfig())[0][0] == checks[0]


def test_columns_of_a_later_version_may_be_missing(template, tmp_path):
    dataset, _ = write(tmp_path, [numbered(template, f) for f in range(3)], [])
    (name,) = dataset.shards("train")
    dataset.store.write_table(name, dataset.store.read_table(name).drop_columns(["gain", "bias", "sharpness"]))
    rows = read_rows(dataset)
    assert rows["train"]["gain"].null_count == 3
    assert not {"Sharpness"} & {chart.title for chart in gate_charts(rows)}
    assert dataset_checks(dataset, rows, HealthConfig())[0][0].finding == "pass"


def test_splits_that_touch_are_found(template, tmp_path):
    dataset, rows = write(tmp_path, [numbered(template, f) for f in (0, 2, 4)], [numbered(template, f) for f in (5, 8)])
    assert statuses(dataset, rows)["splits do not touch"] == "look"


def test_nothing_to_validate_on_is_found(template, tmp_path):
    dataset, rows = write(tmp_path, [numbered(template, 0)], [])
    assert statuses(dataset, rows)["there is something to validate on"] == "look"


def test_distributions_hold_every_value(template, tmp_path):
    train = [numbered(template, f, epipolar_px=float(f)) for f in range(5)]
    _, rows = write(tmp_path, train, [numbered(template, 9, epipolar_px=2.0)])
    chart = next(c for c in gate_charts(rows) if c.y_label == "share of values" and c.x_label == "px")
    for curve in chart.curves:
        # Each bin's share stands twice, at its two edges.
        assert sum(curve.y) / 2 == pytest.approx(1)
    assert [curve.label for curve in chart.curves] == ["train", "val"]
    assert min(chart.curves[0].x) == 0 and max(chart.curves[0].x) == 4
