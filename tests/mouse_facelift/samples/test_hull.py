"""The visual hull agrees with right cameras and notices wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.samples.hull import hull_agreement, hull_points

CENTRE = np.array([50.0, 60.0, 20.0])


def silhouettes(cameras, ball):
    return np.stack([ball(c, np.array([0.1, 0.0, 0.05]), 0.5) for c in cameras])


def agreement(masks, cameras, known=None):
    boxed = [BoxedMask.of(mask) for mask in masks]
    return hull_agreement(masks, np.ones_like(masks) if known is None else known, boxed, cameras, 0.8)


def test_consistent_silhouettes_support_each_other(ball):
    cameras = turntable(6, 128, elevation_degrees=15)
    assert agreement(silhouettes(cameras, ball), cameras).min() > 0.97


def test_a_moved_camera_is_noticed(ball):
    cameras = turntable(6, 128, elevation_degrees=15)
    masks = silhouettes(cameras, ball)
    cameras[2] = replace(cameras[2], K=cameras[2].K + np.array([[0, 0, 12.0], [0, 0, 0], [0, 0, 0]]))
    assert agreement(masks, cameras).mean() < 0.93


def test_unknown_pixels_do_not_contradict(ball):
    cameras = turntable(6, 128, elevation_degrees=15)
    masks = silhouettes(cameras, ball)
    cut = masks.copy()
    cut[0, :, :64] = False
    known = np.ones_like(masks)
    assert agreement(cut, cameras, known).min() < 0.7
    known[0, :, :64] = False
    assert agreement(cut, cameras, known).min() > 0.97


def test_an_empty_silhouette_scores_zero(ball):
    cameras = turntable(4, 64)
    masks = silhouettes(cameras, ball)
    masks[3] = False
    assert agreement(masks, cameras)[3] == 0


def test_hull_points_fill_the_ball(ring, ball, distortion):
    cameras = ring(6, distortion=distortion)
    target = CENTRE + [4.0, -3.0, 2.0]
    inside = hull_points([ball(c, target, 20.0) for c in cameras], cameras, CENTRE, 40.0, 40)
    assert np.linalg.norm(inside.mean(axis=0) - target) < 2.0
    # A hull holds the object, and from six views it is not much larger.
    assert 1.0 < len(inside) * 2.0**3 / (4 / 3 * np.pi * 20**3) < 1.6


def test_what_hardly_any_frame_covers_is_not_the_animal(ring, ball):
    # Low frames: far above and below the ball, no frame or one or two of them see anything.
    cameras = [replace(c, height=110, K=c.K - np.array([[0, 0, 0], [0, 0, 70.0], [0, 0, 0]])) for c in ring(6)]
    inside = hull_points([ball(c, CENTRE, 15.0) for c in cameras], cameras, CENTRE, 150.0, 40)
    assert len(inside) > 0
    assert np.abs(inside - CENTRE).max() < 30
