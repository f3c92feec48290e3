"""Line charts as inline SVG, for report pages that must open anywhere without a network or a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

# Okabe & Ito (2008), readable with any colour vision; the light ones are left out on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 46


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


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) that span [low, high].

    Raises:
        ValueError: the limits are not finite or high < low.
    """
    if not (math.isfinite(low) and math.isfinite(high) and high >= low):
        raise ValueError(f"no ticks between {low} and {high}")
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        pad = abs(low) * 0.5 or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def line_chart_svg(chart: Chart) -> str:
    """The chart as one ``<svg>`` element; a chart without a finite point says so instead of drawing axes."""
    curves = [(c.label, _finite_points(c)) for c in chart.curves]
    references = [(label, value) for label, value in chart.references if math.isfinite(value)]
    points = [point for _, line in curves for point in line]
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title, quote=True)}">'
    head += f'<text x="{LEFT}" y="14" class="title">{escape(chart.title)}</text>'
    if not points:
        return f'{head}<text x="{LEFT}" y="{HEIGHT // 2}">no values yet</text></svg>'
    x_ticks = nice_ticks(min(p[0] for p in points), max(p[0] for p in points))
    heights = [p[1] for p in points] + [value for _, value in references]
    y_ticks = nice_ticks(min(heights), max(heights))

    def at_x(x: float) -> float:
        return LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [head]
    for y in y_ticks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    parts += [f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>' for x in x_ticks]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">')
    parts.append(f"{escape(chart.x_label)}</text>")
    parts.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(chart.y_label)}</text>")
    legend = []
    for i, (label, line) in enumerate(curves):
        legend.append((label, PALETTE[i % len(PALETTE)], ""))
        where = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{where}" fill="none" stroke="{legend[-1][1]}" stroke-width="2"/>')
        parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{legend[-1][1]}"/>' for x, y in line[-1:]]
    for i, (label, value) in enumerate(references, start=len(curves)):
        legend.append((label, PALETTE[i % len(PALETTE)], ' stroke-dasharray="5 4"'))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(value):.1f}" y2="{at_y(value):.1f}" ')
        parts.append(f'stroke="{legend[-1][1]}" stroke-width="1.5"{legend[-1][2]}/>')
    return "".join(parts) + _legend(legend) + "</svg>"


def _finite_points(curve: Curve) -> list[tuple[float, float]]:
    pairs = zip(curve.x, curve.y, strict=True)
    return [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Names in one row above the axes; a character is taken to be 6 px wide at the page's 11 px font."""
    parts, x = [], float(LEFT)
    for label, colour, dashes in entries:
        parts.append(f'<line x1="{x}" x2="{x + 16}" y1="25" y2="25" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts.append(f'<text x="{x + 20}" y="29">{escape(label)}</text>')
        x += 36 + 6 * len(label)
    return "".join(parts)
