from __future__ import annotations

import cv2
import numpy as np
import pytest

from mouse_facelift.photos.matting import one_animal, soft_cutout


def disc(size: int, radius: float, oversample: int = 8) -> np.ndarray:
    """The exact coverage of every pixel by a disc in the middle."""
    places = (np.arange(size * oversample) + 0.5) / oversample - size / 2
    fine = np.hypot(places[None], places[:, None]) < radius
    return fine.reshape(size, oversample, size, oversample).mean(axis=(1, 3))


def test_one_animal_is_the_largest_part_with_its_holes_filled() -> None:
    mask = disc(40, 12) > 0.5
    expected = mask.copy()
    mask[18:22, 18:22] = False
    mask[1:4, 1:4] = True
    assert (one_animal(mask) == expected).all()
    assert not one_animal(np.zeros((5, 5), bool)).any()


def test_a_bay_that_opens_on_the_border_is_no_hole() -> None:
    mask = np.zeros((20, 20), bool)
    mask[4:, 4:16] = True
    mask[8:, 9:11] = False
    assert (one_animal(mask) == mask).all()


@pytest.mark.parametrize("behind", [(1.0, 1.0, 1.0), (0.1, 0.5, 0.2)])
def test_what_a_compositing_mixed_comes_apart_again(behind: tuple[float, float, float]) -> None:
    alpha = disc(48, 15)[..., None]
    animal, background = np.array([0.5, 0.1, 0.05]), np.array(behind)
    mixed = (alpha * animal + (1 - alpha) * background).astype(np.float32)
    cut = soft_cutout(mixed, np.broadcast_to(background, mixed.shape).astype(np.float32), alpha[..., 0] > 0.5)
    assert np.abs(cut[..., 3] / 255 - alpha[..., 0]).max() < 0.01
    seen = cut[..., 3] > 0
    assert np.abs(cut[seen][:, :3] / 255 - animal).max() < 0.02
    assert not cut[~seen].any()


def test_a_thin_tail_of_another_colour_stays() -> None:
    solid = disc(64, 12) > 0.5
    solid[31:33, 44:60] = True
    colours = np.ones((64, 64, 3), np.float32)
    colours[solid] = 0.1
    colours[31:33, 44:60] = (0.9, 0.6, 0.6)
    cut = soft_cutout(colours, np.ones_like(colours), solid)
    assert (cut[31:33, 46:58, 3] == 255).all()
    assert np.abs(cut[31:33, 46:58, :3] / 255 - [0.9, 0.6, 0.6]).max() < 0.01


def test_nothing_is_cut_from_nothing() -> None:
    empty = np.zeros((9, 9), bool)
    assert not soft_cutout(np.ones((9, 9, 3), np.float32), np.ones((9, 9, 3), np.float32), empty).any()
    assert cv2.countNonZero(one_animal(empty).astype(np.uint8)) == 0
