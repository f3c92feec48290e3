"""Tubes have the area geometry says, and points spread evenly over them with outward normals."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.mouse.shape import EYE, TRUNK, Tube, mouse_parts
from mouse_facelift.capture.mouse.skeleton import BONE_COUNT, direction_frame


def test_a_ball_has_a_balls_area_and_normals() -> None:
    assert EYE.area() == pytest.approx(4 * np.pi * 1.9**2, rel=0.02)
    surface = EYE.spread(300, np.array([0.3, 0.6]))
    radii = np.linalg.norm(surface.points, axis=1)
    np.testing.assert_allclose(radii, 1.9, atol=1e-6)
    np.testing.assert_allclose(surface.normals, surface.points / 1.9, atol=0.02)


def test_points_are_spread_by_area() -> None:
    tube = Tube((0.0, 10.0, 30.0), (2.0, 2.0, 2.0), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (2.0, 2.0))
    surface = tube.spread(4000, np.zeros(2))
    middle = (surface.points[:, 0] > 10) & (surface.points[:, 0] < 20)
    assert middle.mean() == pytest.approx(2 * np.pi * 2 * 10 / tube.area(), rel=0.03)
    np.testing.assert_allclose(surface.points[:, 1:].mean(0), 0, atol=0.1)
    # No two points nearly coincide: the pattern is even, not random.
    distance = np.linalg.norm(surface.points[:500, None] - surface.points[None, :500], axis=2) + 1e9 * np.eye(500)
    assert distance.min() > 0.25 * np.sqrt(tube.area() / 4000)


def test_frames_are_orthonormal_and_follow_the_tubes_rotation() -> None:
    turned = Tube(
        TRUNK.x, TRUNK.width, TRUNK.height, TRUNK.rise, TRUNK.caps, direction_frame(0.4, 0.7), (1.0, 2.0, 3.0)
    )
    plain, moved = TRUNK.spread(200, np.zeros(2)), turned.spread(200, np.zeros(2))
    np.testing.assert_allclose((moved.points - [1, 2, 3]) @ turned.rotation, plain.points, atol=1e-9)
    np.testing.assert_allclose(moved.normals @ turned.rotation, plain.normals, atol=1e-9)
    np.testing.assert_allclose(np.einsum("ni,ni->n", moved.normals, moved.along), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(moved.normals, axis=1), 1)


def test_the_parts_use_every_bone_and_come_in_mirrored_pairs() -> None:
    parts = mouse_parts()
    assert {b for p in parts for b in p.bones} == set(range(BONE_COUNT))
    ears = [p.tube.spread(400, np.array([0.1, 0.2])).points for p in parts if p.name == "ear"]
    np.testing.assert_allclose(ears[0].mean(0), ears[1].mean(0) * [1, -1, 1], atol=0.1)
    assert [p.name for p in parts].count("foot") == 4
