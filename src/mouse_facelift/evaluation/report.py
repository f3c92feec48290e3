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

Status = Literal["good", "nearest", "mean", "blank", "undefined"]
Mark = Literal["", "best", "default", "faint"]
_STATUS_WORDS: Mapping[Status, str] = {
    "good": "better than both baselines",
    "nearest": "below the nearest view",
    "mean": "below the mean picture",
    "blank": "below a blank picture",
    "undefined": "not measured",
}
_COLUMNS: Mapping[str, str] = {
    "value": "this model",
    "blank": "blank picture",
    "nearest": "nearest input view",
    "mean": "mean training image",
}
"""Fields of a verdict, in their order on the page."""


@dataclass(frozen=True)
class Verdict:
    """One score (more is better) beside what methods without any 3-D score; a nan is a baseline that there is not."""

    metric: str
    value: float
    blank: float
    nearest: float
    unit: str = ""
    digits: int = 2
    mean: float = math.nan

    @property
    def status(self) -> Status:
        """ "undefined" (nan), the first baseline that it is not above (blank, mean, nearest), or "good"."""
        if math.isnan(self.value):
            return "undefined"
        if self.value <= self.blank:
            return "blank"
        if self.value <= self.mean:
            return "mean"
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
    marks: Sequence[Mark] = ()
    """How each row is set apart, where any is."""
    dense: bool = False
    """Smaller, for tables of many columns."""


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
    columns = _columns(verdicts)
    lines = [f"{'held-out views':<20}" + "".join(f"{_COLUMNS[name]:>20}" for name in columns) + "  verdict"]
    for v in verdicts:
        cells = (format_number(getattr(v, name), v.digits, v.unit) for name in columns)
        lines.append(f"{v.metric:<20}" + "".join(f"{cell:>20}" for cell in cells) + f"  {_STATUS_WORDS[v.status]}")
    return lines


def _columns(verdicts: Sequence[Verdict]) -> list[str]:
    """The fields that are shown: a baseline that no score has been compared with is left out."""
    return [name for name in _COLUMNS if name == "value" or not all(math.isnan(getattr(v, name)) for v in verdicts)]


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    rows, columns = [], _columns(verdicts)
    for verdict in verdicts:
        numbers = (format_number(getattr(verdict, name), verdict.digits, verdict.unit) for name in columns)
        cells = "".join(f"<td class='n'>{number}</td>" for number in numbers)
        words = _STATUS_WORDS[verdict.status]
        rows.append(f"<tr class='{verdict.status}'><td>{escape(verdict.metric)}</td>{cells}<td>{words}</td></tr>")
    heads = "".join(f"<th class='n'>{_COLUMNS[name]}</th>" for name in columns)
    header = f"<tr><th>held-out views</th>{heads}<th>verdict</th></tr>"
    return f"<table class='verdict'><thead>{header}</thead><tbody>{''.join(rows)}</tbody></table>"


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
            marks: Sequence[Mark] = item.marks or ("",) * len(item.rows)
            rows = zip(item.rows, marks, strict=True)
            body = "".join(_table_row(row, item.text_columns, mark=mark) for row, mark in rows)
            kind = " class='dense'" if item.dense else ""
            return f"<div class='scroll'><table{kind}><thead>{header}</thead><tbody>{body}</tbody></table></div>"


def _table_row(row: Sequence[str], text_columns: int, tag: str = "td", mark: Mark = "") -> str:
    cells = "".join(
        f"<{tag}{' class=n' if i >= text_columns else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row)
    )
    return f"<tr{f' class={mark}' if mark else ''}>{cells}</tr>"


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
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem .2rem; border-bottom: 1px solid #e9e9e9; white-space: nowrap; }
th { font-weight: 600; color: #666; font-size: .85rem; }
.n { text-align: right; }
.verdict td:nth-child(2) { font-weight: 650; }
tr.good td:last-child { color: #00794f; }
tr.nearest td, tr.mean td { background: #fff6e0; }
tr.nearest td:last-child, tr.mean td:last-child { color: #8a5a00; }
tr.blank td { background: #fde8e6; color: #b3261e; font-weight: 600; }
tr.undefined td { color: #888; }
.scroll { max-width: 100%; overflow-x: auto; align-self: flex-start; }
.dense { font-size: .8rem; }
.dense th, .dense td { padding: .2rem .8rem .2rem .2rem; }
.dense th { font-size: .75rem; white-space: normal; vertical-align: bottom; }
tr.best td { background: #e6f1f8; font-weight: 600; }
tr.default td { background: #fdf0e6; }
tr.faint td { color: #888; }
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
svg .halo { stroke: #fff; stroke-width: 3px; paint-order: stroke; }
details { margin: .3rem 0; }
summary { cursor: pointer; }
pre { background: #f6f6f6; padding: .8rem 1rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
.versions { color: #666; font-size: .85rem; max-width: none; }
"""
