"""The state of a search: which trials there are, what they reached, and what is tried next.

All of it follows from the plan and the journal, and every change is in the journal first. The book knows nothing of
Ray: it hands out trials, is told of points and ends, and says what the search has found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mouse_facelift.evaluation.search_numbers import score_value, sign, trial_value
from mouse_facelift.evaluation.search_verdict import UNFINISHED
from mouse_facelift.evaluation.trials import Finalist, Point, Search, Stage, Status, Trial, Value, finalist
from tune.journal import Journal
from tune.objective import COSTS, rank
from tune.plan import TRIALS_FOLDER, Plan
from tune.protocol import protocol_in_words, settings_in_words
from tune.spaces import Overrides
from tune.suggest import Known, suggest

DEFAULT_TRIAL = "t000"
_OTHER_DRAWS = 20
"""Further draws when a suggestion was tried before; a small space may have nothing else left."""


@dataclass(frozen=True)
class Spec:
    """One trial to run."""

    trial_id: str
    number: int
    stage: Stage
    overrides: Overrides
    seed: int
    repeats: str = ""


class Book:
    """A search's state.

    Args:
        plan: the search.
        journal: its events so far.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self.plan, self.journal = plan, journal
        self.specs: dict[str, Spec] = {}
        self.points: dict[str, list[dict[str, Any]]] = {}
        self.ends: dict[str, dict[str, Any]] = {}
        self.finals_known = False
        for entry in journal.events:
            self._take(entry)
        self._handed_out: set[str] = set()

    def __deepcopy__(self, memo: object) -> Book:
        """A search has one book, also where Ray Tune copies those who hold it."""
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Nothing, for the copies that Ray Tune keeps on disk of those who hold it: the journal is what is read."""
        return type(None), ()

    def next(self) -> Spec | Literal["wait", "finished"]:
        """The next trial to run in this process's life: one left unfinished, a new one, or a repetition."""
        done = self._handed_out | set(self.ends)
        left = [spec for spec in self.specs.values() if spec.trial_id not in done]
        if not left:
            left = self._more()
        if left:
            self._handed_out.add(left[0].trial_id)
            return left[0]
        return "finished" if self.finished else "wait"

    @property
    def finished(self) -> bool:
        """Whether every trial, finals included, has ended."""
        return self.finals_known and set(self.specs) <= set(self.ends)

    def point(self, trial_id: str, report: Mapping[str, Any]) -> bool:
        """Take a point of a trial's curve; whether it is news, which it is not when a resumed trial repeats it."""
        if any(p["samples_seen"] >= report["samples_seen"] for p in self.points.get(trial_id, ())):
            return False
        self._write("point", trial_id=trial_id, report=dict(report))
        return True

    def ended(self, trial_id: str, status: Status, reason: str = "", **facts: Any) -> None:
        """Take the end of a trial; only the first counts."""
        if trial_id not in self.ends:
            self._write("ended", trial_id=trial_id, status=status, reason=reason, **facts)

    def forget(self, trial_id: str) -> None:
        """A trial's model is gone."""
        self._write("forgotten", trial_id=trial_id)

    def value(self, scores: Mapping[str, float], costs: Mapping[str, Any]) -> float:
        """The first objective, turned so that more is better."""
        objective = self.plan.objectives[0]
        known = {name: _number(costs.get(name)) for name in COSTS}
        return sign(objective) * score_value(objective, {**known, **scores})

    def trial(self, spec: Spec) -> Trial:
        """A trial that ended, as results show it."""
        end, points = self.ends[spec.trial_id], self.points.get(spec.trial_id, [])
        last = end.get("report") or (points[-1] if points else {})
        passed = sum(rung <= last.get("samples_seen", 0) for rung in self.plan.rungs)
        return Trial(
            trial_id=spec.trial_id,
            number=spec.number,
            overrides=last.get("overrides") or spec.overrides,
            seed=spec.seed,
            stage=spec.stage,
            status=end["status"],
            reason=end["reason"],
            repeats=spec.repeats,
            steps=last.get("steps", 0),
            samples_seen=last.get("samples_seen", 0),
            seconds_start=_number(last.get("seconds_start", 0.0)),
            seconds_train=_number(last.get("seconds_train", 0.0)),
            seconds_total=_number(last.get("seconds_total", 0.0)),
            memory_mib=_number(last.get("memory_mib")),
            rung=max(passed - (end["status"] == "stopped"), 0) if spec.stage == "search" else 0,
            curve=tuple(Point(p["samples_seen"], _number(p["seconds_train"]), p["scores"]) for p in points),
            scores=last.get("scores", {}),
            by_views={int(n): _numbers(scores) for n, scores in end.get("by_views", {}).items()},
            run=f"{TRIALS_FOLDER}/{spec.trial_id}",
            checkpoint=end.get("checkpoint", ""),
        )

    def trials(self) -> list[Trial]:
        """Trials that ended, in the order of their numbers."""
        return [self.trial(spec) for spec in self.specs.values() if spec.trial_id in self.ends]

    def result(self) -> Search:
        """What the search has found so far."""
        plan, trials = self.plan, self.trials()
        finalists = self._finalists(trials)
        ranked = rank(plan.objectives[0], [t for t in trials if t.stage == "search" and t.status == "completed"])
        best = finalists[0].repeats if finalists else ranked[0].trial_id if ranked else ""
        return Search(
            space=plan.space_name,
            knobs=plan.space.knobs(plan.orders.base),
            objectives=plan.objectives,
            protocol=protocol_in_words(plan),
            preset=str(plan.settings.base or plan.settings.preset),
            data=plan.settings.data,
            default_trial=DEFAULT_TRIAL if DEFAULT_TRIAL in self.ends else "",
            best_trial=best,
            inputs=plan.orders.inputs if len(plan.orders.inputs) > 1 else (),
            settings=settings_in_words(plan) | self._progress(),
            trials=tuple(trials),
            finalists=tuple(finalists),
            seconds=self._seconds(),
        )

    def _progress(self) -> dict[str, str]:
        """How far an unfinished search is: title -> text."""
        planned = self.plan.trials + self.plan.finals
        return {} if self.finished else {UNFINISHED: f"{len(self.ends)} of {planned} trials have ended"}

    def _take(self, entry: Mapping[str, Any]) -> None:
        """One event, new or old."""
        event, trial_id = entry["event"], entry.get("trial_id", "")
        if event == "suggested":
            self.specs[trial_id] = _spec(entry)
        elif event == "finals":
            self.finals_known = True
            self.specs |= {item["trial_id"]: _spec(item) for item in entry["trials"]}
        elif event == "point":
            self.points.setdefault(trial_id, []).append(entry["report"])
        elif event == "ended":
            self.ends[trial_id] = dict(entry)
        elif event == "forgotten":
            self.ends[trial_id]["checkpoint"] = ""

    def _write(self, event: str, **values: Any) -> None:
        self._take(self.journal.append(event, **values))

    def _more(self) -> list[Spec]:
        """A new trial of the search, or the finals once all of those have ended."""
        number = len(self.specs)
        if not self.finals_known and number < self.plan.trials:
            overrides = self._suggestion(number)
            spec = Spec(f"t{number:03d}", number, "search", overrides, self.plan.settings.seed)
            self._write("suggested", **vars(spec))
            return [self.specs[spec.trial_id]]
        if not self.finals_known and set(self.specs) <= set(self.ends):
            self._write("finals", trials=[vars(spec) for spec in self._finals()])
            return [spec for spec in self.specs.values() if spec.trial_id not in self.ends]
        return []

    def _suggestion(self, number: int) -> Overrides:
        plan = self.plan
        if number == 0:
            return {}
        if plan.search == "grid":
            return plan.grid[number - 1]
        tried = [spec.overrides for spec in self.specs.values()] + [plan.default_overrides()]
        known = [self._known(spec) for spec in self.specs.values()]
        method, seed = plan.search, plan.settings.seed
        drawn = suggest(plan.space, method, number, seed, known, plan.objectives)
        for again in range(1, _OTHER_DRAWS + 1):
            if drawn not in tried:
                break
            drawn = suggest(plan.space, "random", number, seed + again)
        return drawn

    def _known(self, spec: Spec) -> Known:
        overrides = spec.overrides or self.plan.default_overrides()
        if spec.trial_id not in self.ends:
            return Known(overrides, "running")
        trial = self.trial(spec)
        values = tuple(trial_value(objective, trial) for objective in self.plan.objectives)
        return Known(overrides, trial.status, values, trial.samples_seen)

    def _finals(self) -> list[Spec]:
        """The default and the best others, each with seeds that no trial had; seed by seed."""
        plan = self.plan
        if not plan.settings.finalists:
            return []
        ranked = [trial for trial in self._ranked() if trial.status != "failed"]
        default = [trial for trial in ranked if trial.trial_id == DEFAULT_TRIAL]
        best = [trial for trial in ranked if trial.trial_id != DEFAULT_TRIAL][: plan.settings.finalists]
        number, specs = len(self.specs), []
        for seed in range(plan.settings.seed + 1, plan.settings.seed + 1 + plan.settings.final_seeds):
            for trial in default + best:
                overrides: dict[str, Value] = dict(trial.overrides)
                name = f"{trial.trial_id}-seed{seed}"
                specs.append(Spec(name, number + len(specs), "final", overrides, seed, trial.trial_id))
        return specs

    def _ranked(self) -> list[Trial]:
        """Trials of the search with a value, best first: those that came to their end, then those stopped latest, as
        scores of fewer samples cannot be compared with scores of more."""
        ranked = rank(self.plan.objectives[0], [trial for trial in self.trials() if trial.stage == "search"])
        return sorted(ranked, key=lambda trial: math.inf if trial.status == "completed" else trial.rung, reverse=True)

    def _finalists(self, trials: Sequence[Trial]) -> list[Finalist]:
        """Configurations with a finished repetition, best on average first."""
        finals = [trial for trial in trials if trial.stage == "final"]
        searched = {trial.trial_id: trial for trial in trials if trial.stage == "search"}
        found = []
        for repeated in dict.fromkeys(trial.repeats for trial in finals):
            repetitions = [trial for trial in finals if trial.repeats == repeated]
            one = finalist(searched[repeated], repeated == DEFAULT_TRIAL, repetitions)
            if one.trials:
                costs = {name: _mean([getattr(trial, name) for trial in repetitions]) for name in COSTS}
                found.append((self.value(one.mean, costs), one))
        return [one for _, one in sorted(found, key=lambda pair: -pair[0] if math.isfinite(pair[0]) else math.inf)]

    def _seconds(self) -> float:
        """Wall time over all starts, from each one's first event to its last."""
        total, began, last = 0.0, None, 0.0
        for entry in self.journal.events:
            if entry["event"] == "session" or began is None:
                total += 0.0 if began is None else last - began
                began = entry["time"]
            last = entry["time"]
        return total + (0.0 if began is None else last - began)


def _spec(entry: Mapping[str, Any]) -> Spec:
    names = ("trial_id", "number", "stage", "overrides", "seed", "repeats")
    return Spec(**{name: entry[name] for name in names})


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
