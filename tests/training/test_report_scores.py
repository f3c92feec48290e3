"""Scores on a run's page: found by their names, one chart each, views in tables."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.evaluation.charts import Chart
from mouse_facelift.evaluation.report import Table
from mouse_facelift.mvdiffusion.scoring import SCORES
from training.report_scores import ScoreName, score_charts, verdicts, view_tables

VERDICT = ("psnr_foreground", "mean_psnr_foreground")
VIEWS = ("", *(f"_{slot}" for slot in FACELIFT_SLOTS))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("psnr", ("psnr",)),
        ("psnr_foreground", ("psnr_foreground",)),
        ("blank_psnr_foreground", ("psnr_foreground", "", "blank")),
        ("lpips_foreground", ("lpips_foreground",)),
        ("mean_mask_iou_front_left", ("mask_iou", "front_left", "mean")),
        ("ssim_foreground_view_2_guidance_1.5", ("ssim_foreground", "view_2", "", "guidance_1.5")),
        ("hull_iou_guidance_1", ("hull_iou", "", "", "guidance_1")),
        ("true_hull_iou", ("hull_iou", "", "true")),
        ("flicker_px", ("flicker_px",)),
    ],
)
def test_a_name_is_taken_apart(name: str, parts: tuple[str, ...]) -> None:
    assert ScoreName.of(name) == ScoreName(*parts)


def _entry(step: int) -> dict[str, Any]:
    """What multi-view diffusion logs at an evaluation; every number differs."""
    names = [f"{who}{score}{view}" for who in ("", "nearest_", "mean_") for score in SCORES for view in VIEWS]
    names += [f"{score}{view}_guidance_1" for score in SCORES for view in VIEWS]
    names += ["hull_iou", "hull_iou_guidance_1", "true_hull_iou"]
    facts = {"event": "evaluate", "step": step, "samples": 6, "seconds": 9.0, "beats_baseline": True}
    return facts | {name: step + number / 100 for number, name in enumerate(names)}


def test_one_chart_per_score_however_many_views_and_guidance_scales() -> None:
    entries = [_entry(1), _entry(2)]
    charts = [chart for chart in score_charts(entries, [], VERDICT) if isinstance(chart, Chart)]
    assert [chart.title for chart in charts] == ["foreground PSNR", "foreground SSIM", "mask IoU", "hull IoU"]
    words = ["held out", "held out, guidance 1", "the nearest input view", "the mean training image"]
    assert [[curve.label for curve in chart.curves] for chart in charts[:3]] == [words] * 3
    assert [curve.label for curve in charts[3].curves] == ["held out", "held out, guidance 1", "the true views"]
    assert charts[0].curves[3].y == [entry["mean_psnr_foreground"] for entry in entries]


def test_a_baseline_of_any_name_belongs_to_the_score_it_decides_about() -> None:
    entry = {"event": "evaluate", "step": 1, "fit": 2.0, "guess": 1.0, "other": 3.0}
    charts = [chart for chart in score_charts([entry], [], ("fit", "guess")) if isinstance(chart, Chart)]
    found = {chart.title: [curve.label for curve in chart.curves] for chart in charts}
    assert found == {"fit": ["held out", "baseline"], "other": ["held out"]}


def test_a_table_per_score_tells_the_views_apart() -> None:
    entry = _entry(2)
    entry["mask_iou_back"] = None
    tables = [table for table in view_tables(entry) if isinstance(table, Table)]
    assert [table.header[0] for table in tables] == ["foreground PSNR, dB", "foreground SSIM", "mask IoU"]
    assert tables[0].header[1:] == ["model", "guidance 1", "reference", "mean image"]
    left = tables[0].rows[FACELIFT_SLOTS.index("left")]
    names = ("psnr_foreground_left", "psnr_foreground_left_guidance_1", "nearest_psnr_foreground_left")
    assert left[0] == "left" and left[1:4] == [f"{entry[name]:.2f}" for name in names]
    back = tables[2].rows[FACELIFT_SLOTS.index("back")]
    assert back[:2] == ["back", "–"] and back[2] == f"{entry['mask_iou_back_guidance_1']:.3f}"
    assert view_tables({"event": "evaluate", "step": 1, "psnr": 1.0, "blank_psnr": 0.5}) == []


def test_verdicts_are_of_the_baselines_that_there_are() -> None:
    found = verdicts(_entry(1))
    assert {v.metric for v in found} == {"foreground PSNR", "foreground SSIM", "mask IoU"}
    assert all(math.isnan(v.blank) and v.mean > v.nearest > v.value for v in found)
    assert {v.status for v in found} == {"mean"}
