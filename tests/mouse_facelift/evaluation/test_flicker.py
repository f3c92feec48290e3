"""Flicker is what motion does not explain."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mouse_facelift.evaluation.flicker import flicker

SIZE = 96


def fur(seed: int = 0) -> np.ndarray:
    """Smooth random texture, larger than a picture."""
    noise = np.random.default_rng(seed).uniform(0, 1, (SIZE + 40, SIZE + 40, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 3)
    noise = (noise - noise.min()) / np.ptp(noise)
    return (noise * 200 + 20).astype(np.uint8)


def moving(count: int, step: int) -> list[np.ndarray]:
    texture = fur()
    return [texture[10 : 10 + SIZE, i * step : i * step + SIZE] for i in range(count)]


def trembling(pictures: list[np.ndarray], level: int) -> list[np.ndarray]:
    """Every other picture brighter."""
    return [np.clip(p.astype(int) + level * (i % 2), 0, 255).astype(np.uint8) for i, p in enumerate(pictures)]


def test_still_pictures_have_none() -> None:
    found = flicker([fur()[:SIZE, :SIZE]] * 3)
    assert found.residual == found.difference == found.worst == 0 and found.pairs == 2


def test_motion_is_explained_brightness_is_not() -> None:
    moved = flicker(moving(4, 3))
    assert moved.difference > 0.02 and moved.residual < 0.15 * moved.difference
    flickering = flicker(trembling(moving(4, 3), 20))
    assert flickering.residual == pytest.approx(20 / 255, rel=0.15)


def test_only_the_animal_counts() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:70, 20:70] = True
    pictures = moving(3, 0)
    for i, picture in enumerate(pictures):
        pictures[i] = np.where(mask[..., None], picture, np.uint8(90 * (i % 2)))
    assert flicker(pictures, [cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0] * 3).residual < 0.01
    assert flicker(pictures).residual > 0.05


def test_nothing_is_compared_across_a_cut() -> None:
    texture, other = fur()[:SIZE, :SIZE], fur(1)[:SIZE, :SIZE]
    pictures = [texture, texture, other, other]
    cut = flicker(pictures, breaks=frozenset([2]))
    assert cut.residual == 0 and cut.pairs == 2
    through = flicker(pictures)
    assert through.worst > 0.01 and through.worst_pair == 1


def test_nothing_to_compare_is_nan() -> None:
    nothing = flicker([fur()[:SIZE, :SIZE]] * 2, [np.zeros((SIZE, SIZE), bool)] * 2)
    assert np.isnan(nothing.residual) and nothing.pairs == 0 and nothing.worst_pair == -1
    with pytest.raises(ValueError, match="picture 1"):
        flicker([fur()[:32, :32], fur()[:32, :40]])
    with pytest.raises(ValueError, match="picture 0"):
        flicker([fur()[:8, :8]])
    with pytest.raises(ValueError, match="picture 1"):
        flicker([fur()[:32, :32]] * 2, [np.ones((32, 32), bool)])
