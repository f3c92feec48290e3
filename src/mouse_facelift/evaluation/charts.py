"""Line charts as inline SVG, for report pages that must open anywhere without a network or a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mouse_facelift.evaluation.axes import (
    Plot,
    linear_axis,
    svg_dot,
    svg_legend,
    svg_line,
    svg_open,
    svg_path,
    svg_text,
)

# Okabe & Ito (2008), readable with any colour vision; the light ones are left out on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 40, 46


@dataclass(frozen=True)
class Curve:
    """A named line; points with a value that is not finite are left out."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Curves over one pair of axes, and horizontal reference lines (baselines) drawn dashed."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    references: Sequence[tuple[str, float]] = field(default_factory=tuple)


def line_chart_svg(chart: Chart) -> str:
    """The chart as one ``<svg>`` element; a chart without a finite point says so instead of drawing axes."""
    curves = [(c.label, _finite_points(c)) for c in chart.curves]
    references = [(label, value) for label, value in chart.references if math.isfinite(value)]
    points = [point for _, line in curves for point in line]
    if not points:
        empty = svg_text(0, 14, chart.title, kind="title") + svg_text(LEFT, HEIGHT // 2, "no values yet")
        return f"{svg_open(WIDTH, HEIGHT, chart.title)}{empty}</svg>"
    heights = [p[1] for p in points] + [value for _, value in references]
    axes = linear_axis([p[0] for p in points]), linear_axis(heights)
    plot = Plot(*axes, width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM)
    parts, legend = [plot.frame(chart.title, chart.x_label, chart.y_label)], []
    for i, (label, line) in enumerate(curves):
        colour = PALETTE[i % len(PALETTE)]
        legend.append((label, colour, ""))
        places = [plot.at(x, y) for x, y in line]
        parts.append(svg_path(places, stroke=colour, stroke_width=2))
        parts += [svg_dot(x, y, 3, fill=colour) for x, y in places[-1:]]
    left, _, right, _ = plot.bounds
    for i, (label, value) in enumerate(references, start=len(curves)):
        legend.append((label, PALETTE[i % len(PALETTE)], "5 4"))
        y = plot.at(plot.x.low, value)[1]
        parts.append(svg_line(left, y, right, y, stroke=legend[-1][1], stroke_width=1.5, stroke_dasharray="5 4"))
    return "".join(parts) + svg_legend(LEFT, 27, legend, WIDTH - LEFT) + "</svg>"


def _finite_points(curve: Curve) -> list[tuple[float, float]]:
    pairs = zip(curve.x, curve.y, strict=True)
    return [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
