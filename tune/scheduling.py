"""Ray Tune's side of the book: it asks for trials here and is told here which ones to stop.

Every decision is in the journal before Ray Tune hears of it.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import cloudpickle
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import Searcher

from tune.book import DEFAULT_TRIAL, Book, Spec
from tune.spaces import Axis
from tune.suggest import at_share
from tune.trial import OUTCOME, REPORT, SAMPLES_SEEN

OBJECTIVE = "objective"
"""The first objective as schedulers see it: more is better."""

Ended = Callable[[], None]


class BookSearcher(Searcher):
    """Hands out the book's trials."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def suggest(self, trial_id: str) -> Any:
        """A trial's settings, None for later, or `FINISHED`, which the type of the method overridden leaves out."""
        spec = self.book.next()
        if spec == "finished":
            return Searcher.FINISHED
        if spec == "wait":
            return None
        assert isinstance(spec, Spec)
        plain = dataclasses.asdict(spec)
        return {"overrides": plain.pop("overrides"), "trial": plain}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler and the callback have told the book."""

    def save(self, checkpoint_path: str) -> None:
        """The journal holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal holds everything."""


class BookScheduler(FIFOScheduler):
    """Stops trials by asynchronous successive halving (Li et al. 2020), or not at all.

    Ray Tune's own scheduler decides; it is made anew with every start of the search and shown the journal's points in
    their order, after which it knows what it knew.
    """

    def __init__(self, book: Book, ended: Ended) -> None:
        super().__init__()
        self.book, self.ended = book, ended
        self.halving = _halving(book)
        self._shown: set[str] = set()
        for entry in [e for e in book.journal.events if e["event"] == "point"]:
            self._decide(entry["trial_id"], entry["report"])

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        name = trial.config["trial"]["trial_id"]
        if _take_outcome(self.book, name, result):
            self.ended()
            return TrialScheduler.STOP
        report = _report(result)
        if report is None or not self.book.point(name, report):
            return TrialScheduler.CONTINUE
        decision = self._decide(name, report)
        if decision == TrialScheduler.STOP:
            self.ended()
        return decision

    def _decide(self, name: str, report: dict[str, Any]) -> str:
        """What becomes of a trial at a point; its end is in the journal when it is stopped."""
        book, orders, samples = self.book, self.book.plan.orders, report["samples_seen"]
        nearly_done = samples + orders.grace_samples > orders.max_samples
        if self.halving is None or nearly_done or book.specs[name].stage == "final":
            return TrialScheduler.CONTINUE
        # All that halving asks of a trial is who it is; ours keep their names from one start to the next.
        stand_in: Any = SimpleNamespace(trial_id=name)
        nobody: Any = None
        if name not in self._shown:
            self._shown.add(name)
            self.halving.on_trial_add(nobody, stand_in)
        value = book.value(report["scores"], report)
        decision = self.halving.on_trial_result(nobody, stand_in, {SAMPLES_SEEN: samples, OBJECTIVE: value})
        if name == DEFAULT_TRIAL:
            # Everything is compared with it, so it is trained to its end.
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            objective = book.plan.objectives[0]
            said = value if objective.direction == "max" else -value
            book.ended(name, "stopped", f"{objective.name} of {said:.3g} after {samples} samples: others did better")
        return decision


class PopulationScheduler(PopulationBasedTraining):
    """Ray Tune's population-based training, told to the book. A trial keeps its name when it copies another."""

    def __init__(self, book: Book, ended: Ended) -> None:
        axes = book.plan.space.axes
        super().__init__(
            time_attr=SAMPLES_SEEN,
            metric=OBJECTIVE,
            mode="max",
            perturbation_interval=book.plan.orders.grace_samples,
            hyperparam_mutations={"overrides": {path: _drawn(axis) for path, axis in axes.items()}},
            log_config=False,
        )
        self.book, self.ended = book, ended

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        # Ray Tune wants no searcher that learns beside a population; the book's draws are those of a population.
        nobody: Any = SimpleNamespace(search_alg=None)
        super().on_trial_add(nobody, trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        name = trial.config["trial"]["trial_id"]
        if _take_outcome(self.book, name, result):
            self.ended()
            return TrialScheduler.STOP
        report = _report(result)
        if report is None:
            return TrialScheduler.CONTINUE
        self.book.point(name, report)
        last = report["samples_seen"] >= self.book.plan.orders.max_samples
        if last or name == DEFAULT_TRIAL or self.book.specs[name].stage == "final":
            # The default is what the population is compared with, and no member of it.
            return TrialScheduler.CONTINUE
        result[OBJECTIVE] = self.book.value(report["scores"], report)
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        """Nothing is left to decide."""

    def _get_new_config(self, trial: TuneTrial, trial_to_clone: TuneTrial) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        return {**config, "trial": trial.config["trial"]}, operations


class BookCallback(Callback):
    """Tells the book of trials whose process was lost for good."""

    def __init__(self, book: Book, ended: Ended) -> None:
        self.book, self.ended = book, ended

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        reason = _why_lost(trial)
        self.book.ended(trial.config["trial"]["trial_id"], "failed", reason)
        self.ended()


def _halving(book: Book) -> AsyncHyperBandScheduler | None:
    plan = book.plan
    if plan.scheduler != "asha" or not plan.rungs:
        return None
    return AsyncHyperBandScheduler(
        time_attr=SAMPLES_SEEN,
        metric=OBJECTIVE,
        mode="max",
        max_t=plan.orders.max_samples,
        grace_period=plan.orders.grace_samples,
        reduction_factor=plan.settings.reduction,
    )


def _why_lost(trial: TuneTrial) -> str:
    """What Ray says of a process that is gone, in one line."""
    # Ray Tune's own accessors look on the storage, where the file arrives later.
    file = Path(trial.pickled_error_file or "")
    error = cloudpickle.loads(file.read_bytes()) if file.is_file() else None
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else "its process was lost"


def _take_outcome(book: Book, name: str, result: dict[str, Any]) -> bool:
    """Whether a result says how a trial ended; the book then knows."""
    outcome = result.get(OUTCOME)
    if outcome is None:
        return False
    book.ended(name, **json.loads(outcome))
    return True


def _report(result: dict[str, Any]) -> dict[str, Any] | None:
    """The point of a curve that a result says, if it does."""
    return json.loads(result[REPORT]) if REPORT in result else None


def _drawn(axis: Axis) -> Any:
    """What population-based training draws from: a list of options, or a function without arguments."""
    if axis.kind == "choice":
        return list(axis.options)
    return lambda: at_share(axis, random.random())
