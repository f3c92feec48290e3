"""Held-out scores on a run's page, whatever the model: found in the log by their names.

A name is made of a baseline (`nearest_`, none for the model itself), the score, a view, and the guidance scale
(`_guidance_1`) where a model is judged at several: `mean_psnr_foreground_front_left` and the like. A score has one
chart, of its means over views; what single views come to at the end stands in tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mouse_facelift.evaluation.charts import Chart, Curve
from mouse_facelift.evaluation.metrics import BASELINES
from mouse_facelift.evaluation.report import Item, Table, Verdict, format_number
from mouse_facelift.evaluation.summary import METRIC_NAMES
from mouse_facelift.mvdiffusion.scoring import RIVALS

Entry = Mapping[str, Any]

_FACTS = ("samples", "seconds", "beats_baseline")
_RIVALS: Mapping[str, str] = {**BASELINES, "mean": RIVALS["mean"], "true": "the true views"}
"""What stands beside a model, by the prefix of its scores' names."""
# The longest first: one name may begin with another.
_SCORES = sorted((*METRIC_NAMES, "lpips", "lpips_foreground", "hull_iou"), key=len, reverse=True)
_NAME = re.compile(
    rf"(?:(?P<rival>{'|'.join(_RIVALS)})_)?(?P<score>{'|'.join(_SCORES)})(?:_(?P<view>.+?))??"
    r"(?:_(?P<variant>guidance_[^_]+))?"
)


@dataclass(frozen=True)
class ScoreName:
    """The parts of a score's name in the log; empty where it has none."""

    score: str
    view: str = ""
    rival: str = ""
    variant: str = ""

    @staticmethod
    def of(name: str) -> ScoreName:
        """Take a name apart; one that is not put together like this is a score by itself."""
        found = _NAME.fullmatch(name)
        return ScoreName(name) if found is None else ScoreName(**{k: v or "" for k, v in found.groupdict().items()})

    @property
    def words(self) -> str:
        """Whose score it is."""
        if self.rival:
            return _RIVALS[self.rival]
        return f"held out, {self.variant.replace('_', ' ')}" if self.variant else "held out"


def score_charts(evaluations: Sequence[Entry], training: Sequence[Entry], verdict: tuple[str, str]) -> list[Item]:
    """A chart per score, the one that decides first: the model, on training views too where known, and its rivals."""
    names = {name: ScoreName.of(name) for name in scalars(evaluations) if name not in _FACTS}
    means = {name: parts for name, parts in names.items() if not parts.view}
    decides = ScoreName.of(verdict[0]).score
    # A baseline may have any name; it belongs to the score that it decides about.
    means = {name: replace(p, score=decides) if name == verdict[1] else p for name, p in means.items()}
    charts: list[Item] = []
    for score in sorted(dict.fromkeys(p.score for p in means.values()), key=lambda score: score != decides):
        own = sorted((n for n, p in means.items() if p.score == score), key=lambda n: _place(means[n]))
        curves = [
            curve("baseline" if n == verdict[1] and not means[n].rival else means[n].words, evaluations, n) for n in own
        ]
        if training and score in training[-1]:
            curves.insert(1, curve("training views", training, score))
        unit = METRIC_NAMES[score].unit if score in METRIC_NAMES else ""
        charts.append(Chart(label(score), "step", unit or "score", curves))
    return charts


def view_tables(entry: Entry) -> list[Item]:
    """Per score a table of all views, for a model whose views have names."""
    names = {name: ScoreName.of(name) for name in entry if name not in ("event", "step", *_FACTS)}
    defined = {p: float(entry[name]) for name, p in names.items() if isinstance(entry[name], (int, float))}
    views = dict.fromkeys(parts.view for parts in names.values() if parts.view)
    tables: list[Item] = []
    for score in dict.fromkeys(parts.score for parts in defined if parts.view):
        columns = {(p.rival, p.variant): replace(p, view="") for p in defined if p.score == score and p.view}
        ordered = sorted(columns.values(), key=_place)
        shown = METRIC_NAMES.get(score)
        title = label(score) if shown is None or not shown.unit else f"{shown.label}, {shown.unit}"
        digits, rows = 3 if shown is None else shown.digits, []
        for view in views:
            cells = (defined.get(replace(column, view=view), math.nan) for column in ordered)
            rows.append([view.replace("_", " "), *(format_number(cell, digits) for cell in cells)])
        tables.append(Table([title, *map(_head, ordered)], rows))
    return tables


def verdicts(entry: Entry) -> list[Verdict]:
    """Last scores beside all baselines that there are."""
    known = [key for key in METRIC_NAMES if key in entry and any(f"{who}_{key}" in entry for who in _RIVALS)]
    return [
        Verdict(
            METRIC_NAMES[key].label,
            _or_nan(entry.get(key)),
            _or_nan(entry.get(f"blank_{key}")),
            _or_nan(entry.get(f"nearest_{key}")),
            METRIC_NAMES[key].unit,
            METRIC_NAMES[key].digits,
            _or_nan(entry.get(f"mean_{key}")),
        )
        for key in known
    ]


def scalars(entries: Sequence[Entry]) -> list[str]:
    """Names of the numbers of a kind of entry, in their order, where any of them is defined."""
    names = dict.fromkeys(name for entry in entries for name in entry if name not in ("event", "step"))
    return [name for name in names if any(isinstance(entry.get(name), (int, float)) for entry in entries)]


def curve(words: str, entries: Sequence[Entry], name: str) -> Curve:
    """A number over steps, where it is defined."""
    points = [(entry["step"], float(entry[name])) for entry in entries if entry.get(name) is not None]
    return Curve(words.replace("_", " "), [x for x, _ in points], [y for _, y in points])


def label(name: str) -> str:
    """A score's name for a person."""
    return METRIC_NAMES[name].label if name in METRIC_NAMES else name.replace("_iou", " IoU").replace("_", " ")


def _place(name: ScoreName) -> tuple[int, str]:
    """Order of what stands side by side: the model, itself at other settings, then its rivals."""
    return (list(_RIVALS).index(name.rival) + 1 if name.rival else 0, name.variant)


def _head(name: ScoreName) -> str:
    """A column's head in a table, where room is short."""
    return {"": name.variant.replace("_", " ") or "model", "nearest": "reference", "mean": "mean image"}.get(
        name.rival, name.rival
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
