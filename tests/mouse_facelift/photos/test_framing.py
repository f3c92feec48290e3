from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.photos.framing import as_seen_by, framed, placed, spanning, with_image_size
from tests.synthetic import blob, ring_sample

SAMPLE = ring_sample(blob(), views=3, size=48)


def moments(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Covered area and centroid, pixels with a corner origin."""
    alpha = image[..., 3] / 255
    rows, columns = (np.indices(alpha.shape) + 0.5) * alpha
    return float(alpha.sum()), np.array([columns.sum(), rows.sum()]) / alpha.sum()


@pytest.mark.parametrize(("scale", "size"), [(0.4, 32), (1.0, 60), (1.7, 90)])
def test_points_go_where_the_similarity_says(scale: float, size: int) -> None:
    area, middle = moments(SAMPLE.images[0])
    target = np.array([size / 2 + 1.3, size / 2 - 2.2])
    moved_area, moved = moments(placed(SAMPLE.images[0], scale, middle, size, target))
    assert np.abs(moved - target).max() < 0.1
    assert moved_area == pytest.approx(area * scale**2, rel=0.03)


def test_nothing_to_do_changes_nothing() -> None:
    image, half = SAMPLE.images[0], np.array([24.0, 24.0])
    assert placed(image, 1.0, half, 48, half) is image


def test_colours_do_not_mix_with_what_is_transparent() -> None:
    image = np.zeros((40, 40, 4), np.uint8)
    image[10:30, 10:30] = (200, 80, 40, 255)
    for scale in (0.37, 1.6):
        moved = placed(image, scale, np.array([20.0, 20.0]), 40, np.array([20.3, 19.1]))
        assert np.abs(moved[moved[..., 3] > 20][:, :3].astype(int) - (200, 80, 40)).max() <= 3


def test_framed_animals_are_central_and_of_the_wanted_extent() -> None:
    cut = placed(SAMPLE.images[0], 3.0, np.array([20.0, 24.0]), 200, np.array([60.0, 140.0]))
    for size in (32, 64):
        area, middle = moments(framed(cut, size, 0.25))
        assert np.sqrt(area) / size == pytest.approx(0.25, rel=0.03)
        assert np.abs(middle - size / 2).max() < 0.2


def test_an_animal_too_large_is_made_to_fit() -> None:
    image = framed(SAMPLE.images[0], 64, 1.0)[..., 3] > 6
    assert not image[0].any() and not image[-1].any() and not image[:, 0].any() and not image[:, -1].any()
    assert max(image.any(axis=0).sum(), image.any(axis=1).sum()) > 32


def test_a_view_of_another_distance_and_focal_length_looks_as_drawn_from_there() -> None:
    wanted = turntable(1, 48, radius=3.2, elevation_degrees=10.0, hfov_degrees=30.0)[0]
    near = ring_sample(blob(), views=1, size=48)
    image = near.images[0]
    area, _ = moments(image)
    expected = ((wanted.K[0, 0] / 3.2) / (near.cameras[0].K[0, 0] / 2.7)) ** 2
    moved, _ = moments(as_seen_by(image, near.cameras[0], wanted))
    assert moved / area == pytest.approx(expected, rel=0.03)
    assert as_seen_by(image, near.cameras[0], near.cameras[0]) is image


@pytest.mark.parametrize("size", [24, 36, 96])
def test_cameras_follow_their_pictures(size: int) -> None:
    resized = with_image_size(SAMPLE, size)
    assert resized.images.shape == (3, size, size, 4)
    for before, after, image, moved in zip(SAMPLE.cameras, resized.cameras, SAMPLE.images, resized.images, strict=True):
        point = np.array([[0.2, -0.1, 0.15]])
        assert after.project(point) == pytest.approx(before.project(point) * size / 48)
        assert np.abs(moments(moved)[1] - moments(image)[1] * size / 48).max() < 0.15
    assert with_image_size(SAMPLE, 48) is SAMPLE


def test_a_margin_moves_the_principal_point_and_nothing_else() -> None:
    wide = spanning(SAMPLE, 1.5)
    assert wide.images.shape == (3, 72, 72, 4) and np.array_equal(wide.images[:, 12:60, 12:60], SAMPLE.images)
    assert wide.images.sum() == SAMPLE.images.sum()
    point = np.array([[0.2, -0.1, 0.15]])
    for before, after in zip(SAMPLE.cameras, wide.cameras, strict=True):
        assert after.project(point) == pytest.approx(before.project(point) + 12)
    again = spanning(wide, 48 / 72)
    assert np.array_equal(again.images, SAMPLE.images) and again.cameras[1].K == pytest.approx(SAMPLE.cameras[1].K)
    assert spanning(SAMPLE, 1.01) is SAMPLE
    with pytest.raises(InputError, match="too large to cut"):
        spanning(SAMPLE, 0.3)


def test_cameras_of_any_principal_point_are_served() -> None:
    camera = SAMPLE.cameras[0]
    K = camera.K.copy()
    # Half the size, so that what moves stays in the picture.
    K[[0, 1], [0, 1]] *= 0.5
    K[:2, 2] += (3.0, -2.0)
    shifted: Camera = replace(camera, K=K)
    _, before = moments(SAMPLE.images[0])
    _, after = moments(as_seen_by(SAMPLE.images[0], camera, shifted))
    assert np.abs(after - (0.5 * (before - 24) + 24 + (3.0, -2.0))).max() < 0.1
