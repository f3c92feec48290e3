"""Tables of a search's page: finalists, all trials, what failed, how it was searched."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mouse_facelift.evaluation.report import Mark, Table
from mouse_facelift.evaluation.search_charts import finalist_name
from mouse_facelift.evaluation.search_numbers import (
    Spread,
    ViewsCurve,
    axis_label,
    digits,
    finalist_spread,
    repetitions,
    searched,
    setting,
    sign,
    trial_value,
    value_text,
    varied,
)
from mouse_facelift.evaluation.search_verdict import changes, duration
from mouse_facelift.evaluation.summary import METRIC_NAMES
from mouse_facelift.evaluation.trials import Finalist, Objective, Search, Trial

_MOST_KNOBS = 8
"""With more settings, the table of all trials names those that differ from the default in one column."""
_REASON = 26
"""Letters of a reason that the table of all trials has room for."""
_VIEW_COSTS = {"seconds": ("reconstruction (s)", 3), "memory_mib": ("memory on top (MiB)", 0)}


def finalist_table(search: Search) -> Table:
    """Scores, cost and settings, a column per finalist, the default first, so that long settings stay readable."""
    finalists = sorted(search.finalists, key=lambda f: not f.is_default)
    objective = search.objectives[0]
    places = digits(objective)
    default = next((finalist_spread(search, f) for f in finalists if f.is_default), Spread(()))
    spreads = [finalist_spread(search, f) for f in finalists]
    gains = [spread.mean - default.mean for spread in spreads]
    against = [
        "–" if f.is_default or math.isnan(gain) else f"{gain:+.{places}f}"
        for f, gain in zip(finalists, gains, strict=True)
    ]
    scores = [_around(spread, places) for spread in spreads]
    given = f", mean over {search.inputs[0]} to {search.inputs[-1]} views" if search.inputs else ""
    rows = [[f"{axis_label(objective)}{given}", *scores], ["against the default", *against]]
    for name, shown in METRIC_NAMES.items():
        if name != objective.name and any(name in f.mean for f in finalists):
            cells = [_around(Spread(_scores(search, f, name)), shown.digits) for f in finalists]
            rows.append([f"{shown.label} ({shown.unit})" if shown.unit else shown.label, *cells])
    rows.append(["seeds", *[str(len(f.seeds)) for f in finalists]])
    runs = [repetitions(search, f) for f in finalists]
    rows.append(["time of a step (s)", *[_number(step_seconds(trials), 3) for trials in runs]])
    rows.append(["peak memory of a worker (MiB)", *[_number(memory_mib(trials), 0) for trials in runs]])
    for knob in varied(search):
        cells = [value_text(knob.default if f.is_default else f.overrides.get(knob.path)) for f in finalists]
        rows.append([knob.path, *cells])
    return Table(["", *[finalist_name(search, f) for f in finalists]], rows)


def trial_table(search: Search) -> Table:
    """Trials of the search, best first, stopped ones by how far they came, failed ones last; then repetitions."""
    knobs = varied(search)
    wide = len(knobs) <= _MOST_KNOBS
    header = ["trial", "status", *[axis_label(one) for one in search.objectives], "samples seen", "start-up (s)"]
    header += ["training (s)", "memory (MiB)", *(_short([k.path for k in knobs]) if wide else ["changed settings"])]
    rows, marks = [], []
    for trial in sorted(search.trials, key=lambda t: _place(search.objectives[0], t)):
        own = [value_text(setting(trial, knob)) for knob in knobs] if wide else [changes(search, trial)]
        scores = [_number(trial_value(one, trial), digits(one)) for one in search.objectives]
        costs = [f"{trial.samples_seen:,}", _number(trial.seconds_start, 1), _number(trial.seconds_train, 1)]
        # The settings of a repetition are those of its trial.
        own = [""] * len(own) if trial.stage == "final" else own
        rows.append([trial_name(search, trial), _status(trial), *scores, *costs, _number(trial.memory_mib, 0), *own])
        marks.append(mark(search, trial))
    return Table(header, rows, 2, marks, dense=True)


def failure_table(search: Search) -> Table:
    """What failed, with the whole reason."""
    failed = [trial for trial in search.trials if trial.status == "failed"]
    rows = [[trial_name(search, t), t.reason or "no reason was recorded", changes(search, t)] for t in failed]
    return Table(["trial", "reason", "settings"], rows, 3, dense=True)


def front_table(search: Search, front: Sequence[Trial]) -> Table:
    """Trials that are not beaten in both objectives."""
    header = ["trial", "settings", *[axis_label(one) for one in search.objectives]]
    values = [[_number(trial_value(one, trial), digits(one)) for one in search.objectives] for trial in front]
    rows = [[trial_name(search, t), changes(search, t), *v] for t, v in zip(front, values, strict=True)]
    return Table(header, rows, 2, [mark(search, trial) for trial in front], dense=True)


def views_tables(objective: Objective, curves: Sequence[ViewsCurve]) -> list[Table]:
    """What reconstructing from so many views costs; what training with so many costs and gives."""
    counts = sorted({count for curve in curves for count in curve.quality})
    trained = [
        [
            curve.trained,
            _number(step_seconds(curve.trials), 3),
            _number(memory_mib(curve.trials), 0),
            *[_number(curve.quality.get(count, Spread(())).mean, digits(objective)) for count in counts],
        ]
        for curve in curves
    ]
    named = "views in training" if any(curve.most for curve in curves) else "settings"
    header = [named, "step (s)", "memory (MiB)", *[f"given {count}" for count in counts]]
    trials = [trial for curve in curves for trial in curve.trials]
    given = [
        [str(count), *[_number(_view_cost(trials, count, name), places) for name, (_, places) in _VIEW_COSTS.items()]]
        for count in counts
    ]
    costs = Table(["views given", *[label for label, _ in _VIEW_COSTS.values()]], given)
    # The narrow one first, which has room beside the chart.
    known = any("–" != cell for row in given for cell in row[1:])
    return [costs, Table(header, trained)] if known else [Table(header, trained)]


def protocol_tables(search: Search) -> list[Table]:
    """How trials were searched and judged, and the space."""
    facts = {"data": search.data, "preset": search.preset, **search.protocol, **search.settings}
    rows = [[name, text] for name, text in facts.items()] + [["time in all", duration(search.seconds)]]
    space = [
        [
            knob.path,
            knob.scale,
            ", ".join(map(value_text, knob.options)) or f"{value_text(knob.low)} to {value_text(knob.high)}",
            value_text(knob.default),
            knob.condition or "always",
        ]
        for knob in search.knobs
    ]
    return [Table(["", ""], rows, 2), Table(["setting", "scale", "values", "default", "searched"], space, 5)]


def trial_name(search: Search, trial: Trial) -> str:
    """What a trial is called in a table."""
    if trial.stage == "final":
        numbers = {t.trial_id: t.number for t in searched(search)}
        return f"{numbers.get(trial.repeats, trial.repeats)} again, seed {trial.seed}"
    words = [w for i, w in ((search.default_trial, "default"), (search.best_trial, "best")) if trial.trial_id == i]
    return " ".join([str(trial.number), ", ".join(words)]).strip()


def mark(search: Search, trial: Trial) -> Mark:
    """How a trial's row is set apart."""
    if trial.trial_id == search.default_trial:
        return "default"
    return "best" if trial.trial_id == search.best_trial else "faint" if trial.status == "failed" else ""


def step_seconds(trials: Sequence[Trial]) -> float:
    """Mean time of a training step (s)."""
    return Spread(tuple(trial.seconds_train / trial.steps for trial in trials if trial.steps)).mean


def memory_mib(trials: Sequence[Trial]) -> float:
    """Mean peak memory of a worker during training (MiB)."""
    return Spread(tuple(trial.memory_mib for trial in trials if math.isfinite(trial.memory_mib))).mean


def _view_cost(trials: Sequence[Trial], count: int, name: str) -> float:
    costs = [t.by_views[count].get(name, math.nan) for t in trials if count in t.by_views]
    return Spread(tuple(cost for cost in costs if math.isfinite(cost))).mean


def _short(paths: Sequence[str]) -> list[str]:
    """The last parts of dotted paths, as far as they differ; a line may break after an underscore."""
    last = [path.rpartition(".")[2] for path in paths]
    names = [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]
    return [name.replace("_", "_\u200b") for name in names]


def _status(trial: Trial) -> str:
    if trial.status != "failed" or not trial.reason:
        return trial.status
    text = f"failed: {trial.reason}"
    return text if len(text) <= _REASON else f"{text[: _REASON - 1].rstrip()}…"


def _place(objective: Objective, trial: Trial) -> tuple[float, ...]:
    """Where a trial stands in the table."""
    value = sign(objective) * trial_value(objective, trial)
    state = {"completed": 0, "stopped": 1, "failed": 2}[trial.status]
    came = -trial.samples_seen if state else 0
    return (trial.stage == "final", state, came, -value if math.isfinite(value) else math.inf, trial.number)


def _scores(search: Search, finalist: Finalist, name: str) -> tuple[float, ...]:
    values = [t.scores[name] for t in repetitions(search, finalist) if name in t.scores]
    return tuple(value for value in values if math.isfinite(value))


def _around(spread: Spread, places: int) -> str:
    around = "" if math.isnan(spread.deviation) else f" ± {spread.deviation:.{places}f}"
    return "–" if math.isnan(spread.mean) else f"{spread.mean:.{places}f}{around}"


def _number(value: float, places: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{places}f}"
