"""Axes of charts drawn as inline SVG: scales, round ticks, a frame with its labels, labels that keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LETTER = 6.2
"""Width of a letter at the page's 11 px font (pixels), on average; text cannot be measured without a browser."""


@dataclass(frozen=True)
class Axis:
    """From values to places 0 to 1, and where its ticks are."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`; beyond both outside of them."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Plot:
    """A rectangle with two axes inside a picture of `width` x `height` (pixels of the viewBox)."""

    x: Axis
    y: Axis
    width: int = 560
    height: int = 320
    left: int = 58
    right: int = 14
    top: int = 52
    bottom: int = 46

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the rectangle."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        left, top, right, bottom = self.bounds
        return left + self.x.place(x) * (right - left), bottom - self.y.place(y) * (bottom - top)

    def open(self, title: str) -> str:
        """The start of the picture with its title; the caller closes it."""
        return svg_open(self.width, self.height, title) + svg_text(0, 14, title, kind="title")

    def grid(self) -> str:
        """Lines and numbers for the ticks of y, and the lower edge."""
        left, _, right, bottom = self.bounds
        parts = []
        for value in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            parts.append(svg_line(left, y, right, y, kind="grid"))
            parts.append(svg_text(left - 6, y + 4, number_text(value), anchor="end"))
        return "".join(parts) + svg_line(left, bottom, right, bottom, stroke="#999999")

    def frame(self, title: str, x_label: str, y_label: str) -> str:
        """The start of the picture with title, grid, ticks and the axes' labels; the caller closes it."""
        left, top, right, bottom = self.bounds
        parts = [self.open(title), self.grid()]
        for value in self.x.ticks:
            x = self.at(value, self.y.low)[0]
            parts.append(svg_line(x, bottom, x, bottom + 4, stroke="#999999"))
            parts.append(svg_text(x, bottom + 17, number_text(value), anchor="middle"))
        parts.append(svg_text((left + right) / 2, self.height - 8, x_label, anchor="middle"))
        turned = f'transform="translate(13 {(top + bottom) / 2:.1f}) rotate(-90)" text-anchor="middle"'
        return "".join(parts) + f"<text {turned}>{escape(y_label)}</text>"


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


def linear_axis(values: Sequence[float], count: int = 5) -> Axis:
    """An axis that ends on round numbers around the values."""
    ticks = nice_ticks(min(values), max(values), count)
    return Axis(ticks[0], ticks[-1], tuple(ticks))


def log_axis(low: float, high: float) -> Axis:
    """A logarithmic axis from `low` to `high` (both above 0), with its ends and the powers of ten between as ticks."""
    if high <= low:
        low, high = low / 2, low * 2
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    axis = Axis(low, high, (), log=True)
    # A power of ten beside an end would be written over it.
    between = [10.0**power for power in powers if 0.12 < axis.place(10.0**power) < 0.88]
    return Axis(low, high, (low, *between, high), log=True)


def count_axis(counts: Sequence[int]) -> Axis:
    """An axis of small whole numbers with a tick for each, and half a step of room at both ends."""
    low, high = min(counts), max(counts)
    return Axis(low - 0.5, high + 0.5, tuple(float(n) for n in range(low, high + 1)))


def keep_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as possible to those wanted, in the same order, at least `gap` apart and within [low, high].

    Where there is not room for all of them the gap shrinks.
    """
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    previous = low - gap
    for i in order:
        previous = placed[i] = max(wanted[i], previous + gap)
    following = high + gap
    for i in reversed(order):
        following = placed[i] = min(placed[i], following - gap)
    return placed


def number_text(value: float) -> str:
    """A tick's number: 12,000, 0.25, 3M, 2e-05."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.10g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2g}"


def shade(amount: float, light: str, dark: str) -> str:
    """A colour between two (#rrggbb), by an amount of 0 to 1."""
    amount = min(max(amount, 0.0), 1.0)
    pairs = [(int(light[i : i + 2], 16), int(dark[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in pairs)


def svg_open(width: int, height: int, name: str) -> str:
    """The start of a picture that a screen reader calls by its name; wide pages do not blow it up."""
    look = f'role="img" style="max-width:{width}px" aria-label="{escape(name, quote=True)}"'
    return f'<svg viewBox="0 0 {width} {height}" {look}>'


def svg_text(x: float, y: float, text: str, anchor: str = "start", kind: str = "", fill: str = "") -> str:
    """Words at a place."""
    look: dict[str, str | float] = {"class": kind} if kind else {}
    look |= {"style": f"fill:{fill}"} if fill else {}
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_attributes(look)}>{escape(text)}</text>'


def svg_line(x1: float, y1: float, x2: float, y2: float, kind: str = "", **style: str | float) -> str:
    """A line; `stroke_width=2` becomes stroke-width."""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f"<line {place}{_attributes({'class': kind} if kind else {})}{_attributes(style)}/>"


def svg_path(points: Sequence[tuple[float, float]], hint: str = "", **style: str | float) -> str:
    """A line through points; the hint is shown when a pointer rests on it."""
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{where}" fill="none"{_attributes(style)}>{_hint(hint)}</polyline>'


def svg_dot(x: float, y: float, radius: float, hint: str = "", **style: str | float) -> str:
    """A filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"{_attributes(style)}>{_hint(hint)}</circle>'


def svg_legend(x: float, y: float, entries: Sequence[tuple[str, str, str]], width: float = math.inf) -> str:
    """Names beside short lines, in one row.

    Args:
        x: Left of the first.
        y: Middle of the row.
        entries: (name, colour, dash pattern or empty).
        width: What the row may take; one that would take more is drawn smaller.
    """
    parts, along = [], 0.0
    for name, colour, dashes in entries:
        dashed = {"stroke_dasharray": dashes} if dashes else {}
        parts.append(svg_line(along, 0, along + 18, 0, stroke=colour, stroke_width=2.5, **dashed))
        parts.append(svg_text(along + 23, 4, name))
        along += 40 + LETTER * len(name)
    scale = min(1.0, width / along) if parts else 1.0
    return f'<g transform="translate({x:.1f} {y:.1f}) scale({scale:.3f})">{"".join(parts)}</g>'


def _hint(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _attributes(style: dict[str, str | float]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
