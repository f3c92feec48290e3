"""The old recipes do what they are known to have done, and their cameras do not describe their pictures."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.samples.legacy import (
    LEGACY_SIZE,
    RECIPES,
    facelift_k_overwrite,
    make_views,
    per_camera_distance,
    pixel_based,
    silhouette,
    undistorted,
    uniform_scale,
)

TARGET = np.array([54.0, 57.0, 22.0])


@pytest.fixture
def seen(ring, ball):
    cameras = ring(5, size=(640, 512))
    return [silhouette(ball(c, TARGET, 18.0), c) for c in cameras], cameras


def moved(seen, made):
    return [s.moved(m) for s, m in zip(seen[0], made.matrices, strict=True)]


def test_overwritten_cameras_are_facelifts_at_a_mean_distance_of_2_7(seen):
    made = facelift_k_overwrite(*seen)
    for camera, source in zip(made.cameras, seen[1], strict=True):
        assert np.allclose(camera.fxfycxcy, [548.99, 548.99, 256, 256], atol=0.01)
        assert np.allclose(camera.R, source.R)
    distances = [np.linalg.norm(c.centre) for c in made.cameras]
    assert np.mean(distances) == pytest.approx(2.7) and np.std(distances) > 0.01
    assert made.mm_per_unit == pytest.approx(np.mean([np.linalg.norm(c.centre) for c in seen[1]]) / 2.7)


def test_crop_keeps_the_middle_and_the_short_side(seen):
    matrix = facelift_k_overwrite(*seen).matrices[0]
    assert np.allclose(matrix @ [320, 256, 1], [256, 256, 1])
    assert np.allclose((matrix @ [64, 0, 1])[:2], [0, 0])


def test_pixel_based_makes_tidy_pictures(seen):
    for after in moved(seen, pixel_based(*seen)):
        assert np.allclose(after.centroid, 256)
        assert np.sqrt(after.area) / LEGACY_SIZE == pytest.approx(0.3)


def test_uniform_scale_has_one_scale_and_stays_inside(seen):
    made = uniform_scale(*seen)
    scales = {round(float(m[0, 0]), 9) for m in made.matrices}
    assert len(scales) == 1
    for after in moved(seen, made):
        assert np.allclose(after.centroid, 256)
        assert after.box.min() >= 0.04 * 256 and after.box.max() <= LEGACY_SIZE - 0.04 * 256


def test_uniform_scale_carries_its_camera_along(seen):
    # Picture and K move together, so what was wrong before is exactly as wrong, in K's own units, after.
    base, made = facelift_k_overwrite(*seen), uniform_scale(*seen)
    for m0, m1, c0, c1 in zip(base.matrices, made.matrices, base.cameras, made.cameras, strict=True):
        assert np.allclose(np.linalg.inv(c0.K) @ m0, np.linalg.inv(c1.K) @ m1)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("_trained")])
def test_trained_cameras_all_stand_at_2_7(seen, name):
    made = RECIPES[name].method(*seen)
    assert np.allclose([np.linalg.norm(c.centre) for c in made.cameras], 2.7)
    centres = np.stack([c.centre for c in made.cameras])
    plain = RECIPES[name.removesuffix("_trained")].method(*seen)
    assert all(np.allclose(a, b) for a, b in zip(made.matrices, plain.matrices, strict=True))
    assert np.linalg.matrix_rank(centres - centres.mean(0)) >= 2


def test_levelling_turns_the_rigs_plane_up(seen):
    tilt = np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])
    flat = [type(c)(c.name, c.width, c.height, c.K, c.R @ tilt.T, c.t) for c in seen[1]]
    level, tilted = (RECIPES["centred_trained"].method(seen[0], cameras) for cameras in (seen[1], flat))
    # Both rigs end in one world, up to a turn about z.
    heights = [np.array([c.centre[2] for c in made.cameras]) for made in (level, tilted)]
    assert np.allclose(*heights, atol=1e-6)


def test_per_camera_distance_keeps_the_true_intrinsics(seen):
    made = per_camera_distance(*seen)
    for matrix, written, source in zip(made.matrices, made.cameras, seen[1], strict=True):
        assert np.allclose(written.K, matrix @ source.K)
        assert np.linalg.norm(written.centre) == pytest.approx(2.7)


def test_silhouettes_are_measured_without_the_lens(ring, ball, distortion):
    camera = ring(5, distortion=distortion)[1]
    found = silhouette(ball(camera, TARGET, 18.0), camera)
    straight = undistorted(camera)
    expected = silhouette(ball(straight, TARGET, 18.0), straight)
    assert np.abs(found.centroid - expected.centroid).max() < 1
    assert np.abs(found.box - expected.box).max() < 2
    with pytest.raises(ValueError, match="empty mask"):
        silhouette(np.zeros((256, 320), bool), camera)


def test_views_are_written_as_the_recipe_would_have(ring, ball, distortion):
    cameras = ring(4, distortion=distortion)
    masks = [ball(c, TARGET, 18.0) for c in cameras]
    frames = [np.where(m[..., None], np.uint8(120), np.uint8(200)).repeat(3, axis=-1) for m in masks]
    views, scale = make_views(RECIPES["pixel_based"], frames, masks, cameras, size=128)
    made = pixel_based([silhouette(m, c) for m, c in zip(masks, cameras, strict=True)], cameras)
    for view, written in zip(views, made.cameras, strict=True):
        inside = view.image[..., 3] > 127
        rows, columns = np.nonzero(inside)
        assert np.hypot(rows.mean() + 0.5 - 64, columns.mean() + 0.5 - 64) < 1.5
        assert np.sqrt(inside.sum()) / 128 == pytest.approx(0.3, abs=0.02)
        assert np.allclose(view.camera.K, written.resized(128, 128).K) and np.allclose(view.camera.t, written.t)
        assert (view.image[inside][:, :3] == 120).mean() > 0.95
