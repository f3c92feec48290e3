from __future__ import annotations

import math

import numpy as np
import pytest

from mouse_facelift.evaluation.bootstrap import mean_interval, paired_difference


def test_the_interval_is_that_of_the_normal_law_where_the_law_holds() -> None:
    values = np.random.default_rng(1).normal(20.0, 2.0, 400)
    found = mean_interval(values)
    error = values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean()) and found.frames == 400
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    found = [mean_interval(generator.normal(0.0, 1.0, 40), rounds=400) for _ in range(200)]
    assert 0.88 < np.mean([one.low < 0 < one.high for one in found]) <= 1.0


def test_frames_without_a_value_are_left_out_and_none_gives_nan() -> None:
    found = mean_interval(np.array([1.0, math.nan, 3.0]))
    assert (found.mean, found.frames) == (2.0, 2)
    alone = mean_interval(np.array([4.0, math.nan]))
    assert alone.plain() == {"mean": 4.0, "low": None, "high": None, "frames": 1}
    nothing = mean_interval(np.array([math.nan]))
    assert nothing.frames == 0 and math.isnan(nothing.mean)
    assert nothing.plain() == {"mean": None, "low": None, "high": None, "frames": 0}


def test_pairing_sees_a_small_difference_that_hard_frames_would_hide() -> None:
    hard = np.random.default_rng(3).normal(20.0, 5.0, 60)
    ours = dict(enumerate(hard + 0.5))
    theirs = dict(enumerate(hard)) | {99: 1000.0}
    found = paired_difference(ours, theirs)
    assert found.frames == 60
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)
    apart = mean_interval(hard)
    assert apart.high - apart.low > 1.0
