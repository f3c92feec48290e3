from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.charts import Chart
from mouse_facelift.evaluation.comparison import (
    METRICS,
    ROW_SCHEMA,
    Comparison,
    choices,
    difference,
    interval,
    per_frame,
    score,
)
from mouse_facelift.evaluation.comparison_report import case_section, cases, sections, target_lines
from mouse_facelift.evaluation.reconstruction import ViewChoice
from mouse_facelift.evaluation.report import Picture, Table
from mouse_facelift.evaluation.rivals import Shown, blank, nearest, on_white, views_of
from mouse_facelift.samples.schema import Sample
from tests.synthetic import blob, ring_sample


@pytest.fixture(scope="module")
def sample() -> Sample:
    return ring_sample(blob(), 3, views=4, size=32)


def truth(sample: Sample, choice: ViewChoice) -> Shown:
    """Who knows the answer."""
    assert choice.held_out is not None
    rgba = views_of(sample, [choice.held_out]).images[0]
    return Shown(on_white(rgba), rgba[3])


def no_way(sample: Sample, choice: ViewChoice) -> Shown:
    raise InputError("cannot be done")


def row(way: str, frame: int, camera: str, psnr: float | None, inputs: int = 5, lpips: float | None = None) -> dict:
    return {
        "way": way, "sample_id": f"s{frame}", "capture": "c", "frame": frame, "time_s": frame / 10, "segment": 0,
        "camera": camera, "inputs": inputs, "input_cameras": [], **dict.fromkeys(METRICS),
        "psnr_foreground": psnr, "mask_iou": psnr and psnr / 30, "lpips_foreground": lpips, "seconds": 0.5,
        "problem": None if psnr is not None else "cannot be done",
    }  # fmt: skip


@pytest.fixture
def comparison() -> Comparison:
    rows = [row("ours", f, c, 26.0 + f, lpips=0.2) for f in range(4) for c in "ab"]
    rows += [row("theirs", f, c, 25.0 + f, lpips=0.1) for f in range(4) for c in "ab"]
    rows += [row("ours", f, c, 10.0, inputs=2) for f in range(4) for c in "ab"]
    return Comparison(("ours", "theirs"), rows)


def test_every_camera_is_held_out_with_every_number_of_inputs(sample: Sample) -> None:
    asked = choices(sample.cameras, ["each"], [2, 3], 0)
    assert [(c.held_out, len(c.inputs)) for c in asked] == [(v, n) for v in range(4) for n in (2, 3)]
    assert all(c.held_out not in c.inputs for c in asked)
    names = [camera.name for camera in sample.cameras]
    assert [c.held_out for c in choices(sample.cameras, [names[2]], [], 0)] == [2]
    assert [choices(sample.cameras, ["rotate"], [], i)[0].held_out for i in range(5)] == [0, 1, 2, 3, 0]
    with pytest.raises(InputError, match="ask for 1 to all"):
        choices(sample.cameras, ["each"], [4], 0)


def test_knowing_the_answer_scores_best_and_a_blank_page_worst(sample: Sample) -> None:
    asked = choices(sample.cameras, ["each"], [], 0)
    best, near, white = (score(n, w, sample, asked, None) for n, w in (("t", truth), ("n", nearest), ("b", blank)))
    for a, b, c in zip(best, near, white, strict=True):
        assert a["psnr_foreground"] == 100.0 and a["mask_iou"] == 1.0
        assert a["psnr_foreground"] > b["psnr_foreground"] and c["mask_iou"] == 0.0
        assert (
            a["lpips"] is None and a["problem"] is None and a["inputs"] == 3 and a["camera"] not in a["input_cameras"]
        )
    table = pa.Table.from_pylist(best + near, schema=ROW_SCHEMA)
    assert table.num_rows == 8 and table["way"].null_count == 0


def test_what_cannot_be_shown_keeps_its_row_with_the_reason(sample: Sample) -> None:
    (found,) = score("no", no_way, sample, choices(sample.cameras, ["rotate"], [], 0), None)
    assert found["problem"] == "cannot be done" and all(found[metric] is None for metric in METRICS)
    record = Comparison(("no",), [found]).record()
    assert record["problems"] == {"no": {"cannot be done": 1}}
    assert record["mean"]["no"]["psnr"]["mean"] is None


def test_a_frame_counts_once_however_many_cameras_it_has() -> None:
    rows = [row("x", 0, c, 10.0) for c in "abcd"] + [row("x", 1, "a", 20.0), row("x", 2, "a", None)]
    assert list(per_frame(rows, "psnr_foreground").values()) == [10.0, 20.0]
    assert interval(rows, "psnr_foreground").mean == 15.0


def test_differences_are_better_above_zero_and_over_common_views_alone() -> None:
    ours = [row("x", 0, "a", 20.0, lpips=0.1), row("x", 0, "b", 10.0, lpips=0.1), row("x", 1, "a", 9.0)]
    theirs = [row("y", 0, "a", 18.0, lpips=0.3), row("y", 0, "b", None), row("y", 1, "a", None)]
    assert difference(ours, theirs, "psnr_foreground").mean == pytest.approx(2.0)
    assert difference(ours, theirs, "psnr_foreground").frames == 1
    assert difference(ours, theirs, "lpips_foreground").mean == pytest.approx(0.2)


def test_targets_are_met_by_the_largest_number_of_inputs(comparison: Comparison) -> None:
    assert comparison.headline == {"inputs": 5}
    assert comparison.passes("ours", "psnr_foreground") is True
    assert comparison.passes("ours", "lpips_foreground") is False
    assert comparison.passes("theirs", "lpips_foreground") is True
    assert comparison.passes("ours", "ssim_foreground") is None
    lines = target_lines(comparison)
    assert "27.50 dB" in lines[1] and "pass" in lines[1] and "FAIL" in lines[1] and "not measured" in lines[1]


def test_the_record_is_plain_json_with_every_grouping(comparison: Comparison) -> None:
    record: dict[str, Any] = json.loads(json.dumps(comparison.record(), allow_nan=False))
    assert record["difference"]["ours"]["theirs"]["psnr_foreground"]["mean"] == pytest.approx(1.0)
    assert set(record["by_camera"]) == {"a", "b"} and set(record["by_inputs"]) == {"2", "5"}
    assert record["by_inputs"]["2"]["ours"]["psnr_foreground"]["mean"] == 10.0
    assert record["by_inputs"]["2"]["theirs"]["psnr_foreground"]["mean"] is None


def test_the_page_has_a_section_for_each_question(comparison: Comparison) -> None:
    found = {section.title: section for section in sections(comparison)}
    titles = ("Targets", "All scores", "How much better ours is", "Per held-out camera", "Per number of inputs")
    assert set(titles) < set(found) and "Over time" in found and "Per recording" not in found
    table = found["How much better ours is"].items[0]
    assert isinstance(table, Table) and table.rows[0][1] == "+1.00 dB [+1.00, +1.00]"


def test_worst_median_and_best_views_are_shown_side_by_side(sample: Sample) -> None:
    asked = choices(sample.cameras, ["each"], [], 0)
    rows = [r for n, w in (("nearest", nearest), ("blank", blank)) for r in score(n, w, sample, asked, None)]
    both = Comparison(("nearest", "blank"), rows)
    chosen = cases(both)
    by_camera = {r["camera"]: r["psnr_foreground"] for r in both.of("nearest")}
    assert [case.title for case in chosen] == ["Worst view", "Median view", "Best view"]
    assert by_camera[chosen[0].camera] == min(by_camera.values())
    assert by_camera[chosen[2].camera] == max(by_camera.values())
    choice = choices(sample.cameras, [chosen[0].camera], [], 0)[0]
    section = case_section(chosen[0], both, truth(sample, choice), {"nearest": nearest(sample, choice)})
    (picture,) = section.items
    assert isinstance(picture, Picture) and picture.image.shape[1] > 2 * 160
    assert cases(Comparison(("x",), [row("x", 0, "a", None)])) == []


def test_the_chart_over_time_is_in_order_of_time() -> None:
    rows = [row("x", f, "a", float(f)) for f in (3, 1, 2)]
    chart = next(s for s in sections(Comparison(("x",), rows)) if s.title == "Over time").items[0]
    assert isinstance(chart, Chart)
    assert [*chart.curves[0].x] == [0.1, 0.2, 0.3] and [*chart.curves[0].y] == [1.0, 2.0, 3.0]
