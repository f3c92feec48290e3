"""MAMMAL's new_cam.pkl in all the forms it was seen in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mouse_facelift.cameras.camera import Camera
from mouse_facelift.cameras.mammal import mammal_names, read_mammal, write_mammal
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError

SIZE = (512, 512)


@pytest.fixture
def cameras() -> list[Camera]:
    return [replace(c, name=str(i)) for i, c in enumerate(turntable(11, radius=300, elevation_degrees=15))]


def _assert_same(found: list[Camera], expected: list[Camera]) -> None:
    assert [c.name for c in found] == [c.name for c in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a.width, a.height) == (b.width, b.height)
        np.testing.assert_allclose(a.K, b.K, atol=1e-12)
        np.testing.assert_array_equal(a.w2c, b.w2c)


def test_round_trip(tmp_path: Path, cameras: list[Camera]) -> None:
    write_mammal(tmp_path / "new_cam.pkl", cameras)
    _assert_same(read_mammal(tmp_path / "new_cam.pkl", SIZE), cameras)
    assert [file.name for file in tmp_path.iterdir()] == ["new_cam.pkl"]


def test_the_half_pixel_is_opencvs_in_the_file_and_ours_in_memory(tmp_path: Path, cameras: list[Camera]) -> None:
    write_mammal(tmp_path / "new_cam.pkl", cameras)
    plain = pickle.loads((tmp_path / "new_cam.pkl").read_bytes())
    assert isinstance(plain, list) and set(plain[0]) == {"K", "R", "T"} and plain[0]["T"].shape == (3, 1)
    assert plain[0]["K"][0, 2] == cameras[0].K[0, 2] - 0.5
    assert plain[0]["K"][1, 2] == cameras[0].K[1, 2] - 0.5


@pytest.mark.parametrize(
    "form",
    [
        lambda e: dict(enumerate(e)),
        lambda e: {str(i): entry for i, entry in reversed(list(enumerate(e)))},
        lambda e: [{k.lower(): v for k, v in entry.items()} for entry in e],
        lambda e: [entry | {"T": entry["T"].reshape(1, 3)} for entry in e],
        lambda e: [entry | {"T": entry["T"].ravel().tolist(), "R": entry["R"].tolist()} for entry in e],
        lambda e: [entry | {"imgsize": np.array([1, 2])} for entry in e],
    ],
)
def test_every_form_reads_alike(tmp_path: Path, cameras: list[Camera], form: Callable[[list], Any]) -> None:
    path = tmp_path / "new_cam.pkl"
    write_mammal(path, cameras)
    path.write_bytes(pickle.dumps(form(pickle.loads(path.read_bytes()))))
    _assert_same(read_mammal(path, {camera.name: SIZE for camera in cameras}), cameras)
    # Ten follows nine, not one.
    assert mammal_names(path) == [str(i) for i in range(11)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: {"K": e[0]["K"]}, "keyed K; expected view numbers"),
        (lambda e: [], "holds no camera"),
        (lambda e: 3, "holds a int"),
        (lambda e: [e[0]["K"]], "camera 0 is a ndarray"),
        (lambda e: [{"K": e[0]["K"], "R": e[0]["R"]}], "camera 0 has no T, only K, R"),
        (lambda e: [e[0] | {"K": np.eye(4)}], r"K has shape \(4, 4\), expected \(3, 3\)"),
        (lambda e: [e[0], e[1] | {"R": -e[1]["R"]}], "camera 1: R is not a rotation"),
        (lambda e: [e[0] | {"T": "here"}], "T is not a matrix of numbers"),
    ],
)
def test_what_is_not_a_calibration_is_one_clear_line(
    tmp_path: Path, cameras: list[Camera], spoil: Callable[[list], Any], message: str
) -> None:
    path = tmp_path / "new_cam.pkl"
    write_mammal(path, cameras)
    path.write_bytes(pickle.dumps(spoil(pickle.loads(path.read_bytes()))))
    with pytest.raises(InputError, match=f"new_cam.pkl.*{message}"):
        read_mammal(path, SIZE)


def test_a_camera_without_a_view_is_named(tmp_path: Path, cameras: list[Camera]) -> None:
    write_mammal(tmp_path / "new_cam.pkl", cameras[:3])
    with pytest.raises(InputError, match="camera 2 has no view"):
        read_mammal(tmp_path / "new_cam.pkl", {"0": SIZE, "1": SIZE})


def test_distortion_is_not_dropped_silently(tmp_path: Path, cameras: list[Camera]) -> None:
    bent = replace(cameras[0], distortion=np.array([0.1, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="camera 0 is distorted"):
        write_mammal(tmp_path / "new_cam.pkl", [bent])


def test_the_rig_of_a_recording(shared_data: Path) -> None:
    """The keypoints of a rendered capture stay on all six images, in front of the cameras."""
    cameras = read_mammal(shared_data / "capture_a" / "new_cam.pkl", (1152, 1024))
    centres = np.array([camera.centre for camera in cameras])
    # Positions of the real rig in millimetres, to the tenth they were recorded with.
    np.testing.assert_allclose(centres[[0, 4]], [[-199.5, -129.3, 63.4], [-230.4, 167.4, 142.2]], atol=0.06)
    points = np.load(shared_data / "capture_a" / "truth" / "com.npy")
    for camera in cameras:
        assert camera.contains(camera.project(points)).all() and (camera.depth(points) > 0).all()
