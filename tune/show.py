"""What a person reads: the plan before the first trial, and a line per trial that ended."""

from __future__ import annotations

import sys
import time

from mouse_facelift.evaluation.search_numbers import trial_value
from mouse_facelift.evaluation.search_verdict import duration
from mouse_facelift.evaluation.trials import Trial
from tune.book import Book
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


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
