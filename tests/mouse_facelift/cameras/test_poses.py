"""Placed cameras: look-at, turntables, FaceLift's rig."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mouse_facelift.cameras.camera import Camera, intrinsics_from_fov
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig, look_at, look_at_rotation, turntable


def _assert_azimuths(cameras: list[Camera], degrees: Sequence[float], atol: float) -> None:
    """Compared as angles: 0 and 360 are one."""
    found = np.array([c.centre[0] + 1j * c.centre[1] for c in cameras])
    difference = np.angle(found * np.exp(-1j * np.radians(degrees)), deg=True)
    np.testing.assert_allclose(difference, 0, atol=atol)


def test_look_at_puts_the_target_in_the_middle_and_up_is_up() -> None:
    K = intrinsics_from_fov(50, 640, 480)
    camera = look_at("a", np.array([3.0, -2.0, 1.5]), np.array([0.3, 0.1, 0.2]), K, 640, 480)
    np.testing.assert_allclose(camera.project(np.array([0.3, 0.1, 0.2])), [320, 240], atol=1e-9)
    np.testing.assert_allclose(camera.centre, [3, -2, 1.5])
    above = camera.project(np.array([0.3, 0.1, 0.4]))
    assert above[0] == pytest.approx(320) and above[1] < 240


@pytest.mark.parametrize("height", [5.0, -5.0])
def test_looking_straight_down_or_up_is_still_a_rotation(height: float) -> None:
    R = look_at_rotation(np.array([0.0, 0.0, height]), np.zeros(3))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(R[2], [0, 0, -np.sign(height)])


def test_the_cross_product_is_numpys_to_the_bit() -> None:
    for a, b in np.random.default_rng(0).normal(size=(50, 2, 3)):
        right = np.cross(a / np.linalg.norm(a), b)
        R = look_at_rotation(np.zeros(3), a, b)
        assert np.array_equal(R[0], right / np.linalg.norm(right)) and np.array_equal(R[1], np.cross(R[2], R[0]))


def test_turntable_starts_in_front_and_goes_round_counter_clockwise() -> None:
    cameras = turntable(8)
    front = [[1, 0, 0, 0], [0, 0, 1, -2.7], [0, -1, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(cameras[0].c2w, front, atol=1e-12)
    _assert_azimuths(cameras, [270, 315, 0, 45, 90, 135, 180, 225], atol=1e-9)
    assert len({camera.name for camera in cameras}) == 8


def test_turntable_keeps_its_elevation_and_radius() -> None:
    centres = np.array([c.centre for c in turntable(6, radius=4.0, elevation_degrees=30)])
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 4)
    np.testing.assert_allclose(centres[:, 2], 2)


def test_facelift_rig_is_where_facelift_was_trained() -> None:
    rig = list(facelift_rig())
    centres = np.array([c.centre for c in rig])
    assert tuple(c.name for c in rig) == FACELIFT_SLOTS
    _assert_azimuths(rig, [270, 225, 180, 90, 0, 315], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.7, atol=1e-6)
    np.testing.assert_allclose(centres[:, 2], 0, atol=1e-6)
    for camera in rig:
        np.testing.assert_allclose(camera.project(np.zeros(3)), [256, 256], atol=1e-3)
        np.testing.assert_allclose(camera.fxfycxcy, [548.9938, 548.9938, 256, 256], atol=1e-3)
