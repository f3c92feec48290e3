"""What an application says about its pace: a line of JSON per event while it runs, Ray's metrics, a file in the end.

* The lines go to the logger :data:`LOGGER`; as a job of a cluster they are part of the job's log. On a terminal a
  progress bar says the same, so there they go nowhere unless somebody listens.
* The metrics are those of the driver, exported by Ray where Prometheus looks (`cluster/README.md`).
* :data:`STATS_FILE`, beside the output, keeps what Ray Data says about every stage of every run.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mouse_facelift.storage import Store

LOGGER = "mouse_facelift.events"
STATS_FILE = "ray_data.json"
# What Ray's job agent sets for the command it starts.
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_TRAINING = {
    "step": "Optimiser steps done.",
    "samples_per_second": "Training samples per second, over all workers.",
    "data_wait": "Share of the step's time that training waited for data.",
    "step_seconds": "Seconds per optimiser step.",
}


def in_a_job() -> bool:
    """Whether this process is a job's command: its output is a log, in which a progress bar would tear the lines."""
    return bool(os.environ.get(_IN_A_JOB))


def log_in_jobs() -> None:
    """Send the lines to stdout if this process is a job's command; called on connecting."""
    logger = logging.getLogger(LOGGER)
    if in_a_job() and not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def log_event(event: str, facts: Mapping[str, Any]) -> None:
    """One line of JSON: when, what, and the facts, whose numbers are finite."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    logging.getLogger(LOGGER).info(json.dumps({"time": now, "event": event, **facts}))


@dataclass
class Stage:
    """A stage of many units: says when one is done, and keeps the account."""

    name: str
    units: int
    total: int
    """What the counts of all units add up to."""
    unit: str
    """What is counted, such as "view-frames"."""
    began: float = field(default_factory=time.monotonic)
    units_done: int = 0
    done: int = 0
    rejected: int = 0

    def finished(self, count: int, rejected: int = 0, **facts: Any) -> None:
        """One more unit is done, of which `count` things are and `rejected` rows were put aside."""
        self.units_done += 1
        self.done += count
        self.rejected += rejected
        tags = {"stage": self.name}
        for counter, amount in zip(_counters(), (1, count, rejected), strict=True):
            if amount:
                counter.inc(amount, tags)
        log_event("unit", {**self._account(), **facts, "count": count})

    def keep(self, store: Store, ray_data_stats: str) -> None:
        """Add the account and Ray Data's own to what the output says of earlier stages and runs."""
        keep_account(store, self._account(), ray_data_stats)

    def _account(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        left = seconds * (self.total - self.done) / self.done if self.done else None
        return {
            "stage": self.name,
            "units_done": self.units_done,
            "units": self.units,
            self.unit.replace(" ", "_").replace("-", "_"): self.done,
            "total": self.total,
            "rejected": self.rejected,
            "seconds": round(seconds, 3),
            "per_second": round(self.done / seconds, 3) if seconds else 0.0,
            "seconds_left": None if left is None else round(left),
        }


def keep_account(store: Store, account: Mapping[str, Any], ray_data_stats: str = "") -> None:
    """Add to :data:`STATS_FILE` what a stage came to and what `Dataset.stats()` says of it."""
    earlier = store.read_json(STATS_FILE)["stages"] if store.exists(STATS_FILE) else []
    stages = [*earlier, {**account, "ray_data": ray_data_stats.splitlines()}]
    store.write(STATS_FILE, (json.dumps({"stages": stages}, indent=1) + "\n").encode())


def exposed_wait(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds that training took, and how many of them it waited for data, from the "train" lines of its log."""
    step, seconds, waited = 0, 0.0, 0.0
    for entry in entries:
        took = (entry["step"] - step) * entry["step_seconds"]
        step, seconds, waited = entry["step"], seconds + took, waited + took * entry["data_wait"]
    return {"seconds": round(seconds, 3), "waited_for_data_seconds": round(waited, 3)}


def training_event(run: str, entry: Mapping[str, Any]) -> None:
    """A line of a training run's metrics log, for the log and, where it tells the pace, as metrics."""
    facts = {name: value for name, value in entry.items() if name != "event"}
    log_event(entry["event"], {"run": run, **facts})
    if entry["event"] == "train":
        for name, gauge in _gauges().items():
            gauge.set(entry[name], {"run": run})


@cache
def _counters() -> tuple[Any, Any, Any]:
    """Units, things and rejected rows so far; Ray allows a name once per process."""
    from ray.util.metrics import Counter

    says = {
        "units": "Units of work done.",
        "items": "View-frames or samples done.",
        "rejected": "Rows put aside, with the reason in rejected.parquet.",
    }
    units, items, rejected = (Counter(f"mouse_facelift_{name}", text, ("stage",)) for name, text in says.items())
    return units, items, rejected


@cache
def _gauges() -> dict[str, Any]:
    from ray.util.metrics import Gauge

    return {name: Gauge(f"mouse_facelift_train_{name}", says, ("run",)) for name, says in _TRAINING.items()}
