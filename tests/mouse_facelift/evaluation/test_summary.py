from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.charts import Chart
from mouse_facelift.evaluation.images import write_png
from mouse_facelift.evaluation.metrics import ViewMetrics
from mouse_facelift.evaluation.reconstruction import Scores
from mouse_facelift.evaluation.report import Table, Video
from mouse_facelift.evaluation.summary import (
    mean_scores,
    metrics_record,
    read_picture,
    sample_sections,
    shown_records,
    time_sections,
    training_section,
    verdicts,
)


def scores(model: float, blank: float, nearest: float) -> Scores:
    return Scores(*(ViewMetrics(value, value, value, value, value) for value in (model, blank, nearest)))


def record(number: int, psnr: float | None, held_out: str | None = "3") -> dict[str, Any]:
    row = {"psnr": psnr, "psnr_foreground": psnr, "ssim": 0.5, "ssim_foreground": None, "mask_iou": 0.7}
    return {
        "sample_id": f"s{number}",
        "capture": "c",
        "frame": number,
        "time_s": number / 10,
        "inputs": ["0", "1"],
        "held_out": held_out,
        "gaussians": 5,
        "scores": {who: row for who in ("model", "blank", "nearest")} if held_out else None,
    }


def test_means_leave_out_what_is_not_defined() -> None:
    mean = mean_scores([scores(2.0, 1.0, 0.0), scores(4.0, 1.0, 2.0), scores(math.nan, math.nan, math.nan)])
    assert (mean.model.psnr, mean.blank.mask_iou, mean.nearest.ssim) == (3.0, 1.0, 1.0)


def test_verdicts_follow_the_baselines() -> None:
    assert {v.status for v in verdicts(scores(3, 1, 2))} == {"good"}
    assert {v.status for v in verdicts(scores(1.5, 1, 2))} == {"nearest"}
    assert {v.status for v in verdicts(scores(0.5, 1, 2))} == {"blank"}


def test_metrics_are_strict_json_with_null_for_nan() -> None:
    written = json.loads(json.dumps(metrics_record([record(0, 10.0), record(1, 20.0)]), allow_nan=False))
    assert written["mean"]["model"]["psnr"] == 15.0
    assert written["mean"]["model"]["ssim_foreground"] is None
    assert written["verdicts"]["ssim_foreground"] == "undefined"
    assert written["samples"] == written["held_out_views"] == 2


def test_metrics_without_held_out_views_score_nothing() -> None:
    written = metrics_record([record(0, None, held_out=None)])
    assert written["held_out_views"] == 0 and set(written["verdicts"].values()) == {"undefined"}


def test_sections_show_a_few_samples_and_list_all(tmp_path: Path) -> None:
    records = [record(number, 10.0 + number) for number in range(7)]
    for row in records:
        folder = tmp_path / row["sample_id"]
        folder.mkdir()
        for name in ("inputs.png", "renders.png"):
            write_png(folder / name, np.zeros((2, 2, 3), dtype=np.uint8))
    (tmp_path / "s0" / "turntable.mp4").write_bytes(b"video")
    sections = sample_sections(tmp_path, records, limit=3)
    assert [section.title for section in sections] == [
        "Sample s0, frame 0: the worst",
        "Sample s3, frame 3: the median",
        "Sample s6, frame 6: the best",
        "All samples",
    ]
    assert any(isinstance(item, Video) for item in sections[0].items)
    assert not any(isinstance(item, Video) for item in sections[1].items)
    table = sections[-1].items[0]
    assert isinstance(table, Table) and len(table.rows) == 7
    assert len(sample_sections(tmp_path, records, limit=0)) == 1


def test_the_worst_the_median_and_the_best_come_first_then_others_evenly() -> None:
    records = [record(number, psnr) for number, psnr in enumerate((3.0, 9.0, None, 1.0, 5.0, 7.0, 4.0, 6.0))]
    shown = [(row["frame"], role) for row, role in shown_records(records, 6)]
    assert shown == [(3, "the worst"), (4, "the median"), (1, "the best"), (0, ""), (2, ""), (5, "")]
    assert [row["frame"] for row, _ in shown_records(records, 1)] == [3]
    unscored = [record(number, None, held_out=None) for number in range(4)]
    assert [(row["frame"], role) for row, role in shown_records(unscored, 2)] == [(0, ""), (2, "")]


def test_curves_over_time_are_drawn_per_recording_of_scored_moments() -> None:
    records = [record(number, float(number)) for number in range(5)]
    records += [record(number, 1.0) | {"capture": "short"} for number in range(2)]
    records[3]["scores"] = None
    (section,) = time_sections(records)
    chart = section.items[0]
    assert isinstance(chart, Chart) and section.title == "c over time" and "camera 3" in section.text
    assert list(chart.curves[0].x) == [0.0, 0.1, 0.2, 0.4] and list(chart.curves[0].y) == [0.0, 1.0, 2.0, 4.0]


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png"):
        read_picture(tmp_path / "broken.png")


def test_training_curves_leave_out_undefined_values_and_show_the_baselines() -> None:
    log: list[dict[str, Any]] = [
        {"event": "start", "step": 0},
        {"event": "train", "step": 1, "loss": 3.0, "psnr_foreground": None},
        {"event": "train", "step": 2, "loss": 2.0, "psnr_foreground": 9.0},
        {
            "event": "evaluate",
            "step": 2,
            "psnr_foreground": 8.0,
            "blank_psnr_foreground": 2.0,
            "nearest_psnr_foreground": 5.0,
        },
    ]
    quality, loss = training_section(log).items
    assert isinstance(quality, Chart) and isinstance(loss, Chart)
    assert [list(c.x) for c in quality.curves] == [[2], [2]] and [list(c.y) for c in loss.curves] == [[3.0, 2.0]]
    assert sorted(value for _, value in quality.references) == [2.0, 5.0]
    early = training_section(log[:1]).items[0]
    assert isinstance(early, Chart) and not early.references
