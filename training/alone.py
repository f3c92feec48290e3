"""A whole training run in the process that asks for it: no worker processes, no process group, no Ray.

What a search starts many times over. The run is that of `training.launch` with one worker, draw by draw; samples come
as rows that are already in memory, and a run that finds a checkpoint in its folder goes on from it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mouse_facelift.checkpoints import export_checkpoint, read_metrics
from training.data import memory_batches, prefetched
from training.folder_reporter import NEWEST, FolderReporter
from training.loop import train
from training.settings import TrainingConfig
from training.task import Row, Task, Tensors, World


def train_alone(
    task: Task,
    config: TrainingConfig,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    news: Callable[[dict[str, Any]], None] | None = None,
    resume_from: Path | None = None,
) -> dict[str, float]:
    """Train to `config.steps` in this process, and export the model to `config.out/checkpoint`.

    Args:
        task: what to train.
        config: how; `num_workers` is not looked at.
        rows: training samples.
        held_out: samples to evaluate.
        news: called with every line of the run's log; what it raises ends the run.
        resume_from: a checkpoint with training state, in place of the newest one in the run's folder.

    Returns:
        The scores of the last evaluation.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    reporter = FolderReporter(config.out, news)
    start = resume_from or reporter.newest()
    reporter.metrics_log.rewind(-1 if start is None else int(read_metrics(start)["step"]))
    world = World(device=device_of(config))
    with contextlib.closing(_Feed(task, config, rows)) as feed:
        metrics = train(task, config, feed.begin, held_out, reporter, world, start)
    export_checkpoint(reporter.newest() or config.out / NEWEST, config.out)
    for place in (config.out / NEWEST, *config.out.glob(f".{NEWEST}.*")):
        shutil.rmtree(place, ignore_errors=True)
    return metrics


def device_of(config: TrainingConfig) -> torch.device:
    """Where a single process trains: the first GPU it sees, unless told otherwise."""
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


class _Feed:
    """The batches of a run, decoded ahead on a thread that ends with the run, however that ends."""

    def __init__(self, task: Task, config: TrainingConfig, rows: Sequence[Row]) -> None:
        self.task, self.config, self.rows = task, config, rows
        self.batches: Any = None

    def begin(self, start: int) -> Iterator[Tensors]:
        config = self.config
        endless = memory_batches(
            self.rows,
            self.task.collate,
            batch_size=config.batch_size,
            seed=config.seed,
            rank=0,
            world_size=1,
            start=start,
        )
        self.batches = prefetched(endless, config.feed.prefetch)
        return self.batches

    def close(self) -> None:
        if self.batches is not None:
            self.batches.close()
