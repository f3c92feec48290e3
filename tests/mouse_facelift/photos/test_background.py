from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.photos.background import cut_out


def ellipse(size: tuple[int, int] = (150, 200)) -> np.ndarray:
    return cv2.ellipse(np.zeros(size, np.uint8), (110, 80), (50, 25), 20, 0, 360, 1, -1).astype(bool)


def photo(noise: float = 4.0) -> np.ndarray:
    """A brown animal with a pale belly on a grey floor that grows darker to one side."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:150, 0:200]
    picture = np.repeat((200 - columns * 0.25 - rows * 0.1)[..., None], 3, axis=-1)
    picture[ellipse()] = (70, 45, 30)
    picture[ellipse() & (rows > 90)] = (170, 120, 110)
    return (picture + generator.normal(0, noise, picture.shape)).clip(0, 255).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_plain_background_goes_and_the_animal_stays() -> None:
    cut = cut_out(photo(), "photo")
    assert iou(cut[..., 3] > 127, ellipse()) > 0.96
    inside = cv2.erode(ellipse().astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert (cut[inside][:, :3] == photo()[inside]).mean() > 0.99


def test_a_picture_always_gives_the_same_cut_out() -> None:
    first = cut_out(photo(), "photo")
    cv2.setRNGSeed(99)
    assert (cut_out(photo(), "photo") == first).all()


def test_alpha_is_taken_where_there_is_some_but_not_specks_apart() -> None:
    rgba = np.dstack([photo(), np.where(ellipse(), 200, 0).astype(np.uint8)])
    rgba[2:4, 2:4, 3] = 255
    cut = cut_out(rgba, "photo")
    assert (cut[ellipse()] == rgba[ellipse()]).all()
    assert not cut[~cv2.dilate(ellipse().astype(np.uint8), np.ones((9, 9))).astype(bool)].any()
    opaque = np.dstack([photo(), np.full((150, 200), 255, np.uint8)])
    assert (cut_out(opaque, "photo") == cut_out(photo(), "photo")).all()


def test_pictures_without_an_animal_are_refused() -> None:
    noise = np.random.default_rng(1).normal(150, 5, (100, 120, 3)).clip(0, 255).astype(np.uint8)
    for picture in (np.full((100, 120, 3), 200, np.uint8), noise, np.zeros((3, 3, 3), np.uint8)):
        with pytest.raises(InputError, match=r"^empty\.png: no animal .*alpha"):
            cut_out(picture, "empty.png")
    with pytest.raises(InputError, match="no animal found"):
        cut_out(np.zeros((40, 40, 4), np.uint8), "empty.png")


def test_what_was_asked_for_must_be_there() -> None:
    with pytest.raises(InputError, match="has no transparent background"):
        cut_out(photo(), "photo", "alpha")
    if importlib.util.find_spec("rembg") is None:
        with pytest.raises(InputError, match=r"rembg is not installed; pip install 'mouse-facelift\[photos\]'"):
            cut_out(photo(), "photo", "rembg")
