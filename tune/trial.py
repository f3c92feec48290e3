"""One trial: a configuration trained once, as a Ray Tune function.

A trial of one worker runs the training loop in its own process, which the next trial takes over: torch is imported
and the renderer compiled once, the samples lie in Ray's object store once per machine, and there is no process group.
A trial of several workers is a Ray Train run of its own, followed through its metrics log.

The trial's folder says how far it got, so a trial that was killed goes on from its newest checkpoint, and one that had
ended only says so again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.tune
import torch
import yaml

from mouse_facelift.checkpoints import RUN_CHECKPOINT, load_gslrm, read_metrics
from mouse_facelift.config import CONFIG_FILE, to_plain
from mouse_facelift.errors import InputError
from training.alone import device_of, train_alone
from training.data import Rows
from training.dataset import Split
from training.folder_reporter import NEWEST, FolderReporter
from training.launch import launch
from training.metrics_log import METRICS_FILE, LogFollower, read_metrics_log
from training.settings import TrainingConfig
from training.worker import set_threads
from tune.journal import finite
from tune.judge import JudgedTask, ViewJudge, defined
from tune.memory import PeakMemory
from tune.plan import TRIALS_FOLDER, Orders, prepared
from tune.recipes import recipe

OUTCOME_FILE = "outcome.json"
ERROR_FILE = "error.txt"
POLL_SECONDS = 0.25
REPORT, OUTCOME, SAMPLES_SEEN = "report", "outcome", "samples_seen"
"""Keys of what a trial tells Ray Tune: a point of its curve, or how it ended, both as JSON text."""

_NOT_SCORES = ("event", "step", "samples", "seconds", "beats_baseline")


def run_trial(
    config: Mapping[str, Any], orders: Orders, rows: pa.Table | None = None, held_out: pa.Table | None = None
) -> None:
    """The function Ray Tune starts.

    Args:
        config: `trial` (its id, stage and seed) and `overrides`.
        orders: what all trials are told.
        rows: training samples where trials train in their own process.
        held_out: validation samples there.
    """
    # Read by Ray Tune in this process when the next trial is to take it over: on a busy machine the 2 s that it waits
    # for this one to come to its end are too short, and a new process costs far more.
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
    who, overrides = config["trial"], dict(config["overrides"])
    folder = orders.folder / TRIALS_FOLDER / who["trial_id"]
    file = folder / OUTCOME_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        news = _News(orders, folder, overrides)
        try:
            settings = orders.trial_config(who["trial_id"], overrides, who["seed"])
            news.batch = settings.batch_size
            outcome = _trained(orders, settings, who["stage"], news, rows, held_out)
        except Exception as error:  # noqa: BLE001 - whatever ends a trial must not end the search; the reason is kept
            (folder / ERROR_FILE).write_text(traceback.format_exc(), encoding="utf-8")
            outcome = {"status": "failed", "reason": reason_of(error), "report": news.report}
        _write_json(file, outcome)
    _tell({OUTCOME: file.read_text(encoding="utf-8")})


def reason_of(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    text = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, InputError):
        return text
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return f"out of memory: {text}" if text else "out of memory"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _trained(
    orders: Orders,
    config: TrainingConfig,
    stage: str,
    news: _News,
    rows: pa.Table | None,
    held_out: pa.Table | None,
) -> dict[str, Any]:
    """Train, and say how it ended."""
    task, learned_from = prepared(orders, config)
    assert isinstance(task, JudgedTask)
    folder = config.out
    if orders.in_process:
        assert rows is not None and held_out is not None
        set_threads(config.threads)
        (folder / CONFIG_FILE).write_text(yaml.safe_dump(to_plain(config), sort_keys=False), encoding="utf-8")
        handed = _handed_over(orders)
        news.start_from(handed or FolderReporter(folder).newest())
        train_alone(task, config, Rows(rows), Rows(held_out), news, handed)
    else:
        config = _resumed(config)
        launch(task, config, recipe(orders.kind).verb, learned_from, lambda c, _: _followed(c, news))
    if news.refused and news.refused >= news.last_step:
        raise InputError(f"training diverged: none of its {news.last_step} steps had finite gradients")
    if not news.report or not math.isfinite(news.report["scores"].get(task.verdict[0], math.nan)):
        raise InputError(f"{task.verdict[0]} is undefined for the trained model on every held-out sample")
    outcome = {"status": "completed", "reason": "", "report": news.report, "checkpoint": ""}
    if (folder / RUN_CHECKPOINT).is_dir():
        outcome["checkpoint"] = f"{TRIALS_FOLDER}/{folder.name}/{RUN_CHECKPOINT}"
    if orders.most_inputs and (orders.by_views or stage == "final"):
        outcome["by_views"] = _by_views(orders, config, task, held_out)
    # The whole trial, with what came after its last point.
    outcome["report"] = {**news.report, "seconds_total": news.elapsed()}
    return outcome


def _by_views(
    orders: Orders, config: TrainingConfig, task: JudgedTask, held_out: pa.Table | None
) -> dict[int, dict[str, float]]:
    """The finished model with 1, 2, ... input views."""
    assert isinstance(task.judge, ViewJudge)
    if held_out is None:
        split = Split.find(config.data, "val")
        held_out = split.read(None, split.spread_ids(config.evaluate_samples))
    model = load_gslrm(config.out / RUN_CHECKPOINT, device_of(config))
    return task.judge.by_views(model, list(enumerate(Rows(held_out))), orders.most_inputs)


@dataclass
class _News:
    """A run's log as it is written, turned into what Ray Tune is told."""

    orders: Orders
    folder: Path
    """The trial's."""
    overrides: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)
    """The newest point."""
    earlier: float = 0.0
    """Seconds that the trial took in processes that are gone."""

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.memory = PeakMemory()
        self.seconds_start = self.seconds_train = 0.0
        self.last_step = self.refused = 0
        self.batch = 0

    def elapsed(self) -> float:
        return self.earlier + time.monotonic() - self.began

    def start_from(self, checkpoint: Path | None) -> None:
        """Take over the times of what was trained before."""
        if checkpoint is None:
            return
        step = int(read_metrics(checkpoint)["step"])
        for entry in read_metrics_log(self.folder / METRICS_FILE, "train"):
            if entry["step"] <= step:
                self._count(entry)
        self.last_step, self.earlier = step, self.seconds_train

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """One line of the log."""
        event = entry["event"]
        if event == "train":
            if self.seconds_start == 0.0:
                self.seconds_start = max(time.monotonic() - self.began - entry["step_seconds"], 1e-3)
            self._count(entry)
        elif event == "evaluate":
            self.report = self._point(entry)
            if not self.orders.hands_over:
                self._tell_point()
        elif event == "checkpoint" and self.orders.hands_over:
            self._tell_point(self.folder / NEWEST)

    def _tell_point(self, checkpoint: Path | None = None) -> None:
        # As text: Ray Tune takes nested mappings apart.
        said = json.dumps(finite(self.report), allow_nan=False)
        _tell({SAMPLES_SEEN: self.report["samples_seen"], REPORT: said}, checkpoint)

    def _count(self, entry: Mapping[str, Any]) -> None:
        self.seconds_train += (entry["step"] - self.last_step) * entry["step_seconds"]
        self.last_step, self.refused = entry["step"], entry["refused_steps"]

    def _point(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        scores = defined({name: value for name, value in entry.items() if name not in _NOT_SCORES})
        return {
            "steps": entry["step"],
            "samples_seen": entry["step"] * self.batch,
            "seconds_start": self.seconds_start,
            "seconds_train": self.seconds_train,
            "seconds_total": self.elapsed(),
            "memory_mib": self.memory.peak_mib(),
            "scores": scores,
            "overrides": self.overrides,
        }


@contextlib.contextmanager
def _followed(config: TrainingConfig, news: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Hand the log's lines on while a Ray Train run writes them."""
    follower, stop = LogFollower(config.out / METRICS_FILE), threading.Event()

    def follow() -> None:
        while not stop.wait(POLL_SECONDS):
            for entry in follower.news():
                news(entry)

    thread = threading.Thread(target=follow, name="trial-news", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for entry in follower.news():
            news(entry)


def _resumed(config: TrainingConfig) -> TrainingConfig:
    """A run that was begun before goes on."""
    return replace(config, resume=(config.out / CONFIG_FILE).exists())


def _handed_over(orders: Orders) -> Path | None:
    """A checkpoint that Ray Tune says to go on from, copied to this machine."""
    checkpoint = ray.tune.get_checkpoint() if orders.hands_over else None
    return None if checkpoint is None else Path(checkpoint.to_directory())


def _tell(values: dict[str, Any], checkpoint: Path | None = None) -> None:
    if checkpoint is None:
        ray.tune.report(values)
    else:
        ray.tune.report(values, checkpoint=ray.tune.Checkpoint.from_directory(checkpoint))


def _write_json(file: Path, plain: Any) -> None:
    part = file.with_name(f".{file.name}.tmp")
    part.write_text(json.dumps(finite(plain), allow_nan=False), encoding="utf-8")
    os.replace(part, file)


def forget_model(folder: Path) -> None:
    """Remove a trial's model, which nobody will ask for."""
    shutil.rmtree(folder / RUN_CHECKPOINT, ignore_errors=True)
