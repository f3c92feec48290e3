"""Steps per second of `training.gslrm` under Ray Train, and of the very same loop under plain `torchrun`.

    python -m tests.benchmarks.ray_train [--steps 60] [--repeats 2]

Two processes on this machine train the same small model on the same rendered samples, fed from memory, gradients
exchanged by DDP over gloo. Both run `training.loop.train`; all that differs is who starts the processes, hands over
the samples and takes lines and checkpoints. Counted are the steps of rank 0 after the first `log_every`: what the loop
itself calls a step, waiting for samples included. Ways take turns, and the fastest of each counts. Processor time is
that of rank 0's process, so Ray's own threads in it are in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.distributed
import tyro
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mouse_facelift.gslrm.presets import preset
from tests.synthetic import blob, ring_sample, write_dataset
from training.data import memory_batches, prefetched
from training.gslrm import PRESETS, GSLRMTask, GSLRMTrainingConfig
from training.launch import launch
from training.loop import train
from training.metrics_log import METRICS_FILE, MetricsLog, read_metrics_log
from training.task import Moment, Panels, Tensors, World
from training.worker import use_threads

WORKERS = 2
LOG_EVERY = 10


@dataclass(frozen=True)
class Config:
    """How long, and how often."""

    steps: int = 60
    repeats: int = 2
    torchrun_out: Path | None = None
    """Set in the processes that torchrun starts: the folder of the run."""


class TimedTask(GSLRMTask):
    """Logs the processor seconds that its process has used so far."""

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        loss, scalars = super().loss(model, batch, moment)
        return loss, scalars | {"cpu_seconds": torch.tensor(time.process_time(), dtype=torch.float64)}


def training_config(data: Path, out: Path, steps: int) -> GSLRMTrainingConfig:
    """The demo's recipe on small pictures."""
    return replace(
        PRESETS["demo"],
        data=str(data),
        out=out,
        model=preset("demo"),
        steps=steps,
        num_workers=WORKERS,
        log_every=LOG_EVERY,
        evaluate_every=steps,
        evaluate_samples=2,
        panels_every=steps,
        panel_samples=1,
        checkpoint_every=steps,
        device="cpu",
        wandb="disabled",
    )


class FolderReporter:
    """What a person would write around the loop without Ray: a log, and checkpoints into a folder."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self.rank = folder, rank
        self.metrics_log = MetricsLog(folder / METRICS_FILE)

    def log(self, entry: dict[str, Any]) -> None:
        self.metrics_log.append(entry)

    def panels(self, step: int, images: Panels) -> list[str]:
        return list(images)

    def checkpoint(self, metrics: dict[str, float], write: Any, last: bool) -> None:
        if self.rank == 0:
            write(self.folder / f"step{int(metrics['step'])}")
        torch.distributed.barrier()


def gather(items: list[Any]) -> list[Any]:
    """All processes' lists, joined."""
    parts: list[list[Any]] = [[] for _ in range(WORKERS)]
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def run_under_torchrun(out: Path, steps: int) -> None:
    """One of torchrun's processes: the loop with a world and a feed of its own."""
    torch.distributed.init_process_group("gloo")
    use_threads(WORKERS)
    rank = torch.distributed.get_rank()
    config = training_config(out.parent / "data", out, steps)
    task = TimedTask(config)
    tables = {
        split: pq.read_table(out.parent / "data" / f"split={split}" / "part.parquet") for split in ("train", "val")
    }
    rows = tables["train"].to_pylist()

    def batches(start: int) -> Iterator[Tensors]:
        made = memory_batches(
            rows, task.collate, batch_size=config.batch_size, seed=0, rank=rank, world_size=WORKERS, start=start
        )
        return prefetched(made, config.feed.prefetch)

    world = World(rank=rank, size=WORKERS, gather=gather, wrap=DistributedDataParallel)
    train(
        task,
        config,
        batches,
        tables["val"].slice(0, config.evaluate_samples).to_pylist(),
        FolderReporter(out, rank),
        world,
    )
    torch.distributed.destroy_process_group()


def torchrun(out: Path, steps: int) -> None:
    """The whole run under torchrun."""
    out.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORKERS)]
    command += ["-m", "tests.benchmarks.ray_train", "--steps", str(steps), "--torchrun-out", str(out)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def pace(out: Path) -> tuple[float, float]:
    """(wall, processor) seconds per step of rank 0, the first lines left out."""
    lines = [line for line in read_metrics_log(out / METRICS_FILE, "train") if line["step"] % LOG_EVERY == 0]
    wall = [line["step_seconds"] for line in lines[1:]]
    # A line's processor clock is the mean over its steps: two lines are log_every steps apart.
    cpu = (lines[-1]["cpu_seconds"] - lines[0]["cpu_seconds"]) / (lines[-1]["step"] - lines[0]["step"])
    return sum(wall) / len(wall), cpu


def last_loss(out: Path) -> float:
    """The loss in the last line of a run: the same whoever runs it."""
    return read_metrics_log(out / METRICS_FILE, "train")[-1]["loss"]


def main(config: Config) -> None:
    if config.torchrun_out is not None:
        return run_under_torchrun(config.torchrun_out, config.steps)
    found: dict[str, list[tuple[float, float, float]]] = {"torchrun": [], "Ray Train": []}
    losses = []
    with tempfile.TemporaryDirectory() as scratch:
        samples = [ring_sample(blob(seed), seed, views=6, size=64) for seed in range(10)]
        data = write_dataset(Path(scratch) / "data", {"train": samples[:8], "val": samples[8:]})
        for repeat in range(config.repeats):
            for way, times in found.items():
                out, began = Path(scratch) / f"{way.replace(' ', '')}{repeat}", time.perf_counter()
                if way == "torchrun":
                    torchrun(out, config.steps)
                else:
                    settings = training_config(data, out, config.steps)
                    launch(TimedTask(settings), settings, "train gslrm")
                times.append((*pace(out), time.perf_counter() - began))
                losses.append(last_loss(out))
    print(f"{WORKERS} processes, {config.steps} steps, best of {config.repeats}; last losses {json.dumps(losses)}")
    print(f"{'way':12} {'steps/s':>8} {'ratio':>6} {'CPU s/step':>11} {'ratio':>6} {'whole run s':>12}")
    best = {way: [min(column) for column in zip(*times, strict=True)] for way, times in found.items()}
    peer = best["torchrun"]
    for way, (wall, cpu, whole) in best.items():
        print(f"{way:12} {1 / wall:8.2f} {peer[0] / wall:6.3f} {cpu:11.3f} {peer[1] / cpu:6.3f} {whole:12.1f}")


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module's task by reference.
    from tests.benchmarks.ray_train import Config as Settings
    from tests.benchmarks.ray_train import main as run

    run(tyro.cli(Settings, description=__doc__))
