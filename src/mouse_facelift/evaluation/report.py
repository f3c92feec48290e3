"""One static page about one run: verdict beside the baselines, pictures, videos, curves, settings, versions.

The page is a single HTML file without scripts or network. Pictures travel inside it; videos lie beside it and are
linked by relative paths, so that the folder can be copied as a whole.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mouse_facelift.evaluation.charts import Chart, line_chart_svg
from mouse_facelift.evaluation.drawings import Drawing
from mouse_facelift.evaluation.images import Image, encode_png

Status = Literal["good", "nearest", "blank", "undefined"]
_STATUS_WORDS: Mapping[Status, str] = {
    "good": "better than both baselines",
    "nearest": "below the nearest view",
    "blank": "below a blank picture",
    "undefined": "not measured",
}
_HEADER = ("held-out views", "this model", "blank picture", "nearest input view", "verdict")


@dataclass(frozen=True)
class Verdict:
    """One score (more is better) beside what two methods without any 3-D score: blank picture, nearest input view."""

    metric: str
    value: float
    blank: float
    nearest: float
    unit: str = ""
    digits: int = 2

    @property
    def status(self) -> Status:
        """ "good", "nearest" (not above the nearest view), "blank" (not above a blank picture) or "undefined" (nan).

        A baseline that is nan is not compared with.
        """
        if math.isnan(self.value):
            return "undefined"
        if self.value <= self.blank:
            return "blank"
        return "nearest" if self.value <= self.nearest else "good"


@dataclass(frozen=True, eq=False)
class Picture:
    """An image shown inside the page, and the words under it."""

    image: Image
    caption: str = ""


@dataclass(frozen=True)
class Video:
    """A video file in the report's folder (or below it), looped with controls."""

    path: Path
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Plain cells; the first ``text_columns`` are text, the others are set as numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


Item = Picture | Video | Chart | Drawing | Table


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and its items side by side as far as they fit."""

    title: str
    items: Sequence[Item]
    text: str = ""


@dataclass(frozen=True)
class Report:
    """Everything on the page, in its order."""

    title: str
    summary: str
    verdicts: Sequence[Verdict]
    sections: Sequence[Section]
    settings: Mapping[str, str] = field(default_factory=dict)
    """Full text of every configuration by name."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package or tool -> version."""


def write_report(path: Path | str, report: Report) -> Path:
    """Writes the page whole or not at all, and returns its path.

    Raises:
        ValueError: a video does not exist or lies outside the page's folder.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    part.write_text(report_html(report, path.parent), encoding="utf-8")
    os.replace(part, path)
    return path


def report_html(report: Report, folder: Path) -> str:
    """The page's text; ``folder`` is where it will lie, which the links to videos start from."""
    body = [f"<h1>{escape(report.title)}</h1>", f"<p class='summary'>{escape(report.summary)}</p>"]
    if report.verdicts:
        body += ["<h2>Verdict</h2>", _verdict_table(report.verdicts)]
    for section in report.sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        if section.text:
            body.append(f"<p>{escape(section.text)}</p>")
        body.append(f"<div class='items'>{''.join(_item(item, folder) for item in section.items)}</div>")
    if report.settings:
        body.append("<h2>Settings</h2>")
        for name, text in report.settings.items():
            body.append(f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>")
    if report.versions:
        body.append("<h2>Versions</h2>")
        body.append(f"<p class='versions'>{escape(' · '.join(f'{k} {v}' for k, v in report.versions.items()))}</p>")
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(report.title)}"
    head = f"<head>{head}</title><style>{_STYLE}</style></head>"
    return "\n".join(["<!doctype html><html lang='en'>", head, "<body>", *body, "</body></html>\n"])


def format_number(value: float, digits: int = 2, unit: str = "") -> str:
    """A value with its unit; a dash for nan."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}{f' {unit}' if unit else ''}"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The verdict table for a terminal, one line per row; no lines without verdicts."""
    if not verdicts:
        return []
    lines = [f"{_HEADER[0]:<20}" + "".join(f"{name:>20}" for name in _HEADER[1:4]) + f"  {_HEADER[4]}"]
    for v in verdicts:
        cells = (format_number(number, v.digits, v.unit) for number in (v.value, v.blank, v.nearest))
        lines.append(f"{v.metric:<20}" + "".join(f"{cell:>20}" for cell in cells) + f"  {_STATUS_WORDS[v.status]}")
    return lines


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        numbers = (verdict.value, verdict.blank, verdict.nearest)
        cells = "".join(f"<td class='n'>{format_number(n, verdict.digits, verdict.unit)}</td>" for n in numbers)
        words = _STATUS_WORDS[verdict.status]
        rows.append(f"<tr class='{verdict.status}'><td>{escape(verdict.metric)}</td>{cells}<td>{words}</td></tr>")
    header = "".join(f"<th{'' if i in (0, 4) else ' class=n'}>{name}</th>" for i, name in enumerate(_HEADER))
    return f"<table class='verdict'><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _item(item: Item, folder: Path) -> str:
    match item:
        case Picture():
            data = base64.b64encode(encode_png(item.image)).decode("ascii")
            alt = escape(item.caption, quote=True)
            return _figure(f"<img src='data:image/png;base64,{data}' alt=\"{alt}\">", item.caption)
        case Video():
            source = quote(_relative(item.path, folder))
            player = f"<video src='{source}' controls loop muted autoplay playsinline preload='metadata'></video>"
            return _figure(player, item.caption)
        case Chart():
            return f"<figure class='chart'>{line_chart_svg(item)}</figure>"
        case Drawing():
            return f"<figure class='drawing'>{item.svg}<figcaption>{escape(item.caption)}</figcaption></figure>"
        case Table():
            header = _table_row(item.header, item.text_columns, "th")
            rows = "".join(_table_row(row, item.text_columns) for row in item.rows)
            return f"<table><thead>{header}</thead><tbody>{rows}</tbody></table>"


def _table_row(row: Sequence[str], text_columns: int, tag: str = "td") -> str:
    cells = "".join(
        f"<{tag}{' class=n' if i >= text_columns else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row)
    )
    return f"<tr>{cells}</tr>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _relative(path: Path, folder: Path) -> str:
    path, folder = path.resolve(), folder.resolve()
    if not path.is_file() or not path.is_relative_to(folder):
        raise ValueError(f"the report in {folder} can only show files beside it, not {path}")
    return path.relative_to(folder).as_posix()


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #222; background: #fff;
  max-width: 1180px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; font-weight: 650; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; font-weight: 650; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #e4e4e4; }
p { max-width: 75ch; margin: .3rem 0 .8rem; }
.summary { font-size: 1.05rem; color: #444; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; align-self: flex-start; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem .2rem; border-bottom: 1px solid #e9e9e9; white-space: nowrap; }
th { font-weight: 600; color: #666; font-size: .85rem; }
.n { text-align: right; }
.verdict td:nth-child(2) { font-weight: 650; }
tr.good td:last-child { color: #00794f; }
tr.nearest td { background: #fff6e0; }
tr.nearest td:last-child { color: #8a5a00; }
tr.blank td { background: #fde8e6; color: #b3261e; font-weight: 600; }
tr.undefined td { color: #888; }
.items { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; max-width: 100%; }
figure img, figure video { max-width: 100%; display: block; border: 1px solid #eee; }
figure video { width: 256px; }
figcaption { font-size: .85rem; color: #666; margin-top: .25rem; }
.chart { flex: 1 1 480px; max-width: 640px; }
.drawing { flex: 1 1 420px; max-width: 900px; }
svg { width: 100%; font-size: 11px; fill: #444; }
svg .title { font-size: 13px; font-weight: 600; fill: #222; }
svg .grid { stroke: #e6e6e6; }
details { margin: .3rem 0; }
summary { cursor: pointer; }
pre { background: #f6f6f6; padding: .8rem 1rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
.versions { color: #666; font-size: .85rem; max-width: none; }
"""
