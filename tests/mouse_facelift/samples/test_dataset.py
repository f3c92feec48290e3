"""The manifest says what the shards hold, and how good it is, in JSON that every reader accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.dataset import _count_reasons, finish_dataset, open_dataset
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.schema import AGREEMENT_COLUMNS, Agreement, Sample, table_from_samples
from mouse_facelift.samples.shards import REJECTED_SCHEMA, ViewFormat, make_unit
from mouse_facelift.samples.splits import SplitConfig, describe_splits
from mouse_facelift.samples.survey import survey_frames
from mouse_facelift.samples.units import FrameSelection, plan_units
from mouse_facelift.samples.verdict import VerdictConfig
from mouse_facelift.storage import Store
from tests.worlds import write_ball_recording

VIEWS = 3


def sample(frame: int, **numbers: np.ndarray | float) -> Sample:
    """A sample of noise with ordinary numbers, except those given."""
    ones = np.ones(VIEWS, np.float32)
    agreement = Agreement(0.05 * ones, 0 * ones, 0.98 * ones, 1.0, 0.01 * ones, ones, 0 * ones)
    return Sample(
        sample_id=f"a-{frame:06d}",
        capture="a",
        frame=frame,
        time_s=frame / 100,
        segment=0,
        images=np.random.default_rng(frame).integers(0, 256, (VIEWS, 16, 16, 4), dtype=np.uint8),
        cameras=tuple(turntable(VIEWS, 16)),
        centre_mm=np.zeros(3),
        scale=0.008,
        agreement=replace(agreement, **numbers),
        mask_source="video",
        source="real",
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., dict]:
    """Write a dataset of two training shards and a validation shard, and give its manifest as read from disk."""

    def write(samples: list[Sample], rejected: int = 0, **options: Any) -> dict:
        store = Store.at(tmp_path / "out")
        parts = {"split=train/a": samples[:2], "split=train/b": samples[2:-1], "split=val/c": samples[-1:]}
        for name, part in parts.items():
            store.write_table(name, table_from_samples(part), digest=True)
        row = {
            "sample_id": "a-x",
            "reason": "view 1: animal cut by the frame (truncation 1.52); view 0: blurred (sharpness 0.1)",
        }
        table = pa.Table.from_pylist([row] * rejected, schema=REJECTED_SCHEMA)
        returned = finish_dataset(store, list(parts), table, [], {}, {"scale": 0.008, "zoom": 1.0}, 3, **options)
        read = json.loads(store.read("dataset.json"), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
        assert read == json.loads(json.dumps(returned))
        return read

    return write


def test_the_manifest_counts_measures_and_judges(write):
    splits = describe_splits(SplitConfig(), {"a": {"train": [0.0, 0.01, 0.02], "val": [0.2]}})
    hazy = np.array([0, 0.2, 0], np.float32)
    manifest = write([sample(f, bias=hazy) for f in (0, 1, 2, 20)], 1, splits=splits)
    assert manifest["counts"] == {"train": 3, "val": 1, "rejected": 1, "gap": 3}
    assert manifest["splits"]["captures"]["a"] == {"train": 3, "val": 1, "gap_s": 0.18}
    assert set(manifest["gate"]) == set(AGREEMENT_COLUMNS) and manifest["gate"]["bias"]["q100"] == 0.2
    assert [v["bias"] for v in manifest["views"]] == [0, 0.2, 0]
    assert manifest["verdict"]["status"] == "warn"
    reasons = [r["reason"] for r in manifest["verdict"]["reasons"]]
    assert len(reasons) == 2 and "20.0%" in reasons[0] and "a view turntable_001: hazy" in reasons[1]
    assert manifest["rejected_reasons"] == {"view 1: animal cut by the frame": 1, "view 0: blurred": 1}


def test_silhouettes_that_do_not_agree_fail_the_dataset(write):
    poor = np.full(VIEWS, 0.8, np.float32)
    assert write([sample(f, view_hull_iou=poor) for f in range(4)])["verdict"]["status"] == "fail"


def test_thresholds_are_the_callers(write):
    samples = [sample(f, view_hull_iou=np.full(VIEWS, 0.8, np.float32)) for f in range(4)]
    lenient = VerdictConfig(warn_hull_iou=0.7, fail_hull_iou=0.6)
    assert write(samples, thresholds=lenient)["verdict"] == {"status": "pass", "reasons": []}


def test_numbers_that_could_not_be_measured_stay_out_of_the_manifest(write):
    unknown = np.full(VIEWS, np.nan, np.float32)
    everything = {name: unknown for name in ("truncation", "view_hull_iou", "sharpness", "gain", "bias")}
    manifest = write([sample(f, epipolar_px=float("nan"), **everything) for f in range(4)])
    assert manifest["gate"]["bias"] == {} and manifest["views"][0]["gain"] is None
    assert "no masks" in manifest["verdict"]["reasons"][0]["reason"]


def test_samples_come_back_in_order_and_by_position(write, tmp_path):
    samples = [sample(f) for f in (3, 4, 5, 6, 50)]
    write(samples)
    dataset = open_dataset(str(tmp_path / "out"))
    assert [s.frame for s in dataset.samples("train")] == [3, 4, 5, 6]
    assert [s.frame for s in dataset.samples("train", {1, 3})] == [4, 6]
    assert dataset.count("val") == 1
    assert np.array_equal(next(dataset.samples("val")).images, samples[-1].images)


def test_what_is_no_complete_dataset_is_refused(write, tmp_path):
    with pytest.raises(InputError, match="not a complete dataset .*nothing is there: check the path"):
        open_dataset(str(tmp_path / "nothing"))
    write([sample(f) for f in range(3)])
    path = tmp_path / "out" / "dataset.json"
    path.rename(tmp_path / "kept.json")
    with pytest.raises(InputError, match="not a complete dataset .*give its command again"):
        open_dataset(str(tmp_path / "out"))
    (tmp_path / "kept.json").rename(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(InputError, match="schema version 99"):
        open_dataset(str(tmp_path / "out"))


def test_a_damaged_manifest_or_shard_is_named(write, tmp_path):
    write([sample(f) for f in range(4)])
    folder = tmp_path / "out"
    manifest, shard = (folder / "dataset.json").read_text(), (folder / "split=train/a").read_bytes()
    for text, message in (("{", "is not JSON"), ('{"schema_version": 1}', "has no fingerprint, .*; restore")):
        (folder / "dataset.json").write_text(text)
        with pytest.raises(InputError, match=f"dataset.json: {message}"):
            open_dataset(str(folder))
    (folder / "dataset.json").write_text(manifest)
    dataset, table = open_dataset(str(folder)), pq.read_table(folder / "split=train/a")
    for spoilt, message in (
        (table.slice(0, 1), "holds 1 rows, dataset.json says 2 samples; restore"),
        (table.drop_columns(["w2c"]), "has no column w2c"),
    ):
        pq.write_table(spoilt, folder / "split=train/a")
        with pytest.raises(InputError, match=f"split=train/a: {message}"):
            list(dataset.samples("train"))
    # A writer without checksums: the picture's own tell.
    pq.write_table(table, folder / "split=train/a", compression="none", use_dictionary=False)
    data = (folder / "split=train/a").read_bytes()
    (folder / "split=train/a").write_bytes(data.replace(b"IDAT\x78", b"IDAT\x79"))
    with pytest.raises(InputError, match="split=train/a, row 0: an image of the dataset is damaged; restore"):
        list(dataset.samples("train"))
    (folder / "split=train/a").write_bytes(shard)
    assert len(list(dataset.samples("train"))) == 3


def test_reasons_are_counted_by_kind(write):
    table = pa.Table.from_pylist(
        [
            {"reason": "silhouettes disagree (hull IoU 0.4); cut", "unreadable": False},
            {"reason": "silhouettes disagree (hull IoU 0.3)", "unreadable": False},
            *({"reason": f"/a/0.mp4: frame {n} cannot be decoded (a; b); copy it", "unreadable": True} for n in (3, 9)),
            *({"reason": f"/a/masks/1/00{n}.png: is no image; write it", "unreadable": True} for n in (10, 11)),
        ],
        schema=REJECTED_SCHEMA,
    )
    assert _count_reasons(table) == {
        "silhouettes disagree": 2,
        "cut": 1,
        "/a/0.mp4: frame N cannot be decoded; copy it": 2,
        "/a/masks/1/N.png: is no image; write it": 2,
    }


def test_rejected_frames_keep_every_number(tmp_path):
    capture = open_capture(write_ball_recording(tmp_path / "ball", frames=6))
    units, _ = plan_units([capture], FrameSelection(), SplitConfig(0), 6)
    survey = survey_frames(capture, units[0].frames, {}, MaskConfig(), CentreConfig(), "auto")
    centres = {s.frame: s.centre for s in survey if s.centre is not None}
    form = ViewFormat(96, 0.009, 2.0)
    kept = make_unit(capture, units[0], survey, centres, form, GateConfig(), "real", "auto").samples
    strict = GateConfig(min_hull_iou=1.01)
    rejected = make_unit(capture, units[0], survey, centres, form, strict, "real", "auto").rejected
    assert kept.num_rows == rejected.num_rows == 6
    pq.write_table(rejected, tmp_path / "rejected.parquet")
    for name in AGREEMENT_COLUMNS:
        assert pq.read_table(tmp_path / "rejected.parquet")[name].combine_chunks().equals(kept[name].combine_chunks())
