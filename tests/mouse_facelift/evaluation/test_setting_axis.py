from __future__ import annotations

import pytest

from mouse_facelift.evaluation.setting_axis import setting_axis
from mouse_facelift.evaluation.trials import Knob


def test_a_log_scale_places_equal_factors_equally() -> None:
    axis = setting_axis(Knob("lr", "log", 1e-4, low=1e-6, high=1e-2), [1e-6, 1e-4, 1e-2])
    assert axis.places == pytest.approx((0, 0.5, 1))
    assert [text for _, text in axis.ticks][::4] == ["1e-06", "0.01"]


def test_zero_and_not_searched_have_places_of_their_own_below_a_log_scale() -> None:
    axis = setting_axis(Knob("w", "log", 0.0, low=1e-3, high=1.0), [0.0, None, 1e-3, 1.0])
    zero, missing, low, high = axis.places
    assert missing < zero < low < high == 1
    assert {"0", "(preset)"} <= {text for _, text in axis.ticks}


def test_numbers_to_choose_from_stand_in_their_order() -> None:
    axis = setting_axis(Knob("n", "choice", 4, options=(5, 1, 3)), [1, 3, 5, 4])
    one, three, five, four = axis.places
    assert one < three < four < five
    assert [text for _, text in axis.ticks] == ["1", "3", "4", "5"]


def test_words_keep_the_order_of_the_space_and_equal_numbers_are_one_level() -> None:
    axis = setting_axis(Knob("mode", "choice", "full", options=("full", "lora")), ["lora", "full", "lora"])
    assert [text for _, text in axis.ticks] == ["full", "lora"] and axis.places[0] == axis.places[2] > axis.places[1]
    assert len(setting_axis(Knob("n", "choice", 0, options=(0.0, 1.0)), [0, 0.0, 1.0]).ticks) == 2


def test_a_range_ends_where_the_space_ends() -> None:
    axis = setting_axis(Knob("x", "uniform", 0.5, low=0.0, high=1.0), [0.25, 0.5])
    assert axis.places == pytest.approx((0.25, 0.5))
    assert 0 < setting_axis(Knob("x", "int", 3), [3, 3]).places[0] < 1, "a single value is in the middle"
