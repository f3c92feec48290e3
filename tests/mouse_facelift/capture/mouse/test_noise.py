"""Smooth noise is smooth, centred, of the stated size, and decided by its generator."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.mouse.noise import smooth_noise


def test_mean_size_and_smoothness() -> None:
    x, y = np.meshgrid(np.arange(0, 400.0), np.arange(0, 400.0))
    points = np.stack([x, y], axis=-1)
    values = smooth_noise(points, 20.0, np.random.default_rng(3))
    assert values.shape == x.shape
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.var() == pytest.approx(0.5, rel=0.1)
    # The steepest a wave of 2/3 of the wavelength can be, added up in the worst case.
    assert np.abs(np.diff(values, axis=1)).max() < 4 * 2 * np.pi / (20 * 2 / 3)
    np.testing.assert_array_equal(values, smooth_noise(points, 20.0, np.random.default_rng(3)))
    assert np.abs(values - smooth_noise(points, 20.0, np.random.default_rng(4))).max() > 0.5
