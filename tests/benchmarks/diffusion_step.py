"""One training step of multi-view diffusion: FaceLift's way of going about it, and this project's.

    python -m tests.benchmarks.diffusion_step --data DATASET [--steps 4]

DATASET is made by `preprocess`. The pipeline has FaceLift's components with random weights, all widths divided alike
(see `facelift_diffusion`), so that VAE, CLIP and UNet cost what they do at full size in proportion. Every row makes the
same update of the same weights from the same samples: the loss of the first step, printed beside the times, is one
number. All rows are fed from memory by this project's loop; the cached row reads what `encode` would have written.

"kept MB" is what autograd holds from the forward to the backward pass, weights among it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from mouse_facelift.mvdiffusion.attention import install
from mouse_facelift.mvdiffusion.encodings import Encodings, encode_row, encoder_fingerprint, shapes
from mouse_facelift.mvdiffusion.pipeline import FrozenParts, MVDiffusion
from mouse_facelift.mvdiffusion.source import PipelineSource
from mouse_facelift.mvdiffusion.views import (
    BACKGROUNDS,
    ViewsConfig,
    choose_references,
    composited,
    drawn_backgrounds,
    drawn_orders,
    in_order,
)
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.schema import row_from_sample
from mouse_facelift.storage import Store
from tests.benchmarks.facelift_diffusion import facelift_loss, install_duplicated, reduced_pipeline, sizes
from tests.benchmarks.stopwatch import timed
from tests.benchmarks.training_step import kept_megabytes
from training.data import memory_batches, prefetched
from training.mvdiffusion_settings import PRESETS, MVDiffusionTrainingConfig
from training.mvdiffusion_task import MVDiffusionTask
from training.optimiser import apply_gradients, make_optimiser
from training.task import Moment

Loss = Callable[[dict[str, Tensor], torch.Generator], Tensor]


@dataclass(frozen=True)
class Config:
    """What is timed."""

    data: str
    """A dataset made by `preprocess`."""
    image_size: int = 128
    """Pixels trained on."""
    divisor: int = 2
    """FaceLift's widths are divided by this; 1 is its full size."""
    batch_size: int = 2
    """Objects per update, all at once."""
    steps: int = 4
    """Steps timed per row, after one that is not."""
    samples: int = 4
    """Training samples drawn from."""
    gradient_checkpointing: bool = False
    """Compute the UNet's blocks a second time, in all rows, as FaceLift does to save memory."""


@dataclass(frozen=True)
class Row:
    """A way to make a step."""

    task: MVDiffusionTask
    samples: list[dict[str, Any]]
    loss: Loss
    duplicated: bool = False


def our_row(task: MVDiffusionTask, samples: list[dict[str, Any]], pipeline: MVDiffusion) -> Row:
    """This project's step as its training loop calls it."""
    frozen = FrozenParts(pipeline.scheduler, pipeline.vae, pipeline.embedder)

    def loss(batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        return task.loss(pipeline.model, batch, Moment(0, generator, frozen))[0]

    return Row(task, samples, loss)


def facelift_row(task: MVDiffusionTask, samples: list[dict[str, Any]], pipeline: MVDiffusion) -> Row:
    """FaceLift's step on the same draws."""
    views = task.config.views

    def loss(batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        order = drawn_orders(batch["orders"], batch["references"], 0, generator)
        chosen = drawn_backgrounds(len(order), views, generator)
        levels = torch.tensor([BACKGROUNDS[views.backgrounds[i]] for i in chosen.tolist()])
        images = composited(in_order(batch["images"], order), levels)
        return facelift_loss(pipeline, images, task.config.losses, generator)

    return Row(task, samples, loss, duplicated=True)


def cached(
    task: MVDiffusionTask, samples: list[dict[str, Any]], pipeline: MVDiffusion
) -> tuple[MVDiffusionTask, list[dict[str, Any]]]:
    """The task and its samples as `encode` makes them."""
    frozen = FrozenParts(pipeline.scheduler, pipeline.vae, pipeline.embedder)
    views, device = task.config.views, torch.device("cpu")
    rows = [encode_row(sample, frozen, views.image_size, views.backgrounds, device) for sample in samples]
    moments, embedding = shapes(frozen, views.image_size)
    encodings = Encodings(
        Store.at("unused"), "", encoder_fingerprint(frozen), views.image_size, views.backgrounds, moments, embedding, {}
    )
    return replace(task, encodings=encodings), rows


def updates(row: Row, pipeline: MVDiffusion, config: Config, fresh: dict[str, Tensor]) -> Callable[[], float]:
    """A function that makes the row's next update from the common starting weights, and returns the loss."""
    unet, training = pipeline.model.unet, row.task.config
    pipeline.model.load_state_dict(fresh)
    if row.duplicated:
        install_duplicated(unet)
    else:
        install(unet)
    optimiser = make_optimiser(pipeline.model, training.optimiser)
    draws: dict[str, int] = {"seed": 0, "rank": 0, "world_size": 1, "start": 0}
    made = memory_batches(row.samples, row.task.collate, batch_size=config.batch_size, **draws)
    batches, generator = prefetched(made, training.feed.prefetch), torch.Generator().manual_seed(0)

    def update() -> float:
        loss = row.loss(next(batches), generator)
        loss.backward()
        apply_gradients(optimiser, pipeline.model.parameters(), training.optimiser.lr, training.optimiser.clip_norm)
        return float(loss.detach())

    return update


def training_settings(config: Config, rows: list[dict[str, Any]]) -> MVDiffusionTrainingConfig:
    """FaceLift's preset on this dataset, with the one reference that fits its slots best."""
    base = PRESETS["facelift-512"]
    views = ViewsConfig(image_size=config.image_size, background="three_choices")
    settings = replace(
        base, data=config.data, out=Path("unused"), views=views, model=PipelineSource(folder=Path("unused"))
    )
    return replace(settings, views=replace(views, references=choose_references(rows, views, settings.rule())[:1]))


def main(config: Config) -> None:
    samples = [row_from_sample(s) for s in islice(open_dataset(config.data).samples("train"), config.samples)]
    task = MVDiffusionTask(training_settings(config, samples))
    pipeline = reduced_pipeline(config.image_size, config.divisor)
    pipeline.model.train()
    if config.gradient_checkpointing:
        pipeline.model.unet.enable_gradient_checkpointing()
    fresh = {name: tensor.clone() for name, tensor in pipeline.model.state_dict().items()}
    print(f"{config.image_size} px, batch {config.batch_size} x 6 views, fp32, {torch.get_num_threads()} thread(s)")
    print(f"FaceLift's widths / {config.divisor}: {sizes(pipeline)}; gradient checkpointing: ", end="")
    print("on" if config.gradient_checkpointing else "off")
    print(f"{'step':42} {'wall s':>8} {'CPU s':>8} {'ratio':>7} {'steps/s':>8} {'kept MB':>8}  first loss")
    ways: dict[str, Callable[[], Row]] = {
        "FaceLift: encoders on 12 pictures a sample": lambda: facelift_row(task, samples, pipeline),
        "ours, encoders in the step": lambda: our_row(task, samples, pipeline),
        "ours, cached encodings": lambda: our_row(*cached(task, samples, pipeline), pipeline),
    }
    peer = 0.0
    for name, way in ways.items():
        update, first = updates(way(), pipeline, config, fresh), []
        kept = kept_megabytes(lambda update=update, first=first: first.append(update()))
        spent = timed(lambda update=update: [update() for _ in range(config.steps)])
        wall, cpu = spent.wall / config.steps, spent.cpu / config.steps
        peer = peer or cpu
        rates = f"{peer / cpu:7.2f} {1 / cpu:8.3f} {kept:8.0f}"
        print(f"{name:42} {wall:8.2f} {cpu:8.2f} {rates}  {first[0]:.6f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
