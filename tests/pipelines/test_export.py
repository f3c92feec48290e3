"""`export`: every format is written, reads back, and what does not go together is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mouse_facelift import cli
from mouse_facelift.cameras.exchange import cameras_from_colmap, cameras_from_transforms
from mouse_facelift.cameras.facelift import write_facelift
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.capture.video import probe
from mouse_facelift.gaussians.files import read_gaussians
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.gaussians.sequence import SequenceWriter
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.storage import Store
from tests.refusals import refusal
from tests.synthetic import blob, ring_sample, write_dataset

CENTRE = np.array([10.0, 20.0, 30.0])


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    writer = SequenceWriter(Store.at(tmp_path), "film.sequence.parquet")
    frames = [SequenceFrame(FrameIndex(f"f-{i}", "f", i, i / 10, 0), CENTRE, 0.01, blob(i)) for i in range(3)]
    writer.write("all", frames)
    writer.finish(["all"])
    return tmp_path / writer.name


def run(*arguments: str | Path) -> None:
    assert cli.main(["export", *map(str, arguments)]) == 0


@pytest.mark.parametrize(("kind", "name"), [("ply", "a.ply"), ("compressed-ply", "a.ply"), ("splat", "a.splat")])
def test_a_moment_of_a_sequence_in_mm(sequence: Path, tmp_path: Path, kind: str, name: str, capsys) -> None:
    run(sequence, "--to", kind, "--out", tmp_path / "out" / name, "--moment", "f-2", "--units", "mm")
    found = read_gaussians(tmp_path / "out" / name)
    truth = blob(2).restored(0.01, torch.from_numpy(CENTRE))
    assert torch.allclose(found.means.mean(0), truth.means.mean(0), atol=0.1)
    text = capsys.readouterr().out
    assert "60 Gaussians" in text and "next: open it in" in text


def test_a_mesh(tmp_path: Path, capsys) -> None:
    write_ply(tmp_path / "a.ply", blob())
    run(tmp_path / "a.ply", "--to", "obj", "--out", tmp_path / "a.obj", "--mesh.resolution", "24")
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert f"{sum(x[0] == 'v' for x in lines)} vertices" in capsys.readouterr().out


def test_films_over_time_around_one_moment_and_along_a_path(sequence: Path, tmp_path: Path) -> None:
    small = ("--film.size", "32", "--film.fps", "10")
    run(sequence, "--to", "mp4", "--out", tmp_path / "time.mp4", *small)
    assert probe(tmp_path / "time.mp4").frame_count == 3
    run(sequence, "--to", "mp4", "--out", tmp_path / "turn.mp4", "--moment", "1", "--film.views", "4", *small)
    assert probe(tmp_path / "turn.mp4").frame_count == 4
    write_facelift(tmp_path / "path.json", "path", turntable(2, 64), ["", ""])
    run(sequence, "--to", "mp4", "--out", tmp_path / "path.mp4", "--film.camera", tmp_path / "path.json", *small)
    assert probe(tmp_path / "path.mp4").frame_count == 3


@pytest.mark.parametrize("units", ["normalised", "mm"])
def test_a_samples_cameras_still_describe_its_pictures(tmp_path: Path, units: str) -> None:
    sample = ring_sample(blob(), 5, size=24)
    data = write_dataset(tmp_path / "data", {"train": [ring_sample(blob(), size=24), sample], "val": []})
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.3
    world = points if units == "normalised" else points / sample.scale + sample.centre_mm
    for kind in ("transforms", "colmap"):
        out = tmp_path / kind
        run(data, "--to", kind, "--out", out, "--moment", "ring-000005", "--units", units)
        if kind == "transforms":
            cameras, images = cameras_from_transforms((out / "transforms.json").read_text())
            record = json.loads((out / "transforms.json").read_text())
        else:
            texts = [(out / "sparse" / "0" / name).read_text() for name in ("cameras.txt", "images.txt")]
            cameras = cameras_from_colmap(*texts)
            images = [f"images/{camera.name}" for camera in cameras]
            record = json.loads((out / "sample.json").read_text())
        assert record["sample_id"] == "ring-000005" and record["units"] == units
        for camera, truth, image, pixels in zip(cameras, sample.cameras, images, sample.images, strict=True):
            assert np.abs(camera.project(world) - truth.project(points)).max() < 1e-3
            seen = cv2.imread(str(out / image), cv2.IMREAD_UNCHANGED)
            assert seen is not None and np.array_equal(cv2.cvtColor(seen, cv2.COLOR_BGRA2RGBA), pixels)


def test_bad_input_is_one_line(sequence: Path, tmp_path: Path, capsys) -> None:
    data = write_dataset(tmp_path / "data", {"train": [ring_sample(blob(), size=16)], "val": []})
    out = tmp_path / "x" / "out"
    cases = [
        ((tmp_path / "absent.ply", "--to", "splat"), "absent.ply does not exist"),
        ((sequence, "--to", "splat", "--moment", "9"), "has no moment 9"),
        ((sequence, "--to", "colmap"), "has no cameras"),
        ((data, "--to", "obj"), "is a dataset, without Gaussians"),
        ((sequence, "--to", "mp4", "--film.size", "33"), "make no film"),
        ((sequence, "--to", "mp4", "--film.camera", tmp_path / "no.json"), "no.json: cannot be read"),
        ((sequence, "--to", "obj", "--mesh.opacity", "2"), "between 0 and 1"),
    ]
    for arguments, message in cases:
        assert message in refusal(capsys, "export", *arguments, "--out", out)
        assert not out.parent.exists()
    means = blob().means.clone()
    means[0, 0] = torch.nan
    broken = tmp_path / "nan.ply"
    write_ply(broken, blob())
    data_bytes = bytearray(broken.read_bytes())
    start = data_bytes.index(b"end_header\n") + len(b"end_header\n")
    data_bytes[start : start + 4] = means[0, :1].numpy().tobytes()
    broken.write_bytes(data_bytes)
    for verb in ("export", "view"):
        extra = ("--to", "splat", "--out", out) if verb == "export" else ()
        assert "nan.ply: 1 of 60 Gaussians are not finite" in refusal(capsys, verb, broken, *extra)
