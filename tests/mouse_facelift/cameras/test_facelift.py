"""FaceLift's opencv_cameras.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.cameras.facelift import read_facelift, write_facelift
from mouse_facelift.cameras.poses import facelift_rig, turntable
from mouse_facelift.errors import InputError


def test_round_trip(tmp_path: Path) -> None:
    cameras, images = turntable(4), [f"images/cam_{i:03d}.png" for i in range(4)]
    write_facelift(tmp_path / "opencv_cameras.json", "sample_000", cameras, images)
    found, found_images = read_facelift(tmp_path / "opencv_cameras.json")
    assert found_images == images and [c.name for c in found] == [f"cam_{i:03d}" for i in range(4)]
    for a, b in zip(found, cameras, strict=True):
        np.testing.assert_array_equal(a.w2c, b.w2c)
        np.testing.assert_array_equal(a.K, b.K)  # No half pixel: the format has the corner origin already.


def test_skew_is_not_dropped_silently(tmp_path: Path) -> None:
    camera = turntable(1)[0]
    K = np.array(camera.K)
    K[0, 1] = 1
    with pytest.raises(ValueError, match="skew"):
        write_facelift(tmp_path / "a.json", "a", [replace(camera, K=K)], ["a.png"])


def test_the_published_sample(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "facelift_sample" / "gslrm" / "sample_000" / "opencv_cameras.json"
    cameras, images = read_facelift(source)
    assert len(cameras) == 32 and images[31] == "images/cam_031.png"
    np.testing.assert_allclose([np.linalg.norm(c.centre) for c in cameras], 2.7, atol=1e-5)
    np.testing.assert_allclose(cameras[0].centre, [2.53717, 0, 0.92345], atol=1e-4)
    write_facelift(tmp_path / "again.json", "sample_000", cameras, images)
    again, again_images = read_facelift(tmp_path / "again.json")
    assert again_images == images
    for a, b in zip(again, cameras, strict=True):
        np.testing.assert_array_equal(a.w2c, b.w2c)
        np.testing.assert_array_equal(a.fxfycxcy, b.fxfycxcy)


def test_the_published_rig_is_the_stored_one(shared_data: Path) -> None:
    frames, _ = read_facelift(shared_data / "facelift_sample" / "inference_cameras.json")
    for camera, frame in zip(facelift_rig(), [2, 1, 0, 5, 4, 3], strict=True):
        np.testing.assert_allclose(camera.w2c, frames[frame].w2c, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{}", "no list 'frames'"),
        ('{"frames": []}', "no list 'frames'"),
        ('{"frames": [{"w": 4}]}', "frame 0 is not a camera"),
        ('{"frames": [3]}', "frame 0 is not a camera"),
    ],
)
def test_what_is_not_a_camera_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "opencv_cameras.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"opencv_cameras.json.*{message}"):
        read_facelift(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("w2c", [[1, 0, 0]], "w2c has shape"),
        ("w2c", np.diag([1, 1, -1, 1]).tolist(), "not a rotation"),
        ("fx", -1, "focal"),
    ],
)
def test_a_bad_frame_is_named(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "opencv_cameras.json"
    write_facelift(path, "a", turntable(2), ["a.png", "b.png"])
    content = json.loads(path.read_text())
    content["frames"][1][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"frame 1: .*{message}"):
        read_facelift(path)
