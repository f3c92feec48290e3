"""What runs on every Ray Train worker: it gives the loop its place in the world, its samples and its reporter."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numba
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.data import DataIterator
from ray.train import CheckpointUploadMode

from mouse_facelift.storage import Store
from pipelines.telemetry import keep_account
from training.accumulation import share_of
from training.data import RowTable, memory_batches, prefetched, stream_batches
from training.disk import explained_full_disk
from training.folder_reporter import FolderReporter
from training.loop import train
from training.settings import TrainingConfig
from training.task import Task, Tensors, World


@dataclass(frozen=True)
class Assignment:
    """All that a worker is told."""

    task: Task
    config: TrainingConfig
    feed: Literal["memory", "stream"]
    has_held_out: bool


def work(settings: dict[str, Any]) -> dict[str, float]:
    """The function Ray Train starts on every worker; `settings["assignment"]` is an `Assignment`."""
    assignment: Assignment = settings["assignment"]
    task, config = assignment.task, assignment.config
    context = ray.train.get_context()
    use_threads(context.get_local_world_size(), config.threads)
    held_out = RowTable(_shard("val")) if assignment.has_held_out else []
    world = World(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=_device(),
        gather=_gather,
        wrap=ray.train.torch.prepare_model,
    )
    checkpoint = ray.train.get_checkpoint()
    with contextlib.ExitStack() as stack:
        resume_from = None if checkpoint is None else Path(stack.enter_context(checkpoint.as_directory()))
        reporter = RayReporter(config.out, world.rank, config.checkpoint_upload)
        if world.rank == 0:
            reporter.metrics_log.rewind(_step_of(resume_from))
        scores = train(task, config, _batches(assignment, world), held_out, reporter, world, resume_from)
        if world.rank == 0 and assignment.feed == "stream":
            keep_account(Store.at(config.out), {"stage": "stream train"}, _shard("train").stats())
        return scores


def use_threads(workers_here: int, threads: int = 0) -> int:
    """Compute with so many threads, or with a share of this machine's cores for 0; returns their number.

    Ray's fractional CPUs are bookkeeping, not limits: left alone, torch and numba would start a thread per core in
    every worker.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // workers_here)
    set_threads(threads)
    return threads


def set_threads(threads: int) -> None:
    """Threads that torch and the renderer use from this thread on."""
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


class RayReporter(FolderReporter):
    """Log lines and pictures go straight to the run's folder, checkpoints through Ray Train, which keeps and prunes."""

    def __init__(self, folder: Path, rank: int, upload: Literal["sync", "async"] = "sync") -> None:
        super().__init__(folder)
        self.rank = rank
        self.upload = upload

    def checkpoint(self, metrics: dict[str, float], write: Callable[[Path], None], last: bool) -> None:
        if self.rank != 0:
            ray.train.report(metrics)
            return
        later = self.upload == "async" and not last
        folder = Path(tempfile.mkdtemp(prefix="mouse-facelift-checkpoint-"))
        handed_over = False
        try:
            with explained_full_disk(f"the checkpoint of step {int(metrics['step'])}", self.folder):
                write(folder)
                ray.train.report(
                    metrics,
                    checkpoint=ray.train.Checkpoint.from_directory(folder),
                    checkpoint_upload_mode=CheckpointUploadMode.ASYNC if later else CheckpointUploadMode.SYNC,
                    delete_local_checkpoint_after_upload=later,
                )
            # Synchronous: the checkpoint is in storage now, and the folder may go. Otherwise Ray Train removes it.
            handed_over = later
        finally:
            if not handed_over:
                shutil.rmtree(folder)


def _batches(assignment: Assignment, world: World) -> Callable[[int], Iterator[Tensors]]:
    task, config = assignment.task, assignment.config
    shard = _shard("train")
    if assignment.feed == "stream":
        share = share_of(config.batch_size, world.rank, world.size).count
        return lambda start: stream_batches(shard, task.collate, share=share, prefetch=config.feed.prefetch)
    rows = RowTable(shard)

    def batches(start: int) -> Iterator[Tensors]:
        endless = memory_batches(
            rows,
            task.collate,
            batch_size=config.batch_size,
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
            start=start,
        )
        return prefetched(endless, config.feed.prefetch)

    return batches


def _shard(name: str) -> DataIterator:
    shard = ray.train.get_dataset_shard(name)
    assert shard is not None, f"the launcher hands over a dataset named {name}"
    return shard


def _device() -> torch.device:
    device = ray.train.torch.get_device()
    return device[0] if isinstance(device, list) else device


def _gather(items: list[Any]) -> list[Any]:
    if not torch.distributed.is_initialized():
        return items
    parts: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def _step_of(checkpoint: Path | None) -> int:
    if checkpoint is None:
        return -1
    from mouse_facelift.checkpoints import read_metrics

    return int(read_metrics(checkpoint)["step"])
