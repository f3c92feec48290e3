"""The axis of one setting that was searched: where each trial's value lies and what is written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mouse_facelift.evaluation.axes import Axis, linear_axis, log_axis, number_text
from mouse_facelift.evaluation.search_numbers import value_key, value_text
from mouse_facelift.evaluation.trials import Knob, Value

_LANE = 0.09
"""Room below an axis for each value it has no place for: zero on a logarithmic axis, and 'not in force'."""
_NOT_SEARCHED = "(preset)"
"""Beside the trials that leave a setting as the preset has it, because others switch it off."""


@dataclass(frozen=True)
class SettingAxis:
    """Where values are placed, 0 (least) to 1, and what stands beside which place."""

    knob: Knob
    places: tuple[float, ...]
    """Of each trial."""
    ticks: tuple[tuple[float, str], ...]


def setting_axis(knob: Knob, values: Sequence[Value]) -> SettingAxis:
    """The axis of a setting for the values that the trials had."""
    if knob.scale == "choice" or any(isinstance(value, (str, bool)) for value in values):
        return _choices(knob, values)
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    numbers += [end for end in (knob.low, knob.high) if end is not None]
    log = knob.scale == "log" and any(number > 0 for number in numbers)
    inside = [number for number in numbers if number > 0 or not log]
    axis = log_axis(min(inside), max(inside)) if log else _plain_axis(min(inside), max(inside))
    apart = [value for value in dict.fromkeys(values) if value is None or (log and float(value) <= 0)]
    apart.sort(key=lambda value: value is None)
    bottom = _LANE * len(apart)
    lanes = {value: _LANE * (len(apart) - 1 - i) for i, value in enumerate(apart)}

    def place(value: Value) -> float:
        return lanes[value] if value in lanes else bottom + (1 - bottom) * axis.place(float(value or 0))

    ticks = [(place(tick), number_text(float(f"{tick:.2g}"))) for tick in axis.ticks]
    ticks += [(lane, _NOT_SEARCHED if value is None else value_text(value)) for value, lane in lanes.items()]
    return SettingAxis(knob, tuple(place(value) for value in values), tuple(ticks))


def _choices(knob: Knob, values: Sequence[Value]) -> SettingAxis:
    """Evenly spaced levels: the options in their order, then what else was tried; 'not searched' at the bottom."""
    texts = {value_key(value): value for value in [*knob.options, knob.default, *values]}
    tried = {value_key(value) for value in values}
    levels = [key for key in texts if key in tried and texts[key] is not None]
    if all(isinstance(texts[key], (int, float)) and not isinstance(texts[key], bool) for key in levels):
        levels.sort(key=lambda key: float(str(texts[key])))
    if any(value is None for value in values):
        levels.insert(0, "null")
    place = {key: (i + 0.5) / len(levels) for i, key in enumerate(levels)}
    ticks = tuple((place[key], _NOT_SEARCHED if key == "null" else value_text(texts[key])) for key in levels)
    return SettingAxis(knob, tuple(place[value_key(value)] for value in values), ticks)


def _plain_axis(low: float, high: float) -> Axis:
    ticks = linear_axis([low, high]).ticks
    inside = tuple(tick for tick in ticks if low <= tick <= high)
    return Axis(low, high, inside) if high > low and len(inside) > 1 else linear_axis([low, high])
