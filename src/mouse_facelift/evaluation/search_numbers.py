"""Numbers of a search that its report shows: scores that can be compared, settings of trials, quality by views."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mouse_facelift.evaluation.importance import Parameter
from mouse_facelift.evaluation.summary import METRIC_NAMES
from mouse_facelift.evaluation.trials import Finalist, Knob, Objective, Search, Trial, Value

COMPARED_SHARE = 0.8
"""Share of the trials with a score that must have come as far as the budget at which trials are compared."""
INPUTS, FEWEST_INPUTS = "views.num_inputs", "views.min_inputs"
_SCALES: Mapping[str, Literal["linear", "log", "choice"]] = {
    "uniform": "linear",
    "int": "linear",
    "log": "log",
    "choice": "choice",
}
_COSTS = {"seconds_train": "training time", "memory_mib": "peak memory"}


@dataclass(frozen=True)
class Spread:
    """Some numbers of one kind: their mean and sample standard deviation (nan with fewer than two)."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class ViewsCurve:
    """Models trained with one number of input views, judged with several."""

    trained: str
    """Input views at training: "4", or "1–4" where every step draws their number."""
    most: int
    """The largest number of input views at training; 0 where it is not known."""
    quality: Mapping[int, Spread]
    """Input views at evaluation -> the first objective."""
    trials: tuple[Trial, ...]


def trial_value(objective: Objective, trial: Trial) -> float:
    """What a trial came to; nan where a part of it is not known."""
    return score_value(objective, {**{name: getattr(trial, name) for name in _COSTS}, **trial.scores})


def score_value(objective: Objective, scores: Mapping[str, float]) -> float:
    """An objective for a set of scores; nan where a part of it is not known."""
    terms = objective.terms or ((1.0, objective.name),)
    return float(sum(weight * scores.get(name, math.nan) for weight, name in terms))


def sign(objective: Objective) -> float:
    """1 where more is better, -1 where less is."""
    return 1.0 if objective.direction == "max" else -1.0


def objective_label(objective: Objective) -> str:
    """The objective's name for a person."""
    known = METRIC_NAMES.get(objective.name)
    return known.label if known else _COSTS.get(objective.name, objective.name.replace("_", " "))


def axis_label(objective: Objective, words: str = "") -> str:
    """The label of an axis: name, more words, and the unit in brackets."""
    unit = f" ({objective.unit})" if objective.unit else ""
    return f"{objective_label(objective)}{f' {words}' if words else ''}{unit}"


def digits(objective: Objective) -> int:
    """Decimal places that are worth showing."""
    known = METRIC_NAMES.get(objective.name)
    return known.digits if known else 0 if objective.name in _COSTS else 2 if objective.unit == "dB" else 3


def searched(search: Search) -> list[Trial]:
    """The trials of the search itself, without the repetitions of finalists."""
    return [trial for trial in search.trials if trial.stage == "search"]


def repetitions(search: Search, finalist: Finalist) -> list[Trial]:
    """The finished repetitions of a finalist."""
    return [trial for trial in search.trials if trial.trial_id in finalist.trials]


def finalist_spread(search: Search, finalist: Finalist) -> Spread:
    """The first objective over a finalist's seeds."""
    values = [trial_value(search.objectives[0], trial) for trial in repetitions(search, finalist)]
    return Spread(tuple(value for value in values if math.isfinite(value)))


def setting(trial: Trial, knob: Knob) -> Value:
    """What was searched of a setting in a trial: its own value, in the default trial the preset's; None where it did
    not apply, so that the preset's value stood without having been chosen."""
    if trial.overrides:
        return trial.overrides.get(knob.path)
    return None if knob.condition else knob.default


def varied(search: Search) -> list[Knob]:
    """Settings that took at least two values among the trials of the search."""
    trials = searched(search)
    return [knob for knob in search.knobs if len({value_key(setting(trial, knob)) for trial in trials}) > 1]


def parameters(search: Search, trials: Sequence[Trial]) -> list[Parameter]:
    """The varied settings as `importances` takes them."""
    return [Parameter(k.path, [setting(trial, k) for trial in trials], _SCALES[k.scale]) for k in varied(search)]


def compared_at(search: Search) -> int:
    """The most samples that 80 % of the scored trials of the search were trained on: where all are compared.

    Trials that were stopped early saw fewer samples, so that last scores would say how long a trial was trained and
    not how well it did. 0 where no trial has a score.
    """
    objective = search.objectives[0]
    reached = [
        max((p.samples_seen for p in trial.curve if math.isfinite(score_value(objective, p.scores))), default=0)
        for trial in searched(search)
    ]
    scored = sorted((samples for samples in reached if samples), reverse=True)
    return scored[math.ceil(COMPARED_SHARE * len(scored)) - 1] if scored else 0


def value_at(objective: Objective, trial: Trial, samples: int) -> float:
    """A trial's last score up to a number of samples seen; nan where it did not come as far."""
    if not trial.curve or trial.curve[-1].samples_seen < samples:
        return math.nan
    before = [point for point in trial.curve if point.samples_seen <= samples]
    return score_value(objective, before[-1].scores) if before else math.nan


def views_curves(search: Search) -> list[ViewsCurve]:
    """Quality by number of views, one curve for every number of input views at training, fewest first.

    Where several configurations share a number, the best one is shown, its repetitions together.
    """
    objective = search.objectives[0]
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in search.trials:
        if trial.by_views and trial.status == "completed":
            groups.setdefault(
                (_trained_with(search, trial), json.dumps(dict(trial.overrides), sort_keys=True)), []
            ).append(trial)
    best: dict[str, list[Trial]] = {}
    for (trained, _), trials in groups.items():
        if trained not in best or _mean(objective, trials) > _mean(objective, best[trained]):
            best[trained] = trials
    curves = [_views_curve(objective, trained, trials) for trained, trials in best.items()]
    return sorted(curves, key=lambda curve: (curve.most, curve.trained))


def pareto_front(search: Search) -> list[Trial]:
    """Completed trials of the search that no other one beats in both of the first two objectives, by the second.

    Raises:
        ValueError: there is only one objective.
    """
    if len(search.objectives) < 2:
        raise ValueError("a Pareto front needs two objectives")
    first, second = search.objectives[:2]
    points = [
        (sign(second) * trial_value(second, trial), sign(first) * trial_value(first, trial), trial)
        for trial in searched(search)
        if trial.status == "completed"
    ]
    known = [point for point in points if all(math.isfinite(value) for value in point[:2])]
    front: list[Trial] = []
    highest = -math.inf
    for _, value, trial in sorted(known, key=lambda p: (-p[0], -p[1])):
        if value > highest:
            front.append(trial)
            highest = value
    return front


def value_text(value: Value) -> str:
    """A setting as a person writes it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def _views_curve(objective: Objective, trained: str, trials: Sequence[Trial]) -> ViewsCurve:
    counts = sorted({count for trial in trials for count in trial.by_views})
    quality = {
        count: Spread(tuple(score_value(objective, t.by_views[count]) for t in trials if count in t.by_views))
        for count in counts
    }
    known = {count: spread for count, spread in quality.items() if math.isfinite(spread.mean)}
    most = trained.rpartition("–")[2]
    return ViewsCurve(trained, int(most) if most.isdigit() else 0, known, tuple(trials))


def _trained_with(search: Search, trial: Trial) -> str:
    """The number of input views a trial was trained with, or the trial's name where the search does not say."""
    presets = {knob.path: knob.default for knob in search.knobs}
    most = trial.overrides.get(INPUTS, presets.get(INPUTS))
    if most is None:
        named = search.trial(trial.repeats) if trial.repeats else trial
        if named.trial_id == search.default_trial:
            return "default"
        return f"{'best, ' * (named.trial_id == search.best_trial)}trial {named.number}"
    fewest = trial.overrides.get(FEWEST_INPUTS, presets.get(FEWEST_INPUTS))
    return f"{fewest}–{most}" if fewest else str(most)


def _mean(objective: Objective, trials: Sequence[Trial]) -> float:
    values = [sign(objective) * trial_value(objective, trial) for trial in trials]
    return Spread(tuple(value for value in values if math.isfinite(value)) or (-math.inf,)).mean


def value_key(value: Value) -> str:
    """Equal for equal settings: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
