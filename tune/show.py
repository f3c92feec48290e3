"""What a person reads: the plan before the first trial, a line per trial that ended, and the end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from mouse_facelift.evaluation.trials import Finalist, Search, Trial
from tune.book import DEFAULT_TRIAL, Book
from tune.objective import trial_value
from tune.plan import Plan
from tune.protocol import protocol_in_words, settings_in_words

START_SECONDS = 10.0
"""Until the first trial's first step: processes, imports, compilation."""


def expected_samples(plan: Plan) -> int:
    """Samples that all trials are expected to see together.

    ASHA lets one in `reduction` past each rung; the first few trials, which have nothing to be compared with, and
    those that are better than all before, go further than that, hence the share of trials that are never stopped.
    """
    orders, keep = plan.orders, 1.0 / plan.settings.reduction
    stretches = [*plan.rungs, orders.max_samples]
    lengths = [b - a for a, b in zip([0, *stretches], stretches, strict=False)]
    # Asynchronous promotion is generous: about half of what it could stop goes on.
    share = (1.0 + keep) / 2.0
    per_trial = sum(length * share**rung for rung, length in enumerate(lengths))
    return round(plan.trials * per_trial + plan.finals * orders.max_samples)


def expected_seconds(plan: Plan, seconds_per_step: float) -> float:
    """Wall time of the whole search, from one step's time in a trial's process."""
    steps = expected_samples(plan) / plan.orders.base.batch_size
    return START_SECONDS + steps * seconds_per_step / plan.orders.resources.side_by_side


def plan_lines(plan: Plan, seconds_per_step: float | None) -> list[str]:
    """The plan."""
    finals = f" + {plan.finals} repetitions of the best and the default" if plan.finals else ""
    words = settings_in_words(plan) | {f"judged on {k}": v for k, v in protocol_in_words(plan).items()}
    samples = expected_samples(plan)
    lines = [
        f"space {plan.space_name}: {', '.join(plan.space.axes)}",
        f"objective: {', '.join(f'{o.name} ({o.direction})' for o in plan.objectives)}",
        f"trials: {plan.trials}{finals}; about {samples:,} samples in all",
        *(f"{title}: {text}" for title, text in words.items()),
    ]
    if seconds_per_step is not None:
        expected = duration(expected_seconds(plan, seconds_per_step))
        lines.append(f"expected time: about {expected}, at {seconds_per_step:.2f} s per step as measured just now")
    return lines


class Progress:
    """A line on stderr for every trial that ended."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.began = time.monotonic()
        self.samples_then: int | None = None

    def __call__(self, book: Book, trial: Trial) -> None:
        print(self.line(book, trial), file=sys.stderr, flush=True)

    def line(self, book: Book, trial: Trial) -> str:
        """One trial's end: what it was, how it did, the best so far, and how much is left."""
        objective = self.plan.objectives[0]
        what = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in trial.overrides.items())
        name = f"{trial.trial_id} ({what or 'default'})"
        if trial.status == "failed":
            return f"{self._ahead(book)} {name}: failed: {trial.reason}{self._best(book)}"
        score = f"{objective.name} {trial_value(objective, trial):.2f} {objective.unit}".strip()
        fate = f", stopped after {trial.samples_seen} samples" if trial.status == "stopped" else ""
        return f"{self._ahead(book)} {name}: {score}{fate}{self._best(book)}"

    def _ahead(self, book: Book) -> str:
        done, total = len(book.ends), self.plan.trials + self.plan.finals
        seen = sum(trial.samples_seen for trial in book.trials())
        if self.samples_then is None:
            # Those of earlier starts took none of this one's time.
            self.samples_then = seen if len(book.ends) > 1 else 0
        gained, left = seen - self.samples_then, expected_samples(self.plan) - seen
        time_left = ""
        if gained > 0 and left > 0:
            time_left = f", about {duration((time.monotonic() - self.began) / gained * left)} left"
        return f"[{done}/{total}{time_left}]"

    def _best(self, book: Book) -> str:
        search = book.result()
        if not search.best_trial:
            return ""
        best = search.trial(search.best_trial)
        return f"; best {best.trial_id} {trial_value(self.plan.objectives[0], best):.2f}"


def result_lines(search: Search) -> list[str]:
    """How the search came out."""
    objective = search.objectives[0]
    failed = sum(trial.status == "failed" for trial in search.trials)
    stopped = sum(trial.status == "stopped" for trial in search.trials)
    lines = [f"{len(search.trials)} trials in {duration(search.seconds)}: {stopped} stopped early, {failed} failed"]
    if search.finalists:
        return [*lines, *finalist_lines(objective.name, search.finalists)]
    best = search.trial(search.best_trial)
    lines.append(f"best: {best.trial_id}, {objective.name} {trial_value(objective, best):.3f}")
    if search.default_trial:
        default = search.trial(search.default_trial)
        lines.append(f"default: {DEFAULT_TRIAL}, {objective.name} {trial_value(objective, default):.3f}")
    return lines


def finalist_lines(name: str, finalists: Sequence[Finalist]) -> list[str]:
    """Mean and spread over seeds of every finalist."""
    lines = []
    for one in finalists:
        what = ", ".join(f"{path} {_short(value)}" for path, value in one.overrides.items()) or "the preset's values"
        label = f"default ({one.repeats})" if one.is_default else one.repeats
        if name in one.mean:
            spread = "" if math.isnan(one.spread[name]) else f" +- {one.spread[name]:.3f}"
            lines.append(f"{label}: {name} {one.mean[name]:.3f}{spread} over {len(one.seeds)} seeds: {what}")
        else:
            lines.append(f"{label}: {len(one.seeds)} seeds: {what}")
    return lines


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
