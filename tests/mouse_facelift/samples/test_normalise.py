"""Images and cameras agree: checked by projecting known points through the written cameras."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.samples.normalise import homography, normalise_view, normalised_camera, source_pixels

CENTRE = np.array([52.0, 57.0, 22.0])
SCALE = 2.7 / 300


def dot_image(camera: Camera, pixel: np.ndarray, sigma: float) -> np.ndarray:
    """A smooth bright dot at a sub-pixel place, on black."""
    grid = np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)
    value = 250 * np.exp(-0.5 * np.sum((grid - pixel) ** 2, axis=-1) / sigma**2)
    return np.repeat(np.round(value).astype(np.uint8)[..., None], 3, axis=-1)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5), axis=-1)
    return (grid * weight[..., None]).sum(axis=(0, 1)) / weight.sum()


@pytest.mark.parametrize(("size", "zoom", "sigma"), [(512, 1.0, 3.0), (512, 3.0, 3.0), (96, 1.0, 9.0)])
def test_points_land_where_the_written_camera_says(ring, distortion, size, zoom, sigma):
    for camera in ring(distortion=distortion):
        target = normalised_camera(camera, CENTRE, SCALE, size, zoom)
        for offset in ([0, 0, 0], [14, -10, 8], [-12, 9, -6]):
            point = CENTRE + np.array(offset, float)
            image = dot_image(camera, camera.project(point), sigma)
            view = normalise_view(image, np.ones(image.shape[:2], bool), camera, target)
            expected = view.camera.project(SCALE * (point - CENTRE))
            # Perspective and distortion skew a dot of this width by a few hundredths of a pixel.
            assert np.abs(centroid(view.image) - expected).max() < 0.06 * max(1, zoom)


def test_written_camera_is_the_source_turned_about_its_own_centre(ring):
    for camera in ring():
        target = normalised_camera(camera, CENTRE, SCALE, 512, 1.3)
        assert np.allclose(target.centre, SCALE * (camera.centre - CENTRE), atol=1e-12)
        assert np.allclose(target.project(np.zeros(3)), 256, atol=1e-9)
        assert np.isclose(np.linalg.det(target.R), 1)
        assert np.isclose(target.K[0, 0], 1.3 * 256 / np.tan(np.radians(25)))


def test_homography_maps_projections_onto_projections(ring):
    points = CENTRE + np.random.default_rng(0).normal(size=(50, 3)) * 30
    for camera in ring():
        target = normalised_camera(camera, CENTRE, SCALE, 512, 1.0)
        pixels = camera.project(points)
        mapped = np.concatenate([pixels, np.ones((50, 1))], axis=1) @ homography(camera, target).T
        assert np.allclose(mapped[:, :2] / mapped[:, 2:], target.project(SCALE * (points - CENTRE)), atol=1e-8)


def test_source_pixels_invert_the_written_camera(ring, distortion):
    camera = ring(distortion=distortion)[1]
    target = normalised_camera(camera, CENTRE, SCALE, 64, 1.0)
    point = CENTRE + [5.0, -3.0, 4.0]
    column, row = (target.project(SCALE * (point - CENTRE)) - 0.5).round().astype(int)
    seen = camera.rays(source_pixels(camera, target)[row, column][None])[0]
    assert np.allclose(seen, target.rays(np.array([[column + 0.5, row + 0.5]]))[0], atol=1e-9)


def test_alpha_is_the_warped_mask_and_colour_does_not_bleed(ring, ball, distortion):
    for camera in ring(distortion=distortion):
        mask = ball(camera, CENTRE, 25.0)
        frame = np.full((*mask.shape, 3), 200, np.uint8)
        frame[mask] = (90, 60, 30)
        target = normalised_camera(camera, CENTRE, SCALE, 256, 1.0)
        view = normalise_view(frame, mask, camera, target)
        truth = ball(target, np.zeros(3), 25.0 * SCALE)
        written = view.image[..., 3] > 127
        assert (written & truth).sum() / (written | truth).sum() > 0.98
        inside = view.image[..., 3] > 0
        assert np.abs(view.image[inside][:, :3].astype(int) - (90, 60, 30)).max() <= 1
        assert (view.image[~inside] == 0).all()


def test_known_pixels_are_those_of_the_source_frame(ring, distortion):
    camera = ring(distortion=distortion)[0]
    target = normalised_camera(camera, CENTRE + [60, -90, 0], SCALE, 128, 0.5)
    mask = np.zeros((camera.height, camera.width), bool)
    known = normalise_view(np.zeros((*mask.shape, 3), np.uint8), mask, camera, target).known
    grid = np.stack(np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5), axis=-1)
    truth = camera.contains(source_pixels(camera, target, 1.0))
    assert 0.02 < known.mean() < 0.98
    assert (known != truth).mean() < 0.02, grid.shape
