from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mouse_facelift.evaluation.axes import (
    Axis,
    Plot,
    count_axis,
    keep_apart,
    linear_axis,
    log_axis,
    nice_ticks,
    number_text,
    shade,
)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 1500), (-3.2, 28.7), (1e-6, 3e-6), (5, 5), (0, 0), (-1, -1), (99.999, 100.001)]
)
def test_ticks_span_the_values_at_round_distances(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    slack = 1e-6 * (ticks[-1] - ticks[0])
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    step = ticks[1] - ticks[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - wanted) for wanted in (1, 2, 5, 10)) < 1e-6


def test_ticks_refuse_nonsense() -> None:
    with pytest.raises(ValueError):
        nice_ticks(math.nan, 1.0)


@pytest.mark.parametrize("axis", [linear_axis([0.3, 17.0]), log_axis(1e-5, 3e-2), count_axis([1, 6])])
def test_axes_run_from_zero_to_one_and_keep_the_order(axis: Axis) -> None:
    assert axis.place(axis.low) == pytest.approx(0) and axis.place(axis.high) == pytest.approx(1)
    places = [axis.place(tick) for tick in axis.ticks]
    assert places == sorted(places) and len(set(places)) == len(places) >= 2
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_equal_factors_are_equally_far_apart_on_a_log_axis() -> None:
    axis = log_axis(1e-4, 1)
    assert axis.place(1e-2) - axis.place(1e-3) == pytest.approx(axis.place(1) - axis.place(1e-1)) == pytest.approx(0.25)
    assert axis.ticks == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1))


def test_points_lie_inside_the_frame_and_upwards_is_more() -> None:
    plot = Plot(linear_axis([0, 10]), linear_axis([5, 9]))
    left, top, right, bottom = plot.bounds
    assert plot.at(0, 5) == (left, bottom) and plot.at(10, 9) == (right, top)
    svg = plot.frame("score <dB>", "samples seen", "dB & more") + "</svg>"
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert {"score <dB>", "samples seen", "dB & more"} <= set(texts)


@pytest.mark.parametrize("seed", range(5))
def test_labels_keep_apart_and_in_order(seed: int) -> None:
    wanted = list(np.random.default_rng(seed).uniform(0, 100, size=8))
    placed = keep_apart(wanted, 12, 0, 100)
    order = np.argsort(wanted)
    assert (np.diff(np.array(placed)[order]) >= 12 - 1e-9).all()
    assert min(placed) >= -1e-9 and max(placed) <= 100 + 1e-9


def test_labels_that_do_not_collide_stay_and_too_many_share_the_room() -> None:
    assert keep_apart([10, 50, 90], 12, 0, 100) == [10, 50, 90]
    crowded = keep_apart([50.0] * 21, 12, 0, 100)
    assert crowded == pytest.approx(list(range(0, 101, 5)))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12000, "12,000"), (0.25, "0.25"), (3e6, "3M"), (2e-5, "2e-05"), (0.1 + 0.2, "0.3")]
)
def test_numbers_of_ticks(value: float, text: str) -> None:
    assert number_text(value) == text


def test_shades_lie_between_two_colours() -> None:
    assert [shade(a, "#000000", "#ffffff") for a in (-1, 0, 0.5, 1, 2)] == [
        "#000000",
        "#000000",
        "#808080",
        "#ffffff",
        "#ffffff",
    ]
