"""`mouse-facelift train gslrm`: learn to turn a few views of a mouse into 3-D Gaussians.

python -m training.gslrm --data DATASET --out RUN --preset demo
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.cli import run_verb
from mouse_facelift.config import REQUIRED, parse
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.reconstruction import ROTATE, choose_views, reconstruct_sample
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.losses import LossConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.presets import preset
from mouse_facelift.gslrm.step import Background, Batch, ViewConfig, training_loss
from mouse_facelift.samples.schema import decode_views, sample_from_row
from training.launch import TrainingResult, launch
from training.loop import Row, Tensors
from training.settings import OptimiserConfig, TrainingConfig

VERB = "train gslrm"


@dataclass(frozen=True, kw_only=True)
class GSLRMTrainingConfig(TrainingConfig):
    """All settings of a GS-LRM training run."""

    model: GSLRMConfig = field(default_factory=GSLRMConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    views: ViewConfig = field(default_factory=ViewConfig)


PRESETS: Mapping[str, GSLRMTrainingConfig] = MappingProxyType(
    {
        # From scratch to a recognisable mouse in about two minutes on two CPU cores (0.25 s per step).
        "demo": GSLRMTrainingConfig(
            data=REQUIRED,
            out=REQUIRED,
            model=preset("demo"),
            losses=LossConfig(l2=1.0, alpha=1.0, foreground_weight=4.0),
            views=ViewConfig(num_inputs=5, num_targets=6),
            optimiser=OptimiserConfig(lr=1.5e-3, warmup_steps=20),
            steps=500,
            batch_size=4,
            num_workers=2,
            evaluate_every=100,
            evaluate_samples=6,
            checkpoint_every=150,
        ),
        # Seconds, to see that everything is wired up; it learns nothing worth looking at.
        "debug": GSLRMTrainingConfig(
            data=REQUIRED,
            out=REQUIRED,
            model=preset("debug"),
            views=ViewConfig(num_inputs=3, num_targets=2),
            optimiser=OptimiserConfig(lr=1e-3, warmup_steps=2),
            steps=20,
            batch_size=2,
            log_every=5,
            evaluate_every=10,
            evaluate_samples=2,
            checkpoint_every=10,
        ),
        "facelift-256": GSLRMTrainingConfig(
            data=REQUIRED, out=REQUIRED, model=preset("facelift-256"), precision="bf16"
        ),
        "facelift-512": GSLRMTrainingConfig(
            data=REQUIRED, out=REQUIRED, model=preset("facelift-512"), precision="bf16"
        ),
    }
)


@dataclass(frozen=True)
class GSLRMTask:
    """GS-LRM as the training loop sees it (see `training.loop.Task`)."""

    model: GSLRMConfig
    losses: LossConfig
    views: ViewConfig

    kind = "gslrm"
    columns = ("sample_id", "images", "w2c", "fxfycxcy")
    verdict = ("psnr_foreground", "blank_psnr_foreground")

    def build_model(self) -> GSLRM:
        return GSLRM(self.model)

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        height, width = batch["images"].shape[2:4]
        patches = self.views.num_inputs * (height // self.model.patch_size) * (width // self.model.patch_size)
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tokens": patches + self.model.free_gaussians,
            "gaussians": self.views.num_inputs * height * width + self.model.free_gaussians,
        }

    def check_sample(self, row: Row) -> None:
        images, _, _ = decode_views(row)
        views, height, width = images.shape[:3]
        wanted = max(self.views.num_inputs, self.views.num_targets)
        if views < wanted:
            raise InputError(
                f"sample {row['sample_id']} has {views} views, the run asks for {self.views.num_inputs} inputs and "
                f"{self.views.num_targets} targets; lower --views.num-inputs or --views.num-targets"
            )
        if height % self.model.patch_size or width % self.model.patch_size:
            raise InputError(
                f"sample {row['sample_id']} has images of {width}x{height} px, not a multiple of the patch of "
                f"{self.model.patch_size} px; preprocess with another --image-size"
            )

    def collate(self, rows: Sequence[Row]) -> Tensors:
        images, w2c, fxfycxcy = (np.stack(part) for part in zip(*map(decode_views, rows), strict=True))
        # Eight bits per channel until the model's device: a quarter of the way to carry.
        return {
            "images": torch.from_numpy(images),
            "w2c": torch.from_numpy(w2c),
            "fxfycxcy": torch.from_numpy(fxfycxcy),
        }

    def loss(
        self, model: nn.Module, batch: Tensors, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        images = batch["images"].permute(0, 1, 4, 2, 3).float() / 255
        return training_loss(model, Batch(images, batch["w2c"], batch["fxfycxcy"]), self.losses, self.views, generator)

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]]) -> list[dict[str, float]]:
        """All views but one go in, the one left out is compared; which one rotates with the row's number."""
        assert isinstance(model, GSLRM)
        return [_held_out_scores(model, number, row, self.views.background) for number, row in rows]


def _held_out_scores(model: GSLRM, number: int, row: Row, background: Background) -> dict[str, float]:
    sample = sample_from_row(row)
    choice = choose_views(sample.cameras, ROTATE, None, number)
    scores = reconstruct_sample(model, sample, choice, background=background).scores
    assert scores is not None
    named: dict[str, Any] = dataclasses.asdict(scores.model)
    for baseline in ("blank", "nearest"):
        named |= {f"{baseline}_{name}": v for name, v in dataclasses.asdict(getattr(scores, baseline)).items()}
    return named


def train_gslrm(config: GSLRMTrainingConfig) -> TrainingResult:
    """Train, evaluate and export a GS-LRM; the model is then in `config.out/checkpoint`.

    Raises:
        InputError: see `training.launch.launch`.
    """
    return launch(GSLRMTask(config.model, config.losses, config.views), config, VERB)


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(
        GSLRMTrainingConfig,
        argv,
        prog=f"mouse-facelift {VERB}",
        description="Train GS-LRM on a dataset of multi-view samples.",
        presets=PRESETS,
    )
    result = train_gslrm(config)
    for name in ("psnr_foreground", "ssim_foreground", "mask_iou"):
        rivals = {"model": "", "blank image": "blank_", "nearest input view": "nearest_"}
        row = (f"{rival} {result.metrics[prefix + name]:.3f}" for rival, prefix in rivals.items())
        print(f"held out, {name.replace('_', ' ')}: {', '.join(row)}")
    print(f"wrote {result.checkpoint} after {result.steps} steps, {result.seconds:.0f} s")
    print(f"next: mouse-facelift reconstruct --checkpoint {config.out} --data {config.data} --out DIR")
    return 0


if __name__ == "__main__":
    run_verb(main)
