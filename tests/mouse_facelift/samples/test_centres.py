"""Centres: exact from exact rays, robust to one bad view, smooth in time without moving what does not move."""

from __future__ import annotations

import numpy as np

from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.samples.centres import CentreConfig, frame_centre, smooth_centres, triangulate

POINT = np.array([47.0, 61.0, 25.0])


def rays_to(cameras, point):
    directions = np.stack([c.rays(c.project(point)) for c in cameras])
    return np.stack([c.centre for c in cameras]), directions


def test_exact_rays_meet_exactly(ring, distortion):
    found = triangulate(*rays_to(ring(distortion=distortion), POINT))
    assert np.allclose(found.point, POINT, atol=1e-6)
    assert found.misses.max() < 1e-6


def test_one_bad_view_is_left_out(ring):
    origins, directions = rays_to(ring(6), POINT)
    directions[3] = rays_to(ring(6), POINT + [30.0, 10.0, -20.0])[1][3]
    found = triangulate(origins, directions, outlier_ratio=4.0)
    assert not found.used[3] and found.used.sum() == 5
    assert np.allclose(found.point, POINT, atol=1e-6)


def test_centre_of_a_ball_is_found_in_3d(ring, ball, distortion):
    cameras = ring(6, distortion=distortion)
    masks = [ball(c, POINT, 18.0) for c in cameras]
    centre = frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig())
    assert centre is not None and np.linalg.norm(centre.point - POINT) < 1.0
    assert centre.disagreement < 0.1


def test_a_view_that_shows_something_else_is_noticed(ring, ball):
    cameras = ring(6)
    masks = [ball(c, POINT, 18.0) for c in cameras]
    masks[2] = ball(cameras[2], POINT + [0.0, 0.0, 60.0], 18.0)
    centre = frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig())
    assert centre is not None and centre.disagreement > 1
    assert np.linalg.norm(centre.point - POINT) < 1.5


def test_a_single_view_gives_no_centre(ring, ball):
    cameras = ring(4)
    masks = [np.zeros((c.height, c.width), bool) for c in cameras]
    masks[0] = ball(cameras[0], POINT, 18.0)
    assert frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig()) is None


def test_smoothing_keeps_constants_and_lines_and_reduces_noise():
    times = np.arange(60) / 100
    line = np.stack([times * 50, times * 0 + 3, -times], axis=1)
    smoothed = smooth_centres(line, times, 0.02)
    assert np.allclose(smoothed[8:-8], line[8:-8], atol=1e-9)
    noise = np.random.default_rng(1).normal(size=(60, 3))
    assert smooth_centres(noise, times, 0.02).std() < 0.6 * noise.std()
    assert np.array_equal(smooth_centres(noise, times, 0.0), noise)


def test_an_empty_view_has_no_say(ring, ball, distortion):
    cameras = ring(6, distortion=distortion)
    masks = [ball(c, POINT, 18.0) for c in cameras]
    masks[4] = np.zeros_like(masks[4])
    centre = frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig())
    assert centre is not None and np.linalg.norm(centre.point - POINT) < 1.0 and centre.disagreement < 0.1
    masks[2] = ball(cameras[2], POINT + [0.0, 0.0, 60.0], 18.0)
    centre = frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig())
    assert centre is not None and np.linalg.norm(centre.point - POINT) < 1.5 and centre.disagreement > 1


def test_a_given_centre_is_kept_and_its_misses_told(ring, ball):
    cameras = ring(5)
    masks = [ball(c, POINT, 18.0) for c in cameras]
    for offset, low, high in ((0.0, 0.0, 0.1), (36.0, 1.5, 2.2)):
        given = POINT + [0.0, 0.0, offset]
        centre = frame_centre([BoxedMask.of(m) for m in masks], cameras, CentreConfig(), given)
        assert centre is not None and np.array_equal(centre.point, given) and low <= centre.disagreement < high
