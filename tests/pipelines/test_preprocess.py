"""`preprocess` on real small videos through a real local Ray: exact, resumable, loud about bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.storage import Store
from pipelines.preprocess import PreprocessConfig, main, preprocess
from tests.worlds import ball_centre, ball_mask, make_ring, write_ball_recording

FRAMES = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_recording(tmp_path_factory.mktemp("captures") / "ball", FRAMES, empty=(5,))


@pytest.fixture(scope="module")
def dataset(recording: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    out = tmp_path_factory.mktemp("datasets") / "ball"
    preprocess(config(recording, out))
    return out


def config(recording: Path, out: Path) -> PreprocessConfig:
    return PreprocessConfig(
        capture=(str(recording),),
        out=str(out),
        image_size=96,
        zoom=3.0,
        unit_frames=4,
        split=SplitConfig(val_fraction=0.25, gap_s=0.05),
    )


def words(recording: Path | str, out: Path | str) -> list[str]:
    """The options of :func:`config`."""
    options = "--image-size 96 --zoom 3.0 --unit-frames 4 --split.val-fraction 0.25 --split.gap-s 0.05"
    return ["--capture", str(recording), "--out", str(out), *options.split()]


def test_every_frame_is_written_rejected_or_in_a_gap(dataset):
    manifest = open_dataset(str(dataset)).manifest
    assert manifest["counts"] == {"train": 16, "val": 6, "rejected": 1, "gap": 1}
    rejected = pq.read_table(dataset / "rejected.parquet").to_pylist()
    assert [(r["frame"], r["split"]) for r in rejected] == [(5, "train")]
    assert "no animal in the mask of view 0" in rejected[0]["reason"]
    assert (dataset / "contact_sheet.png").stat().st_size > 1000
    assert not (dataset / "_work").exists()


def test_written_views_are_the_ball_through_the_written_cameras(dataset):
    opened = open_dataset(str(dataset))
    sources = make_ring(4, size=(160, 128))
    for sample in opened.samples("train"):
        truth = sample.scale * (ball_centre(sample.frame) - sample.centre_mm)
        for image, camera, source in zip(sample.images, sample.cameras, sources, strict=True):
            mask = ball_mask(camera, truth, 18.0 * sample.scale)
            written = image[..., 3] > 127
            assert (mask & written).sum() / (mask | written).sum() > 0.93
            assert np.allclose(camera.centre, sample.scale * (source.centre - sample.centre_mm), atol=1e-5)
        assert sample.agreement.hull_iou > 0.95


def test_others_can_read_it(dataset):
    table = pds.dataset(dataset / "split=train", format="parquet").to_table()
    assert table.num_rows == 16
    assert table["frame"].to_pylist() == sorted(table["frame"].to_pylist())
    hive = pds.dataset([str(p) for p in sorted(dataset.glob("split=*/*.parquet"))], partitioning="hive").to_table()
    assert set(hive["split"].to_pylist()) == {"train", "val"}


def test_again_does_nothing_and_other_settings_are_refused(dataset, recording):
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob("*") if p.is_file()}
    preprocess(config(recording, dataset))
    assert before == {p: p.stat().st_mtime_ns for p in dataset.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="other settings"):
        preprocess(replace(config(recording, dataset), image_size=128))


def shards(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("split=*/*.parquet"))}


def test_a_stopped_run_goes_on_to_the_same_rows(dataset, recording, tmp_path, monkeypatch, ray_session):
    """Stop after the survey and with a unit unfinished, as a kill would, then run the same command."""
    out = tmp_path / "again"

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.preprocess.finish_dataset", die)
    with pytest.raises(KeyboardInterrupt):
        preprocess(config(recording, out))
    victims = sorted(out.glob("split=train/*.parquet"))[:2]
    for victim in victims:
        (out / "_work/rejected" / victim.name).unlink()
    victims[0].unlink()
    (out / "split=train" / "half.parquet.tmp").write_bytes(b"half a shard")
    monkeypatch.undo()
    preprocess(config(recording, out))
    assert shards(out) == shards(dataset)
    fingerprints = [open_dataset(str(p)).manifest["fingerprint"] for p in (out, dataset)]
    assert fingerprints[0] == fingerprints[1]


@pytest.mark.slow
def test_from_and_to_an_object_store_the_rows_are_the_same(dataset, recording, s3_server, ray_session):
    """Ray's workers take the credentials from the environment that Ray was started in."""
    there = Store.at(f"s3://lab/captures/ball{s3_server}")
    for path in recording.rglob("*"):
        if path.is_file():
            there.write(str(path.relative_to(recording)), path.read_bytes())
    out = Store.at(f"s3://lab/datasets/ball{s3_server}")
    for _ in range(2):  # The second run finds the first one's dataset and does nothing.
        assert main(words(there.uri, out.uri)) == 0
    written = {name: out.read(name) for name in out.list() if name.startswith("split=")}
    assert written == shards(dataset)
    assert [s.frame for s in open_dataset(out.uri).samples("val")] == [
        s.frame for s in open_dataset(str(dataset)).samples("val")
    ]
    assert not [name for name in out.list() if name.startswith("_work")]


@pytest.mark.slow
def test_kill_nine_then_the_same_command_completes(dataset, recording, tmp_path, ray_session):
    """The command and the Ray that it has started, all at once."""
    out = tmp_path / "killed"
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "pipelines.preprocess", *words(recording, out)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(out.glob("split=train/*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / "dataset.json").exists()
    assert main(words(recording, out)) == 0
    assert shards(out) == shards(dataset)


def test_a_damaged_recording_keeps_its_good_part_and_fails(recording, tmp_path, capsys, ray_session):
    """A video damaged in the middle: frames before the damage are written, the others counted, the exit is not 0."""
    damaged = tmp_path / "damaged"
    write_ball_recording(damaged, FRAMES)
    video = damaged / "videos_undist" / "2.mp4"
    data = bytearray(video.read_bytes())
    start = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[start:] = bytes(len(data) - start)
    video.write_bytes(data)
    with pytest.raises(InputError, match=r"2\.mp4"):
        main(["--capture", str(damaged), "--out", str(tmp_path / "out"), "--image-size", "64", "--unit-frames", "4"])
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["counts"]["rejected"] > 0 and manifest["counts"]["train"] > 0
    total = sum(manifest["counts"].values())
    assert total == FRAMES
    assert "rejected" in capsys.readouterr().out


def test_empty_masks_everywhere_is_one_clear_line(tmp_path, ray_session):
    folder = write_ball_recording(tmp_path / "empty", 4, views=2, empty=(0, 1, 2, 3))
    with pytest.raises(InputError, match="no frame can be used: no animal in the mask of view 0, 1"):
        preprocess(config(folder, tmp_path / "out"))


def test_an_old_recipe_is_written_and_condemned(dataset, recording, tmp_path, ray_session):
    """The same recording by the customer's recipe: rows are there to compare, and the verdict says what they are."""
    out = tmp_path / "old"
    manifest = preprocess(replace(config(recording, out), zoom=1.0, method="pixel_based_trained"))
    assert manifest["counts"]["train"] == open_dataset(str(dataset)).count("train")
    assert manifest["verdict"]["status"] == "fail"
    exact = open_dataset(str(dataset)).manifest["gate"]["hull_iou"]["q50"]
    assert manifest["gate"]["hull_iou"]["q50"] < exact - 0.2
    with pytest.raises(InputError, match="no such method; choose exact or"):
        replace(config(recording, out), method="pixelbased")
    with pytest.raises(InputError, match="leave out --zoom"):
        replace(config(recording, out), method="pixel_based")


def test_a_folder_with_other_things_is_left_alone(recording, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        preprocess(config(recording, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
