"""Which settings decide, as inline SVG: a bar per setting, and the scores over the settings that decide most."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mouse_facelift.evaluation.axes import LETTER, Axis, Plot, linear_axis, number_text, svg_dot, svg_line, svg_text
from mouse_facelift.evaluation.importance import LIKELY, SURE, Importance
from mouse_facelift.evaluation.search_charts import BEST, DEFAULT, FAINT, OTHER
from mouse_facelift.evaluation.search_numbers import axis_label, compared_at, searched, setting, value_at, value_text
from mouse_facelift.evaluation.setting_axis import setting_axis
from mouse_facelift.evaluation.trials import Knob, Search

WIDTH = 560
MOST_SLICES = 4
_PALE, _MUTED = "#7fb8d8", "#8a8a8a"
_SLICE_HEIGHT = 150


def importance_svg(found: Sequence[Importance]) -> str:
    """A bar per setting, its interval as a line, what may be said about it as words; greyed where that is nothing."""
    left = int(14 + LETTER * max(len(i.name) for i in found))
    height = 84 + 26 * len(found)
    plot = Plot(linear_axis([0.0, 1.0]), Axis(0, len(found), ()), WIDTH, height, left, right=146, top=26)
    parts = [plot.frame("What decides the order of the trials", "share of the order it predicts alone", "")]
    for number, item in enumerate(found):
        y = plot.at(0, len(found) - number - 0.5)[1]
        sure = not math.isnan(item.share) and item.chance <= LIKELY
        fill = "" if sure else _MUTED
        parts.append(svg_text(left - 8, y + 4, item.name, anchor="end", fill=fill))
        if not math.isnan(item.share):
            colour = BEST if item.chance <= SURE else _PALE if sure else FAINT
            end, low, high = (plot.at(value, 0)[0] for value in (item.share, item.low, item.high))
            parts.append(f'<rect x="{left}" y="{y - 7:.1f}" width="{end - left:.1f}" height="14" fill="{colour}"/>')
            parts.append(svg_line(low, y, high, y, stroke="#333333", stroke_width=1.2))
            parts += [svg_line(x, y - 4, x, y + 4, stroke="#333333", stroke_width=1.2) for x in (low, high)]
        parts.append(svg_text(plot.bounds[2] + 10, y + 4, item.words, fill=fill))
    return "".join(parts) + "</svg>"


def slices_svg(search: Search, knobs: Sequence[Knob]) -> str:
    """Scores over the values of single settings, one small chart each: what a bar of importance is made of.

    Args:
        search: The search.
        knobs: The settings; the first `MOST_SLICES` are shown.
    """
    trials, objective, samples = searched(search), search.objectives[0], compared_at(search)
    scores = [value_at(objective, trial, samples) for trial in trials]
    knobs = knobs[:MOST_SLICES]
    across = 2 if len(knobs) > 1 else 1
    height = 40 + _SLICE_HEIGHT * math.ceil(len(knobs) / across)
    # Scores of trials that went wrong would leave the others no room.
    known = np.array([score for score in scores if math.isfinite(score)] or [0.0])
    near = known[np.abs(known - np.median(known)) <= 5 * max(float(np.median(np.abs(known - np.median(known)))), 1e-9)]
    axis = linear_axis(list(near if len(near) > 1 else known), 3)
    whole = Plot(Axis(0, 1, ()), axis, WIDTH, height, top=26)
    parts = [whole.open(f"{axis_label(objective)} after {samples:,} samples, by setting")]
    for number, knob in enumerate(knobs):
        left, top = 44 + (number % across) * WIDTH / across, 36 + (number // across) * _SLICE_HEIGHT
        plot = Plot(
            Axis(0, 1, ()),
            axis,
            width=int(left + WIDTH / across - 58),
            height=int(top + _SLICE_HEIGHT - 48),
            left=int(left),
            right=0,
            top=int(top),
            bottom=0,
        )
        parts.append(_slice(search, knob, plot, scores))
    return "".join(parts) + "</svg>"


def _slice(search: Search, knob: Knob, plot: Plot, scores: Sequence[float]) -> str:
    trials = searched(search)
    values = [setting(trial, knob) for trial in trials]
    one = setting_axis(knob, values)
    left, _, right, bottom = plot.bounds
    parts = [plot.grid()]
    previous = -math.inf
    for place, text in sorted(one.ticks):
        x = left + place * (right - left)
        parts.append(svg_line(x, bottom, x, bottom + 4, stroke="#999999"))
        if x - LETTER * len(text) / 2 > previous:
            parts.append(svg_text(x, bottom + 16, text, anchor="middle"))
            previous = x + LETTER * len(text) / 2 + 3
    parts.append(svg_text((left + right) / 2, bottom + 31, knob.path, anchor="middle"))
    order = sorted(range(len(trials)), key=lambda i: trials[i].trial_id in (search.best_trial, search.default_trial))
    for i in order:
        # One point far off would flatten the rest; it stays in the table.
        if not plot.y.low <= scores[i] <= plot.y.high:
            continue
        colour = {search.best_trial: BEST, search.default_trial: DEFAULT}.get(trials[i].trial_id, OTHER)
        x, y = left + one.places[i] * (right - left), plot.at(0, scores[i])[1]
        hint = f"trial {trials[i].number}: {knob.path} {value_text(values[i])}, {number_text(round(scores[i], 3))}"
        parts.append(svg_dot(x, y, 4 if colour != OTHER else 3, hint, fill=colour, fill_opacity=0.85))
    return "".join(parts)
