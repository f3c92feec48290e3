"""Reconstructed samples per second: by batch and by workers, beside a plain loop over the same samples.

    python -m tests.benchmarks.reconstruct --checkpoint RUN --data DATASET [--samples 16] [--batches 1 2 4 8]

The plain loop is the peer: one process that reads a sample, runs the model, scores the held-out view and goes on to the
next; no Ray, no batches, nothing read ahead, nothing written. Then the same samples as `reconstruct` does its units -
read ahead, in batches, sequence and records written - without Ray, and through Ray Data with actors. Processor time is
that of all processes that take part. Ray's start and the actors' are in the rates of the last rows, as in a run;
"waited" is the share of the model's time in which it had no data.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from mouse_facelift.evaluation.reconstruction import choose_views, judge, predict
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.samples.schema import sample_from_row
from mouse_facelift.storage import Store
from pipelines.reconstruct import run_units
from pipelines.reconstruct_jobs import Job, cut_units, plan_jobs
from pipelines.reconstruct_settings import ReconstructConfig
from pipelines.reconstruct_work import Reconstructor
from pipelines.session import connect
from tests.benchmarks.stopwatch import Spent, descendants, timed


@dataclass(frozen=True)
class Config:
    """What is reconstructed."""

    checkpoint: Path
    """A trained GS-LRM."""
    data: str
    """A dataset of at least `samples` samples."""
    split: str = "train"
    """Which of them."""
    samples: int = 16
    """How many."""
    batches: tuple[int, ...] = (1, 2, 4, 8)
    """Batch sizes, without Ray."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of actors, with Ray; none leaves Ray out."""
    threads: int = 1
    """Of PyTorch, in the rows without Ray."""


def plain(worker: Reconstructor, jobs: Sequence[Job]) -> None:
    """The peer: sample after sample."""
    assert worker.model is not None and worker.config.data is not None
    store = Store.at(worker.config.data)
    for job in jobs:
        (row,) = read_rows(store, job.shard, [job.row]).to_pylist()
        sample = reduced_to(sample_from_row(row), worker.model.config.image_size)
        choice = choose_views(sample.cameras, worker.config.hold_out, None, job.index)
        (gaussians,) = predict(worker.model, [sample], [choice], background=worker.background)
        judge(gaussians, sample, choice, background=worker.background)


def in_units(worker: Reconstructor, jobs: Sequence[Job]) -> float:
    """As `reconstruct` does it; returns the share of the time that the model waited."""
    assert worker.config.data is not None
    store, waited, busy = Store.at(worker.config.data), 0.0, 0.0
    for unit in cut_units(worker.config, jobs):
        spent = worker.do(unit, read_rows(store, *unit.place))
        waited, busy = waited + spent.waited, busy + spent.busy
    return waited / (waited + busy)


def line(name: str, samples: int, spent: Spent, peer: Spent, waited: float | None) -> str:
    """A row of the table; the ratio is of processor time, which other work on the machine changes least."""
    rates = f"{samples / spent.wall:9.2f}{1e3 * spent.cpu / samples:14.0f}{peer.cpu / spent.cpu:10.2f}"
    return f"{name:<26}{rates}" + ("" if waited is None else f"{waited:10.1%}")


def main(config: Config) -> None:
    """Print the table."""
    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        base = ReconstructConfig(
            checkpoint=config.checkpoint,
            data=config.data,
            out=Path(folder) / "out",
            split=config.split,
            max_samples=config.samples,
            outputs="sequence",
        )
        jobs = plan_jobs(base, open_dataset(config.data), "benchmark")
        worker = Reconstructor(base)
        plain(worker, jobs[:1])
        peer = timed(lambda: plain(worker, jobs))
        print(f"{len(jobs)} samples, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        print(f"{'':<26}{'samples/s':>9}{'CPU ms each':>14}{'ratio':>10}{'waited':>10}")
        print(line("plain loop", len(jobs), peer, peer, None), flush=True)
        for batch in config.batches:
            worker.config, waits = replace(base, batch_size=batch, out=Path(folder) / f"batch{batch}"), []
            spent = timed(lambda waits=waits: waits.append(in_units(worker, jobs)))
            print(line(f"units, batch {batch}", len(jobs), spent, peer, waits[0]), flush=True)
        if config.workers:
            connect()
        for workers in config.workers:
            # A unit of 16 samples keeps one actor busy; smaller ones let several share this few samples.
            asked = replace(base, workers=workers, outputs="full", batch_size=4, turntable_views=0)
            units = [replace(unit, folders=frozenset()) for unit in cut_units(asked, jobs)]
            asked, waits = replace(asked, out=Path(folder) / f"workers{workers}"), []
            work = lambda asked=asked, units=units, waits=waits: waits.append(run_units(asked, units).waited)  # noqa: E731
            spent = timed(work, descendants)
            print(line(f"Ray, batch 4, workers {workers}", len(jobs), spent, peer, waits[0]), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
