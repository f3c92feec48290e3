"""Parallel coordinates of a search: one axis per setting, one line per trial, the score at the right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mouse_facelift.evaluation.axes import (
    LETTER,
    linear_axis,
    number_text,
    shade,
    svg_legend,
    svg_line,
    svg_open,
    svg_path,
    svg_text,
)
from mouse_facelift.evaluation.charts import PALETTE
from mouse_facelift.evaluation.search_numbers import (
    axis_label,
    compared_at,
    searched,
    setting,
    sign,
    value_at,
    value_text,
)
from mouse_facelift.evaluation.setting_axis import SettingAxis, setting_axis
from mouse_facelift.evaluation.trials import Knob, Search, Trial

WIDTH, HEIGHT = 900, 394
MOST_AXES = 9
"""Settings shown at most: more axes are too narrow for their names."""
LEFT, RIGHT, TOP, BOTTOM = 60, 60, 98, 22
_BETWEEN, _NARROWEST = 180, 560
"""Widths (pixels): from axis to axis where there is room, and of the whole chart at least."""
_WORST, _MIDDLE, _BEST = "#dcdcdc", "#7d9cc0", "#08519c"
_JITTER = 0.016


def parallel_coordinates_svg(search: Search, knobs: Sequence[Knob]) -> str:
    """Every trial of the search as a line through its settings to its score; the better, the darker.

    Scores are those after as many samples as (nearly) all trials saw; a trial that did not come so far ends before the
    score's axis.

    Args:
        search: The search.
        knobs: The settings, from left to right; the first `MOST_AXES` are shown.
    """
    trials, objective, samples = searched(search), search.objectives[0], compared_at(search)
    scores = [value_at(objective, trial, samples) for trial in trials]
    axes = [setting_axis(knob, [setting(trial, knob) for trial in trials]) for knob in knobs[:MOST_AXES]]
    known = sorted(score for score in scores if math.isfinite(score))
    axis = linear_axis(known or [0.0, 1.0])
    # A wide chart of few axes would be shrunk, and its words with it.
    width = min(max(LEFT + _BETWEEN * len(axes) + RIGHT, _NARROWEST), WIDTH)
    xs = np.linspace(LEFT, width - RIGHT, len(axes) + 1)
    parts = [svg_open(width, HEIGHT, "Every trial's settings and score")]
    parts.append(svg_text(0, 14, "Every trial's settings and its score", kind="title"))
    for i in sorted(range(len(trials)), key=lambda i: _order(search, trials[i], sign(objective) * scores[i])):
        points = [(x, _height(u.places[i] + _offset(u, trials[i].number))) for x, u in zip(xs, axes, strict=False)]
        if math.isfinite(scores[i]):
            points.append((xs[-1], _height(axis.place(scores[i]))))
        place = np.searchsorted(known, scores[i]) / max(len(known) - 1, 1)
        parts.append(_line(search, trials[i], points, place if objective.direction == "max" else 1 - place))
    for x, one in zip(xs, axes, strict=False):
        parts.append(_axis(x, one.ticks))
    parts.append(_axis(xs[-1], [(axis.place(tick), number_text(tick)) for tick in axis.ticks], right=True))
    parts.append(_names(xs, [*[u.knob.path for u in axes], axis_label(objective)], f"after {samples:,} samples"))
    legend = [
        ("best", PALETTE[0], ""),
        ("default", PALETTE[1], "7 4"),
        ("others, the better the darker", _MIDDLE, ""),
    ]
    if search.best_trial == search.default_trial:
        legend[:2] = [("best, which is the default", PALETTE[1], "7 4")]
    return "".join(parts) + svg_legend(0, 30, legend) + "</svg>"


def _offset(one: SettingAxis, number: int) -> float:
    """Lines through the same level lie beside each other."""
    return 0.0 if len(set(one.places)) == len(one.places) else _JITTER * ((number * 0.618) % 1 - 0.5) * 2


def _height(place: float) -> float:
    return HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)


def _order(search: Search, trial: Trial, score: float) -> tuple[int, float]:
    """Better trials are drawn over worse ones, default and best over all."""
    layer = 2 if trial.trial_id == search.best_trial else int(trial.trial_id == search.default_trial)
    return layer, score if math.isfinite(score) else -math.inf


def _line(search: Search, trial: Trial, points: Sequence[tuple[float, float]], place: float) -> str:
    hint = f"trial {trial.number}, {trial.status}" + "".join(
        f"\n{path} {value_text(value)}" for path, value in trial.overrides.items()
    )
    if trial.trial_id == search.default_trial:
        return svg_path(points, hint, stroke=PALETTE[1], stroke_width=2.6, stroke_dasharray="7 4")
    if trial.trial_id == search.best_trial:
        return svg_path(points, hint, stroke=PALETTE[0], stroke_width=3.2)
    return svg_path(points, hint, stroke=shade(place, _WORST, _BEST), stroke_width=1.4, stroke_opacity=0.85)


def _axis(x: float, ticks: Sequence[tuple[float, str]], right: bool = False) -> str:
    parts = [svg_line(x, TOP, x, HEIGHT - BOTTOM, stroke="#888888", stroke_width=1)]
    for place, text in ticks:
        y = _height(place)
        parts.append(svg_line(x - 3, y, x + 3, y, stroke="#888888"))
        # A white rim keeps numbers readable over the lines.
        parts.append(svg_text(x + 7 if right else x - 6, y + 4, text, "start" if right else "end", kind="halo"))
    return "".join(parts)


def _names(xs: np.ndarray, names: Sequence[str], under: str) -> str:
    """Names over the axes in two rows in turn where they would touch; the last has a second line under it."""
    short = [name.rpartition(".")[2] for name in names[:-1]] + [names[-1]]
    room = float(xs[1] - xs[0])
    staggered = any(LETTER * (len(a) + len(b)) / 2 + 8 > room for a, b in zip(short, short[1:], strict=False))
    parts = []
    for i, (x, name) in enumerate(zip(xs, short, strict=True)):
        y = TOP - (40 if staggered and (len(xs) - 1 - i) % 2 else 24)
        anchor = "start" if i == 0 else "end" if i == len(xs) - 1 else "middle"
        at = x - LEFT if i == 0 else x + RIGHT if i == len(xs) - 1 else x
        parts.append(svg_text(at, y, name, anchor))
    parts.append(svg_text(float(xs[-1]) + RIGHT, TOP - 10, under, "end", fill="#8a8a8a"))
    return "".join(parts)
