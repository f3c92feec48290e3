from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.evaluation.jitter import jitter


def test_it_is_the_size_of_the_error_whatever_the_motion() -> None:
    times = np.arange(4000) / 100
    smooth = np.stack([30 * np.sin(times), 5 * times**2 / 100, np.full_like(times, 7.0)], axis=-1)
    errors = np.random.default_rng(0).normal(size=(4000, 3)) * [0.3, 0.2, 0.1]
    assert jitter(smooth, times) < 1e-3
    assert jitter(smooth + errors, times) == pytest.approx(np.sqrt(0.09 + 0.04 + 0.01), rel=0.05)


def test_cuts_and_gaps_do_not_count() -> None:
    times = np.r_[np.arange(10), np.arange(50, 60)] / 10
    jump = np.where(np.arange(20)[:, None] < 10, 0.0, 100.0) * np.ones(3)
    assert jitter(jump, times) == 0
    even = np.arange(20) / 10
    assert jitter(jump, even) > 1
    assert jitter(jump, even, [0] * 10 + [1] * 10) == 0


def test_too_few_frames_are_nan() -> None:
    assert np.isnan(jitter(np.zeros((3, 3)), np.arange(3.0)))
    assert np.isnan(jitter(np.zeros((6, 3)), np.arange(6.0), [0, 0, 0, 1, 1, 1]))
    with pytest.raises(ValueError, match="differ"):
        jitter(np.zeros((3, 2)), np.arange(3.0))
