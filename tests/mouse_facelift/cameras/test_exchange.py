"""Other programs' camera files: the same points fall on the same pixels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.exchange import (
    cameras_from_colmap,
    cameras_from_transforms,
    colmap_text,
    quaternion_from_rotation,
    rotation_from_quaternion,
    transforms_json,
)
from mouse_facelift.errors import InputError
from tests.worlds import BARREL, MIDDLE, make_ring

NAMES = [f"images/{i}.png" for i in range(5)]


def points() -> np.ndarray:
    return MIDDLE + np.random.default_rng(0).normal(size=(30, 3)) * 15


def same_pixels(a: list[Camera], b: list[Camera]) -> None:
    for first, second in zip(a, b, strict=True):
        assert (first.width, first.height) == (second.width, second.height)
        assert np.abs(first.project(points()) - second.project(points())).max() < 1e-8


def test_transforms_round_trip_reprojects() -> None:
    ring = make_ring()
    back, images = cameras_from_transforms(transforms_json(ring, NAMES, {"units": "mm"}))
    same_pixels(ring, back)
    assert images == NAMES


def test_transforms_as_a_reader_of_opengl_cameras_projects() -> None:
    """Nerfstudio's own formula: c2w with y up and -z forward, image y downward."""
    ring = make_ring()
    for camera, frame in zip(ring, json.loads(transforms_json(ring, NAMES))["frames"], strict=True):
        c2w = np.array(frame["transform_matrix"])
        assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1)
        local = np.linalg.inv(c2w) @ np.c_[points(), np.ones(30)].T
        u = frame["fl_x"] * local[0] / -local[2] + frame["cx"]
        v = -frame["fl_y"] * local[1] / -local[2] + frame["cy"]
        assert np.abs(np.stack([u, v], -1) - camera.project(points())).max() < 1e-8


def test_colmap_round_trip_reprojects() -> None:
    ring = make_ring()
    texts = colmap_text(ring, NAMES)
    assert set(texts) == {"cameras.txt", "images.txt", "points3D.txt"} and texts["points3D.txt"].strip() == ""
    back = cameras_from_colmap("# remark\n" + texts["cameras.txt"], texts["images.txt"])
    same_pixels(ring, back)
    assert [camera.name for camera in back] == NAMES
    # Two lines an image: pose, and the points it has not.
    assert texts["images.txt"].splitlines()[1::2] == [""] * 5


def test_quaternions_of_every_kind_of_turn() -> None:
    cases = np.concatenate([np.eye(4), np.random.default_rng(1).normal(size=(50, 4)), [[0, 1, -1, 0], [1e-9, 0, 1, 1]]])
    for quaternion in cases:
        R = rotation_from_quaternion(quaternion)
        back = quaternion_from_rotation(R)
        assert back[0] >= 0 and np.linalg.norm(back) == pytest.approx(1)
        assert np.abs(rotation_from_quaternion(back) - R).max() < 1e-12


def test_what_the_formats_cannot_hold_is_refused() -> None:
    distorted = [replace(camera, distortion=BARREL) for camera in make_ring(1)]
    with pytest.raises(ValueError, match="skew or distortion"):
        transforms_json(distorted, ["a.png"])
    with pytest.raises(InputError, match="has a blank"):
        colmap_text(make_ring(1), ["a b.png"])
    with pytest.raises(InputError, match="t.json: is not a transforms.json"):
        cameras_from_transforms("{}", "t.json")
    bent = json.loads(transforms_json(make_ring(1), ["a.png"])) | {"k1": 0.1}
    with pytest.raises(InputError, match="a.png has lens distortion"):
        cameras_from_transforms(json.dumps(bent))
    texts = colmap_text(make_ring(1), ["a.png"])
    with pytest.raises(InputError, match="has a OPENCV camera"):
        cameras_from_colmap(texts["cameras.txt"].replace("PINHOLE", "OPENCV"), texts["images.txt"])
    with pytest.raises(InputError, match="m: is not a COLMAP"):
        cameras_from_colmap("", texts["images.txt"], "m")
