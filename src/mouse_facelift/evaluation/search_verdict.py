"""What a search found, in words: the best configuration against the default, and whether seeds could explain it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from mouse_facelift.evaluation.search_numbers import (
    Spread,
    ViewsCurve,
    digits,
    finalist_spread,
    objective_label,
    pareto_front,
    repetitions,
    searched,
    setting,
    sign,
    trial_value,
    value_text,
    varied,
    views_curves,
)
from mouse_facelift.evaluation.summary import METRIC_NAMES
from mouse_facelift.evaluation.trials import Finalist, Objective, Search, Trial

UNFINISHED = "unfinished"
"""Key of `Search.settings` that says how far a search is; absent once it is over."""
_NAMED = 5
"""Trials of a Pareto front that a sentence names; more are counted."""


@dataclass(frozen=True)
class Comparison:
    """The best configuration beside the default, on the first objective."""

    objective: Objective
    best: Trial
    """The trial of the search whose configuration it is."""
    of_best: Spread
    """Over the seeds of its repetitions, or its one run where there were none."""
    of_default: Spread
    repeated: bool
    """Whether both were repeated with other seeds than those they were chosen by."""
    best_is_default: bool

    @property
    def gain(self) -> float:
        """How much better the best is; negative where the default is better."""
        return sign(self.objective) * (self.of_best.mean - self.of_default.mean)

    @property
    def noise(self) -> float:
        """Standard deviation of the difference between a run of each; nan with fewer than two seeds of either."""
        return math.hypot(self.of_best.deviation, self.of_default.deviation)

    @property
    def verdict(self) -> Literal["better", "within spread", "not better", "unknown"]:
        """ "better" where the gain exceeds the noise, "within spread" where it does not."""
        if self.best_is_default or self.gain <= 0:
            return "not better"
        if math.isnan(self.noise) or math.isnan(self.gain):
            return "unknown"
        return "better" if self.gain > self.noise else "within spread"


def compare(search: Search) -> Comparison | None:
    """The best against the default; None while either has no score."""
    objective = search.objectives[0]
    by_id = {trial.trial_id: trial for trial in search.trials}
    best, default = by_id.get(search.best_trial), by_id.get(search.default_trial)
    if best is None or default is None:
        return None
    of_best, of_default = best_finalist(search), next((f for f in search.finalists if f.is_default), None)
    if of_best is not None and of_default is not None:
        spreads = finalist_spread(search, of_best), finalist_spread(search, of_default)
        if all(spread.values for spread in spreads):
            return Comparison(objective, best, *spreads, repeated=True, best_is_default=of_best.is_default)
    values = [trial_value(objective, trial) for trial in (best, default)]
    if not all(math.isfinite(value) for value in values):
        return None
    spreads = Spread((values[0],)), Spread((values[1],))
    return Comparison(objective, best, *spreads, repeated=False, best_is_default=best.trial_id == default.trial_id)


def best_finalist(search: Search) -> Finalist | None:
    """The finalist that repeats the best trial."""
    return next((f for f in search.finalists if f.repeats == search.best_trial), None)


def headline(search: Search) -> list[str]:
    """The search in a few sentences, for a terminal: best against default, what the best sets, the rest, counts."""
    found = compare(search)
    sets = found is not None and not found.best_is_default
    lines = [f"Trial {found.best.number} sets {changes(search, found.best)}."] if found is not None and sets else []
    verdict, *others = summary(search)
    return [verdict, *lines, *others]


def summary(search: Search) -> list[str]:
    """The same without the settings, for a page that shows them: best against default, views, front, counts."""
    lines = [_verdict_sentence(search, compare(search)), *_worse_elsewhere(search)]
    lines += _views_sentence(search.objectives[0], views_curves(search))
    if len(search.objectives) > 1 and (front := pareto_front(search)):
        names = " and ".join(objective_label(objective) for objective in search.objectives[:2])
        which = f": trials {', '.join(str(t.number) for t in front)}" if len(front) <= _NAMED else ""
        lines.append(f"{len(front)} trials are not beaten in both {names}{which}.")
    return [*lines, _counts(search)]


def changes(search: Search, trial: Trial) -> str:
    """What a trial sets otherwise than the default, in words."""
    knobs = [knob for knob in varied(search) if setting(trial, knob) not in (None, knob.default)]
    return ", ".join(f"{knob.path} {value_text(setting(trial, knob))}" for knob in knobs) or "what the default has"


def spread_text(spread: Spread, objective: Objective) -> str:
    """Mean, spread and unit: 18.21 ± 0.12 dB."""
    if math.isnan(spread.mean):
        return "–"
    places = digits(objective)
    around = "" if math.isnan(spread.deviation) else f" ± {spread.deviation:.{places}f}"
    return f"{spread.mean:.{places}f}{around}{f' {objective.unit}' if objective.unit else ''}"


def _verdict_sentence(search: Search, found: Comparison | None) -> str:
    if found is None:
        return "Nothing can be compared yet: the default or the best trial has no score."
    objective, default = found.objective, spread_text(found.of_default, found.objective)
    name, best = objective_label(objective), spread_text(found.of_best, found.objective)
    if search.inputs:
        name += f" (mean over {search.inputs[0]} to {search.inputs[-1]} input views)"
    seeds = f"over {len(found.of_best.values)} seeds" if found.repeated else "in one run"
    if found.best_is_default:
        return f"Nothing that was tried beats the default: {name} {default} {seeds}{_runner_up(search)}."
    pair = f"{name} {best} with trial {found.best.number}'s settings, {default} with the default, {seeds}"
    amount = _amount(abs(found.gain), objective)
    match found.verdict:
        case "better":
            times = f", {found.gain / found.noise:.1f} times" if found.noise else ", beyond"
            return f"Better than the default by {amount}{times} the spread between seeds: {pair}."
        case "within spread":
            return (
                f"No better than the default as far as can be told: the gain of {amount} is within the spread between "
                f"seeds ({_amount(found.noise, objective)}). {pair[0].upper()}{pair[1:]}."
            )
        case "not better":
            return f"Not better than the default, by {amount}: {pair}."
        case "unknown":
            why = "one run each" if not found.repeated else "a single seed"
            return f"Higher than the default by {amount}, but with {why} this may be luck: {pair}."


def _worse_elsewhere(search: Search) -> list[str]:
    """What a better objective was paid with: scores that fell by more than the seeds explain."""
    best, default = best_finalist(search), next((f for f in search.finalists if f.is_default), None)
    if best is None or default is None or best.is_default:
        return []
    worse = []
    for name, shown in METRIC_NAMES.items():
        if name in best.mean and name in default.mean and name != search.objectives[0].name:
            one = Objective(name, "max", shown.unit)
            values = [Spread(_finite_scores(search, f, name)) for f in (best, default)]
            noise = math.hypot(*(spread.deviation for spread in values))
            if values[1].mean - values[0].mean > noise:
                worse.append(f"{shown.label} ({' against '.join(spread_text(spread, one) for spread in values)})")
    return [f"It is worse than the default in {', '.join(worse)}."] if worse else []


def _finite_scores(search: Search, finalist: Finalist, name: str) -> tuple[float, ...]:
    scores = [trial.scores.get(name, math.nan) for trial in repetitions(search, finalist)]
    return tuple(score for score in scores if math.isfinite(score))


def _runner_up(search: Search) -> str:
    others = [f for f in search.finalists if not f.is_default and finalist_spread(search, f).values]
    if not others:
        return ""
    number = search.trial(others[0].repeats).number
    return f"; the next, trial {number}, has {spread_text(finalist_spread(search, others[0]), search.objectives[0])}"


def _views_sentence(objective: Objective, curves: list[ViewsCurve]) -> list[str]:
    if sum(curve.most > 0 for curve in curves) < 2:
        # Nothing but the numbers of views makes a sentence here.
        return []
    counts = sorted(set.intersection(*[set(curve.quality) for curve in curves]))
    parts = []
    for count in counts[:1] + counts[1:][-1:]:
        means = {curve.trained: sign(objective) * curve.quality[count].mean for curve in curves}
        best = next(curve for curve in curves if curve.trained == max(means, key=means.__getitem__))
        given = f"given {count} {'view' if count == 1 else 'views'}, the model trained with {best.trained} does best"
        parts.append(f"{given} ({spread_text(best.quality[count], objective)})")
    text = "; ".join(parts)
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def _counts(search: Search) -> str:
    trials = searched(search)
    states = Counter(trial.status for trial in trials)
    words = {"completed": "completed", "stopped": "stopped early", "failed": "failed"}
    text = (
        f"{len(trials)} trials: {', '.join(f'{states[s]} {w}' for s, w in words.items() if states[s]) or 'none ended'}"
    )
    repeats = len(search.trials) - len(trials)
    text += f"; {repeats} repetitions with other seeds" if repeats else ""
    unfinished = search.settings.get(UNFINISHED)
    return f"{text}; {duration(search.seconds)} in all.{f' Not finished: {unfinished}.' if unfinished else ''}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 48 s, 18 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _amount(value: float, objective: Objective) -> str:
    return f"{value:.{digits(objective)}f}{f' {objective.unit}' if objective.unit else ''}"
