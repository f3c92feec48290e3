"""Reduced images and cameras still belong to each other."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.reduction import reduced_images, reduced_intrinsics, reduced_sample, reduction_factor
from tests.synthetic import blob, ring_sample


def test_factor() -> None:
    assert [reduction_factor(side, 256, "x") for side in (64, 256, 512, 1024)] == [1, 1, 2, 4]
    with pytest.raises(InputError, match="x has images of 384 px, which cannot be averaged down to 256 px"):
        reduction_factor(384, 256, "x")


def test_reduced_twice_is_reduced_once() -> None:
    images = ring_sample(blob(), size=64).images
    twice, once = reduced_images(reduced_images(images, 2), 2), reduced_images(images, 4)
    solid = once[..., 3] > 40
    difference = np.abs(twice.astype(int) - once)
    assert difference[solid].max() <= 2 and difference[..., 3].max() <= 1


def test_transparent_pixels_give_no_colour() -> None:
    images = np.zeros((1, 2, 2, 4), np.uint8)
    images[0, 0, 0] = (200, 100, 50, 255)
    images[0, 1, 1] = (255, 255, 255, 0)
    assert reduced_images(images, 2)[0, 0, 0].tolist() == [200, 100, 50, 64]


def test_cameras_describe_the_reduced_pixels() -> None:
    sample = ring_sample(blob(), size=64)
    small = reduced_sample(sample, 2)
    points = np.random.default_rng(0).normal(0, 0.2, (50, 3))
    for camera, reduced in zip(sample.cameras, small.cameras, strict=True):
        np.testing.assert_allclose(reduced.project(points), camera.project(points) / 2, atol=1e-9)
    stacked = np.stack([c.fxfycxcy for c in sample.cameras]).astype(np.float32)
    np.testing.assert_allclose(reduced_intrinsics(stacked, 2), np.stack([c.fxfycxcy for c in small.cameras]), rtol=1e-6)
    # The silhouette's centroid halves as the pixel grid does.
    big, little = (_centroid(s.images[0, ..., 3]) for s in (sample, small))
    np.testing.assert_allclose(big / 2, little, atol=0.05)
    assert reduced_sample(sample, 1) is sample


def _centroid(alpha: np.ndarray) -> np.ndarray:
    grid = np.moveaxis(np.indices(alpha.shape), 0, -1) + 0.5
    return (grid * alpha[..., None]).sum((0, 1)) / alpha.sum()
