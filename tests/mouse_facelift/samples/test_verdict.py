"""The verdict names what is wrong over many samples, and only that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import SAMPLE_SCHEMA
from mouse_facelift.samples.verdict import (
    VERDICT_COLUMNS,
    VerdictConfig,
    ViewSummary,
    animal_radius_mm,
    describe_verdict,
    judge,
    judge_rows,
)

NAN = float("nan")


def views(**changes: float) -> list[ViewSummary]:
    """Four ordinary views, the last of them changed."""
    good = [ViewSummary("a", str(i), 50, 0.0, 0.05, 0.98, 0.01, 1.0, 0.0) for i in range(4)]
    return [*good[:3], replace(good[3], **changes)]


def rows(count: int, capture: str = "a", cameras: int = 3, **columns: object) -> pa.Table:
    """Rows whose every view has the given numbers; ordinary ones by default."""
    numbers = {"mask_fraction": 0.05, "truncation": 0.0, "view_hull_iou": 0.98, "sharpness": 0.01, "gain": 1, "bias": 0}
    row = {name: [value] * cameras for name, value in numbers.items()}
    row |= {"capture": capture, "camera": [str(i) for i in range(cameras)], "hull_iou": 0.98, "epipolar_px": 1.0}
    schema = pa.schema([SAMPLE_SCHEMA.field(name) for name in VERDICT_COLUMNS])
    return pa.Table.from_pylist([row | columns] * count, schema=schema)


def test_a_calibration_in_metres_is_noticed():
    poses = np.stack([np.eye(4)] * 3)
    poses[:, 2, 3] = 2.7
    # A disc of 25 mm, 300 mm away, seen with a field of view of 50 degrees over 512 px.
    seen = {"fxfycxcy": [[549.0, 549.0, 256.0, 256.0]] * 3, "w2c": poses.reshape(3, 16).tolist(), "scale": 2.7 / 300}
    seen["mask_fraction"] = [np.pi * (25 / 300 * 549 / 512) ** 2] * 3
    assert animal_radius_mm(rows(5, **seen)) == pytest.approx(25, rel=1e-4)
    for unit, said in ((1, 0), (0.1, 1), (0.001, 1), (1000, 1)):
        verdict, _ = judge_rows(rows(5, **{**seen, "scale": 2.7 / 300 / unit}), 0, VerdictConfig(), metric=True)
        assert len(verdict.findings) == said and (not said or "in millimetres?" in verdict.findings[0][1])
        assert not judge_rows(rows(5, **{**seen, "scale": 1 / unit}), 0, VerdictConfig())[0].findings


def test_a_good_dataset_passes_without_a_word():
    verdict = judge(100, 2, 0.98, views())
    assert verdict.status == "pass" and verdict.plain() == {"status": "pass", "reasons": []}


@pytest.mark.parametrize(
    ("kept", "rejected", "hull_iou", "status", "words"),
    [
        (90, 10, 0.98, "warn", "10.0% of the frames were rejected"),
        (10, 90, 0.98, "fail", "90.0% of the frames were rejected"),
        (100, 0, 0.9, "warn", "hull IoU 0.900"),
        (100, 0, 0.8, "fail", "hull IoU 0.800"),
        (100, 0, NAN, "warn", "no masks"),
        (0, 10, NAN, "fail", "no sample was kept"),
    ],
)
def test_rejections_and_silhouettes_decide(kept, rejected, hull_iou, status, words):
    verdict = judge(kept, rejected, hull_iou, views())
    assert verdict.status == status
    assert [(s, words in reason) for s, reason in verdict.findings] == [(status, True)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias": 0.08}, "hazy"),
        ({"gain": 2.5}, "contrast"),
        ({"gain": 0.3}, "contrast"),
        ({"sharpness": 0.002}, "blurred"),
        ({"truncated": 0.3}, "often cut by the frame (30%"),
    ],
)
def test_a_view_unlike_the_others_is_named(changes, words):
    verdict = judge(100, 0, 0.98, views(**changes))
    assert verdict.status == "warn" and len(verdict.findings) == 1
    assert verdict.findings[0][1].startswith("a view 3: ") and words in verdict.findings[0][1]


def test_what_is_unknown_is_no_finding_about_a_view():
    assert judge(100, 0, 0.98, views(bias=NAN, gain=NAN, sharpness=NAN, truncated=NAN)).status == "pass"


def test_the_worst_finding_decides_and_all_are_kept():
    verdict = judge(80, 20, 0.7, views(bias=0.2))
    assert verdict.status == "fail" and [s for s, _ in verdict.findings] == ["warn", "fail", "warn"]
    lines = describe_verdict(verdict.plain())
    assert lines[0] == "verdict: fail" and lines[1] == "  warn: 20.0% of the frames were rejected" and len(lines) == 4


def test_rows_are_summarised_per_recording_and_camera():
    table = pa.concat_tables(
        [
            rows(3),
            rows(1, truncation=[0.5, 0.0, 0.0], bias=[0.9, 0.0, NAN]),
            rows(2, capture="b", cameras=2, gain=[NAN, 3.0], sharpness=None, truncation=[NAN, 0.0]),
        ]
    )
    verdict, found = judge_rows(table, 0, VerdictConfig())
    assert [(v.capture, v.camera, v.samples) for v in found] == [
        *(("a", str(i), 4) for i in range(3)),
        *(("b", str(i), 2) for i in range(2)),
    ]
    assert found[0].truncated == 0.25 and found[0].bias == 0
    assert np.isnan([found[3].gain, found[3].sharpness, found[3].truncated]).all() and found[3].plain()["gain"] is None
    assert [reason.split(":")[0] for _, reason in verdict.findings] == ["a view 0", "b view 1"]


def test_no_rows_fail():
    verdict, found = judge_rows(rows(0), 5, VerdictConfig())
    assert verdict.status == "fail" and found == []


def test_thresholds_in_the_wrong_order_are_refused():
    for wrong in ({"warn_rejected": 0.6}, {"fail_hull_iou": 0.99}, {"max_gain": 0.5}):
        with pytest.raises(InputError, match="warning must come before"):
            VerdictConfig(**wrong)
