"""Charts of a search as inline SVG: best against default, learning curves, importance, quality by views and by cost.

In all of them the best configuration is blue, the default orange, everything else grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mouse_facelift.evaluation.axes import (
    LETTER,
    Axis,
    Plot,
    count_axis,
    keep_apart,
    linear_axis,
    shade,
    svg_dot,
    svg_legend,
    svg_line,
    svg_open,
    svg_path,
    svg_text,
)
from mouse_facelift.evaluation.charts import PALETTE
from mouse_facelift.evaluation.search_numbers import (
    ViewsCurve,
    axis_label,
    finalist_spread,
    objective_label,
    pareto_front,
    repetitions,
    score_value,
    searched,
    sign,
    trial_value,
)
from mouse_facelift.evaluation.search_verdict import spread_text
from mouse_facelift.evaluation.trials import Finalist, Objective, Search, Trial

BEST, DEFAULT, OTHER, FAINT = PALETTE[0], PALETTE[1], "#777777", "#c9c9c9"
_ROW = 46
_OUTLYING = 0.1
"""Share of the trials that may end outside the learning curves' chart: a diverged one would flatten all others."""
_RISE = 0.35
"""Share of the whole rise that is always shown: where curves end is what is compared, not where they begin."""


def finalists_svg(search: Search) -> str:
    """Every repetition of every finalist as a dot, with mean and spread; the default's mean goes through all rows."""
    objective = search.objectives[0]
    rows = [(f, finalist_spread(search, f)) for f in search.finalists]
    rows = [(finalist, spread) for finalist, spread in rows if spread.values]
    reach = [0.0 if math.isnan(s.deviation) else s.deviation for _, s in rows]
    ends = [s.mean + side * r for (_, s), r in zip(rows, reach, strict=True) for side in (-1, 1)]
    axis = linear_axis(ends + [value for _, spread in rows for value in spread.values])
    names = [finalist_name(search, finalist) for finalist, _ in rows]
    left = int(16 + LETTER * max(len(name) for name in names))
    plot = Plot(axis, Axis(0, len(rows), ()), height=98 + _ROW * len(rows), left=left, top=36)
    parts = [plot.frame("The finalists, every seed", axis_label(objective), "")]
    for number, ((finalist, spread), name, around) in enumerate(zip(rows, names, reach, strict=True)):
        colour = finalist_colour(search, finalist)
        (x, y), low, high = (
            plot.at(v, len(rows) - number - 0.5) for v in (spread.mean, spread.mean - around, spread.mean + around)
        )
        if finalist.is_default:
            _, top, _, bottom = plot.bounds
            parts.append(svg_line(x, top, x, bottom, stroke=DEFAULT, stroke_width=1, stroke_dasharray="4 4"))
        parts.append(svg_text(left - 8, y + 4, name, anchor="end", fill=colour))
        parts.append(svg_line(*low, *high, stroke=colour, stroke_width=9, stroke_opacity=0.22))
        parts.append(svg_line(x, y - 9, x, y + 9, stroke=colour, stroke_width=2.5))
        for seed in repetitions(search, finalist):
            value = trial_value(objective, seed)
            if math.isfinite(value):
                parts.append(
                    svg_dot(
                        *plot.at(value, len(rows) - number - 0.5),
                        4,
                        f"seed {seed.seed}: {value:.3f}",
                        fill=colour,
                        fill_opacity=0.75,
                    )
                )
    return "".join(parts) + "</svg>"


def learning_curves_svg(search: Search) -> str:
    """The first objective over samples seen, one line per trial of the search; stopped and failed ones are faint."""
    objective = search.objectives[0]
    lines = [(trial, _curve(objective, trial)) for trial in sorted(searched(search), key=lambda t: _layer(search, t))]
    lines = [(trial, line) for trial, line in lines if line]
    title = "Learning curves"
    if not lines:
        return (
            svg_open(560, 60, title)
            + svg_text(0, 14, title, kind="title")
            + svg_text(0, 40, "no values yet")
            + "</svg>"
        )
    y_axis = _shown_range(objective, lines)
    x_axis = linear_axis([0.0] + [x for _, line in lines for x, _ in line])
    plot = Plot(x_axis, y_axis, height=340, right=24)
    left, top, right, bottom = plot.bounds
    parts = [plot.frame(title, "samples seen", axis_label(objective))]
    parts.append(f'<clipPath id="curves"><rect x="{left}" y="{top}" width="{right - left + 6}" ')
    parts.append(f'height="{bottom - top}"/></clipPath><g clip-path="url(#curves)">')
    for trial, line in lines:
        places = [plot.at(x, y) for x, y in line]
        colour, width, opacity = _look(search, trial)
        hint = f"trial {trial.number}, {trial.status}: {line[-1][1]:.3f} after {line[-1][0]:,} samples"
        parts.append(svg_path(places, hint, stroke=colour, stroke_width=width, stroke_opacity=opacity))
        parts.append(svg_dot(*places[-1], 2 + width / 2, hint, fill=colour, fill_opacity=opacity))
    names = {BEST: "best", DEFAULT: "default", OTHER: "completed", FAINT: "stopped or failed"}
    if search.best_trial == search.default_trial:
        names[DEFAULT] = "best, which is the default"
    drawn = {_look(search, trial)[0] for trial, _ in lines}
    legend = [(name, colour, "") for colour, name in names.items() if colour in drawn]
    return "".join(parts) + "</g>" + svg_legend(left, 32, legend) + "</svg>"


def views_svg(objective: Objective, curves: Sequence[ViewsCurve]) -> str:
    """Quality over input views at evaluation, a line for every number at training; a ring where the two are equal.

    A search that does not vary the number at training has a line for each finalist.
    """
    counts = [count for curve in curves for count in curve.quality]
    values = [
        spread.mean + side * _finite(spread.deviation)
        for c in curves
        for spread in c.quality.values()
        for side in (-1, 1)
    ]
    plot = Plot(count_axis(counts), linear_axis(values), width=640, height=360, right=110)
    parts = [plot.frame("Quality by number of views", "input views at evaluation", axis_label(objective))]
    if any(curve.most for curve in curves):
        parts.append(svg_text(plot.bounds[2] + 2, plot.top - 8, "trained with", fill="#8a8a8a"))
    ends = []
    for curve, (colour, dashes) in zip(curves, _views_looks(curves), strict=True):
        places = {count: plot.at(count, spread.mean) for count, spread in curve.quality.items()}
        style = {"stroke_dasharray": dashes} if dashes else {}
        parts.append(svg_path(list(places.values()), stroke=colour, stroke_width=2.2, **style))
        for count, (x, y) in places.items():
            spread = curve.quality[count]
            around = _finite(spread.deviation)
            ends_y = [plot.at(count, spread.mean + side * around)[1] for side in (-1, 1)]
            parts.append(svg_line(x, ends_y[0], x, ends_y[1], stroke=colour, stroke_width=1.2))
            hint = f"trained with {curve.trained}, given {count}: {spread_text(spread, objective)}"
            alike = count == curve.most
            parts.append(
                svg_dot(
                    x,
                    y,
                    5 if alike else 3,
                    hint,
                    fill="#ffffff" if alike else colour,
                    stroke=colour,
                    stroke_width=2 if alike else 0,
                )
            )
        ends.append(list(places.values())[-1])
    heights = keep_apart([y for _, y in ends], 14, plot.top, plot.bounds[3])
    for curve, (x, y), wanted, (colour, _) in zip(curves, ends, heights, _views_looks(curves), strict=True):
        edge = plot.bounds[2]
        parts.append(svg_line(x + 6, y, edge, wanted, stroke=colour, stroke_width=0.7, stroke_opacity=0.6))
        words = f"{curve.trained} {'view' if curve.trained == '1' else 'views'}" if curve.most else curve.trained
        parts.append(svg_text(edge + 4, wanted + 4, words, fill=colour))
    return "".join(parts) + "</svg>"


def pareto_svg(search: Search) -> str:
    """Completed trials by the first two objectives; the front is the line, and its trials have their numbers."""
    first, second = search.objectives[:2]
    front = pareto_front(search)
    done = [t for t in searched(search) if t.status == "completed"]
    points = {t.trial_id: (trial_value(second, t), trial_value(first, t)) for t in done}
    points = {key: point for key, point in points.items() if all(math.isfinite(v) for v in point)}
    plot = Plot(
        linear_axis([p[0] for p in points.values()]),
        linear_axis([p[1] for p in points.values()]),
        width=640,
        height=360,
    )
    title = f"{objective_label(first)[0].upper()}{objective_label(first)[1:]} against {objective_label(second)}"
    parts = [plot.frame(title, axis_label(second), axis_label(first))]
    corners: list[tuple[float, float]] = []
    for trial in front:
        x, y = plot.at(*points[trial.trial_id])
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    parts.append(svg_path(corners, stroke=BEST, stroke_width=1.5, stroke_opacity=0.6))
    on_front = {trial.trial_id for trial in front}
    labels = []
    for trial in done:
        if trial.trial_id not in points:
            continue
        x, y = plot.at(*points[trial.trial_id])
        default = trial.trial_id == search.default_trial
        colour = DEFAULT if default else BEST if trial.trial_id in on_front else FAINT
        value, cost = points[trial.trial_id][::-1]
        parts.append(
            svg_dot(x, y, 5 if colour != FAINT else 4, f"trial {trial.number}: {value:.3f}, {cost:.3g}", fill=colour)
        )
        if colour != FAINT:
            labels.append((x, y, f"{trial.number}{' default' if default else ''}", colour))
    heights = keep_apart([y - 8 for _, y, _, _ in labels], 13, plot.top, plot.bounds[3])
    for (x, _, text, colour), y in zip(labels, heights, strict=True):
        inside = x + 10 + LETTER * len(text) < plot.width
        parts.append(svg_text(x + 8 if inside else x - 8, y, text, "start" if inside else "end", "halo", colour))
    legend = [("not beaten in both", BEST, ""), ("default", DEFAULT, ""), ("others that completed", FAINT, "")]
    return "".join(parts) + svg_legend(plot.left, 32, legend) + "</svg>"


def finalist_name(search: Search, finalist: Finalist) -> str:
    """What a finalist is called: default, best (trial 7), trial 12."""
    number = search.trial(finalist.repeats).number
    if finalist.is_default:
        return "default, best" if finalist.repeats == search.best_trial else "default"
    return f"best (trial {number})" if finalist.repeats == search.best_trial else f"trial {number}"


def finalist_colour(search: Search, finalist: Finalist) -> str:
    """Blue for the best, orange for the default, grey for others."""
    return DEFAULT if finalist.is_default else BEST if finalist.repeats == search.best_trial else OTHER


def _shown_range(objective: Objective, lines: Sequence[tuple[Trial, list[tuple[int, float]]]]) -> Axis:
    """From where nearly all trials end to the best point of all; the first climb runs out of the chart."""
    up = sign(objective)
    points = [up * y for _, line in lines for _, y in line]
    ends = sorted(up * line[-1][1] for _, line in lines)
    top = max(points)
    bottom = min(ends[int(_OUTLYING * len(ends))], top - _RISE * (top - min(points)))
    return linear_axis([up * bottom, up * top] if up > 0 else [up * top, up * bottom])


def _curve(objective: Objective, trial: Trial) -> list[tuple[int, float]]:
    points = [(point.samples_seen, score_value(objective, point.scores)) for point in trial.curve]
    return [(x, y) for x, y in points if math.isfinite(y)]


def _layer(search: Search, trial: Trial) -> int:
    """What is drawn over what: faint, completed, default, best."""
    if trial.trial_id == search.best_trial:
        return 3
    return 2 if trial.trial_id == search.default_trial else int(trial.status == "completed")


def _look(search: Search, trial: Trial) -> tuple[str, float, float]:
    """Colour, width and opacity of a trial's curve."""
    if trial.trial_id == search.default_trial:
        return DEFAULT, 2.6, 1.0
    if trial.trial_id == search.best_trial:
        return BEST, 2.6, 1.0
    return (OTHER, 1.3, 0.8) if trial.status == "completed" else (FAINT, 1.1, 0.9)


def _views_looks(curves: Sequence[ViewsCurve]) -> list[tuple[str, str]]:
    """Colour and dashes: the more views at training the darker; dashed where every step draws their number.

    Where trials do not differ in that, the default and the others as everywhere.
    """
    if not any(curve.most for curve in curves):
        own = {"default": DEFAULT}
        return [(own.get(curve.trained, BEST if curve.trained.startswith("best") else OTHER), "") for curve in curves]
    most = max((curve.most for curve in curves), default=0)
    looks = []
    for curve in curves:
        amount = (curve.most - 1) / max(most - 1, 1)
        mixed = "–" in curve.trained
        looks.append(
            (
                shade(amount, "#f0a35e", "#8c3a00") if mixed else shade(amount, "#7cc0e8", "#08306b"),
                "6 3" if mixed else "",
            )
        )
    return looks


def _finite(value: float) -> float:
    return 0.0 if math.isnan(value) else value
