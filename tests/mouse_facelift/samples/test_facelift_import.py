"""Sample folders to rows: every folder is a row, a rejection or in a gap; no sample is on both sides of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.facelift_folders import write_sample
from mouse_facelift.samples.facelift_import import import_samples, plan_import
from mouse_facelift.samples.facelift_lists import find_samples
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.schema import Sample, sample_from_row
from mouse_facelift.samples.splits import SplitConfig
from tests.synthetic import blob, ring_sample


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [ring_sample(blob(), number) for number in range(12)]


def test_samples_with_times_are_split_with_the_gap(samples: list[Sample], tmp_path: Path) -> None:
    """Folders in another order than time, of two segments: blocks of time, nothing lost."""
    for place, sample in enumerate([*samples[6:], *samples[:6]]):
        write_sample(tmp_path / f"sample_{place:06d}", replace(sample, segment=sample.frame // 6))
    plan = plan_import(find_samples(tmp_path), SplitConfig(val_fraction=1 / 3, gap_s=0.25))
    by_split = {s: sorted(p.origin.frame for p in plan.samples if p.split == s) for s in ("train", "val")}
    assert by_split == {"train": [0, 1], "val": [4, 5, 10, 11]} and plan.gap == 6
    assert plan.splits["captures"]["ring"] == {"train": 2, "val": 4, "gap_s": 0.3}
    assert [p.split for p in plan.samples] == sorted(p.split for p in plan.samples)


def test_lists_decide_and_training_wins_over_validating(samples: list[Sample], tmp_path: Path) -> None:
    for sample in samples[:3]:
        write_sample(tmp_path / f"s{sample.frame}", sample)
    (tmp_path / "data_train.txt").write_text("s2\ns0\ns2\n")
    (tmp_path / "data_val.txt").write_text("s0\ns1\n")
    plan = plan_import(find_samples(tmp_path), SplitConfig())
    assert [(p.split, p.origin.frame) for p in plan.samples] == [("train", 2), ("train", 0), ("val", 1)]
    assert plan.splits["rule"] == "list files" and plan.splits["captures"]["ring"]["gap_s"] == 0.1
    assert len(plan.repeated) == 2
    assert plan.repeated[1] == f"{tmp_path}/data_val.txt, line 1 repeats {tmp_path}/data_train.txt, line 2"


def test_two_samples_of_one_id_are_refused(samples: list[Sample], tmp_path: Path) -> None:
    for name in ("a/sample_0", "b/sample_0"):
        write_sample(tmp_path / name, samples[0])
    with pytest.raises(InputError, match=r"would both be sample ring-000000; rename"):
        plan_import(find_samples(tmp_path), SplitConfig())


def test_rows_rejections_and_unreadable_folders(samples: list[Sample], tmp_path: Path) -> None:
    silhouettes = samples[1].images.copy()
    silhouettes[0] = np.roll(silhouettes[0], 4, axis=0)
    for place, sample in enumerate([samples[0], replace(samples[1], images=silhouettes), samples[2], samples[3]]):
        write_sample(tmp_path / f"sample_{place:06d}", sample)
    (tmp_path / "sample_000002" / "images" / "cam_001.png").unlink()
    (tmp_path / "sample_000003" / "opencv_cameras.json").write_text("not JSON")
    planned = plan_import(find_samples(tmp_path), SplitConfig(val_fraction=0)).samples
    kept = import_samples(planned, "rendered", None)
    assert kept.samples["frame"].to_pylist() == [0, 1]
    again = sample_from_row(kept.samples.slice(0, 1).to_pylist()[0])
    np.testing.assert_array_equal(again.images, samples[0].images)
    np.testing.assert_array_equal(again.centre_mm, samples[0].centre_mm)
    reasons = kept.rejected.to_pylist()
    assert [r["unreadable"] for r in reasons] == [True, True]
    assert any("cam_001.png: cannot be read" in r["reason"] for r in reasons)
    assert any("is not JSON" in r["reason"] for r in reasons)
    gated = import_samples(planned[:3], "rendered", GateConfig(min_hull_iou=0.95))
    assert gated.samples["frame"].to_pylist() == [0]
    strict = [r for r in gated.rejected.to_pylist() if not r["unreadable"]]
    assert len(strict) == 1 and "silhouettes disagree" in strict[0]["reason"] and strict[0]["hull_iou"] < 0.95


def test_the_rule_must_fit(samples: list[Sample], tmp_path: Path) -> None:
    for sample in samples[:4]:
        write_sample(tmp_path / f"s{sample.frame}", replace(sample, segment=sample.frame % 2))
    with pytest.raises(InputError, match="segments overlap in time"):
        plan_import(find_samples(tmp_path), SplitConfig())
    with pytest.raises(InputError, match="no recording is named cube"):
        plan_import(find_samples(tmp_path), SplitConfig(val_captures=("cube",)))
    alone = find_samples(tmp_path / "s3")
    assert [p.split for p in plan_import(alone, SplitConfig()).samples] == ["train"]
    assert [p.split for p in plan_import(alone, SplitConfig(val_captures=("ring",))).samples] == ["val"]
