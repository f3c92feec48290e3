"""One GS-LRM training step: FaceLift's way of going about it, and this project's, one change after another.

    python -m tests.benchmarks.training_step --data DATASET [--steps 4]

DATASET is made by `preprocess`; it is used at 128 px. Six views a sample: four go in, all six are rendered and compared
by L2. The first row transcribes FaceLift's trainer (`facelift_trainer`): a checkpoint around every block, views
rendered one by one and again in the backward pass, a DataLoader with two processes over folders of PNG and JSON. Every
further row changes one thing more. The network is the same, to the weights, in all rows but the last two: there masks
decide which patches get a token, and in the last one the visual hull where Gaussians start, as in the "demo" preset.

"kept MB" is what autograd holds from the forward to the backward pass: the price of not computing twice.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.loss_config import LossConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.presets import preset
from mouse_facelift.gslrm.step import ViewConfig
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.schema import row_from_sample
from tests.benchmarks.facelift_trainer import (
    EndlessLoader,
    FaceLiftScenes,
    FaceLiftStep,
    export_folders,
    facelift_update,
)
from tests.benchmarks.stopwatch import Spent, timed
from training.data import memory_batches, prefetched
from training.gslrm import PRESETS, GSLRMTask
from training.optimiser import apply_gradients, make_optimiser
from training.task import Moment

INPUTS, VIEWS, SIZE, SAMPLES = 4, 6, 128, 16


@dataclass(frozen=True)
class Config:
    """What is timed."""

    data: str
    """A dataset made by `preprocess`."""
    steps: int = 4
    """Steps timed per row, after one that is not."""
    batch_size: int = 2
    width: int = 256
    layers: int = 6


@dataclass(frozen=True)
class Row:
    """A way to make a step: `update` draws a batch, computes gradients and applies them."""

    update: Callable[[], object]
    pids: Callable[[], list[int]] = list


def facelift_row(model: GSLRMConfig, step: FaceLiftStep, batches: Iterator[dict[str, Tensor]], pids: Any) -> Row:
    """FaceLift's update."""
    torch.manual_seed(0)
    network = GSLRM(model)
    optimiser = make_optimiser(network, PRESETS["facelift-256"].optimiser)

    def update() -> None:
        step.loss(network, next(batches)).backward()
        facelift_update(network, optimiser)

    return Row(update, pids)


def our_row(model: GSLRMConfig, rows: list[dict[str, Any]], config: Config) -> Row:
    """This project's step as its training loop calls it, fed from memory."""
    training = replace(
        PRESETS["facelift-256"],
        model=model,
        losses=LossConfig(l2=1.0, alpha=1.0),
        views=ViewConfig(num_inputs=INPUTS, num_targets=VIEWS),
    )
    task = GSLRMTask(training)
    torch.manual_seed(0)
    network = task.build_model()
    optimiser = make_optimiser(network, training.optimiser)
    made = memory_batches(rows, task.collate, batch_size=config.batch_size, seed=0, rank=0, world_size=1, start=0)
    batches, generator = prefetched(made, training.feed.prefetch), torch.Generator().manual_seed(0)
    moment = Moment(0, generator, task.companions(torch.device("cpu")))

    def update() -> None:
        task.loss(network, next(batches), moment)[0].backward()
        apply_gradients(optimiser, network.parameters(), training.optimiser.lr, training.optimiser.clip_norm)

    return Row(update)


def kept_megabytes(update: Callable[[], object]) -> float:
    """What autograd keeps for one update, each storage once; weights are in it."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        # Kept, so that no address is given out twice.
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        update()
    return sum(sizes.values()) / 1e6


def measure(row: Row, steps: int) -> tuple[Spent, float]:
    """Time of `steps` updates, and what one keeps."""
    kept = kept_megabytes(row.update)
    return timed(lambda: [row.update() for _ in range(steps)], row.pids), kept


def main(config: Config) -> None:
    random.seed(0)
    plain = GSLRMConfig(image_size=SIZE, width=config.width, layers=config.layers)
    checkpointed = replace(plain, checkpoint_every=1)
    masked = replace(plain, opacity_base="alpha", tokens="foreground")
    demo = replace(preset("demo"), image_size=SIZE, width=config.width, layers=config.layers, tokens="foreground")
    rows = [row_from_sample(sample) for sample in islice(open_dataset(config.data).samples("train"), SAMPLES)]
    print(f"{INPUTS} inputs, {VIEWS} targets of {SIZE} px, batch {config.batch_size}, width {config.width}, ", end="")
    print(f"{config.layers} layers, {torch.get_num_threads()} thread(s); per step")
    print(f"{'step':36} {'wall s':>8} {'ratio':>7} {'CPU s':>8} {'ratio':>7} {'kept MB':>9}")
    with tempfile.TemporaryDirectory() as scratch:
        listed = export_folders(config.data, Path(scratch), SAMPLES, SIZE)
        loader = EndlessLoader(FaceLiftScenes(listed, SIZE, INPUTS, VIEWS), config.batch_size, workers=2)
        batches, pids = iter(loader), lambda: loader.pids
        make: dict[str, Callable[[], Row]] = {
            "FaceLift's trainer": lambda: facelift_row(checkpointed, FaceLiftStep(INPUTS), batches, pids),
            "+ no checkpointing": lambda: facelift_row(plain, FaceLiftStep(INPUTS), batches, pids),
            "+ all views in one render": lambda: facelift_row(plain, FaceLiftStep(INPUTS, False), batches, pids),
            "+ our loop: shards, memory feed": lambda: our_row(plain, rows, config),
            "+ tokens of the foreground": lambda: our_row(masked, rows, config),
            "+ the demo's start on the hull": lambda: our_row(demo, rows, config),
        }
        peer: Spent | None = None
        for name, row in make.items():
            spent, kept = measure(row(), config.steps)
            peer = peer or spent
            wall, cpu = spent.wall / config.steps, spent.cpu / config.steps
            ratios = peer.wall / spent.wall, peer.cpu / spent.cpu
            print(f"{name:36} {wall:8.2f} {ratios[0]:7.2f} {cpu:8.2f} {ratios[1]:7.2f} {kept:9.0f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
