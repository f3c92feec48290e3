"""The rig is the measured one at any size, and the arena's picture is what its cameras should see."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.mouse.arena import (
    DISC_RADIUS,
    FLOOR_COLOUR,
    SHADOW_CELL,
    Arena,
    rig_cameras,
    rig_size,
    shadow_map,
)
from mouse_facelift.capture.mouse.gait import ARENA_CENTRE


def test_the_rig_stands_where_it_was_measured() -> None:
    cameras = rig_cameras()
    assert [c.name for c in cameras] == list("012345") and rig_size() == (1152, 1024)
    np.testing.assert_allclose(cameras[0].centre, [-199.5, -129.3, 63.4], atol=0.06)
    np.testing.assert_allclose(cameras[5].centre, [114.6, -236.3, 156.5], atol=0.06)
    # The calibration puts the first pixel's centre at 0, the project at 0.5.
    assert cameras[0].K[0, 2] == pytest.approx(601.3492 + 0.5, abs=1e-3)


def test_other_sizes_show_the_same_picture() -> None:
    points = np.array([[55.0, 64.0, 20.0], [20.0, 90.0, 3.0], [100.0, 40.0, 60.0]])
    for full, small in zip(rig_cameras(), rig_cameras(288, 256), strict=True):
        np.testing.assert_allclose(small.project(points), full.project(points) / 4, atol=1e-9)
        assert (small.width, small.height) == (288, 256)


def test_floor_rim_and_room_lie_where_the_camera_projects_them() -> None:
    camera = rig_cameras(288, 256)[5]
    background = Arena(camera).background
    middle = camera.project(np.array([*ARENA_CENTRE, 0.0]))
    assert background[int(middle[1]), int(middle[0])].mean() == pytest.approx(FLOOR_COLOUR.mean(), rel=0.1)
    away = np.array(ARENA_CENTRE) - camera.centre[:2]
    away /= np.linalg.norm(away)
    for radius, bright in ((DISC_RADIUS - 8, True), (DISC_RADIUS + 12, False)):
        x, y = camera.project(np.array([*(ARENA_CENTRE + radius * away), 0.0]))
        assert (background[int(y), int(x)].mean() > 0.5) == bright
    assert background[0].max() < 0.2


def test_shadow_lies_under_the_animal_and_fades_with_height() -> None:
    grid = np.stack(np.meshgrid(np.arange(-10, 10.0), np.arange(-10, 10.0), [0.0]), axis=-1).reshape(-1, 3)
    low = grid + [*ARENA_CENTRE, 2.0] + [30.0, -15.0, 0.0]
    area = np.full(len(low), 2.0)
    shadow = shadow_map(low, area)
    row, column = np.unravel_index(shadow.argmax(), shadow.shape)
    half = shadow.shape[0] / 2
    assert (column + 0.5 - half) * SHADOW_CELL == pytest.approx(30, abs=8)
    assert (row + 0.5 - half) * SHADOW_CELL == pytest.approx(-15, abs=8)
    assert 0.5 < shadow.max() < 1
    assert shadow_map(low + [0, 0, 60.0], area).max() < 0.3 * shadow.max()


def test_compose_darkens_the_floor_only_where_the_shadow_falls() -> None:
    camera = rig_cameras(288, 256)[1]
    arena = Arena(camera)
    shadow = np.zeros_like(shadow_map(np.zeros((1, 3)), np.zeros(1)))
    empty, clear = np.zeros((256, 288, 3), np.float32), np.zeros((256, 288), np.float32)
    np.testing.assert_array_equal(arena.compose(empty, clear, shadow), arena.background)
    np.testing.assert_array_equal(arena.compose(empty + 0.25, clear + 1, shadow), empty + 0.25)
    half = shadow.shape[0] // 2
    shadow[half - 5 : half + 5, half - 5 : half + 5] = 0.5
    ratio = arena.compose(empty, clear, shadow).mean(-1) / arena.background.mean(-1)
    x, y = camera.project(np.array([*ARENA_CENTRE, 0.0])).astype(int)
    assert ratio[y, x] == pytest.approx(0.5, abs=0.02)
    assert ratio[:40].min() == 1 and (ratio == 1).mean() > 0.95
