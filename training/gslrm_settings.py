"""Settings of a GS-LRM training run, and the named ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from mouse_facelift.config import REQUIRED
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.loss_config import LossConfig
from mouse_facelift.gslrm.presets import preset
from mouse_facelift.gslrm.step import ViewConfig
from training.settings import OptimiserConfig, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class GSLRMTrainingConfig(TrainingConfig):
    """All settings of a GS-LRM training run."""

    model: GSLRMConfig = field(default_factory=GSLRMConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    profile: Literal["none", "gpu-12", "gpu-24", "gpu-48", "gpu-80"] = "none"
    """Fit the run to a GPU with this much memory (GB): decides micro_batch, model.checkpoint_every and views.deferred,
    and lowers model.image_size where nothing else helps. The batch stays what it is."""
    compile: bool = False
    """Compile the transformer's blocks (`torch.compile`): a minute at the start, faster steps on GPUs."""


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
            panels_every=250,
            checkpoint_every=150,
        ),
        # From scratch in under an hour on two CPU cores (0.4 s per step).
        "small": GSLRMTrainingConfig(
            data=REQUIRED,
            out=REQUIRED,
            model=preset("small"),
            losses=LossConfig(l2=1.0, alpha=2.0, foreground_weight=3.0),
            views=ViewConfig(num_inputs=5, min_inputs=4, num_targets=6, mirror=True),
            optimiser=OptimiserConfig(lr=1e-3, warmup_steps=100),
            steps=6000,
            batch_size=4,
            num_workers=2,
            ema_decay=0.999,
            log_every=50,
            evaluate_every=1000,
            evaluate_samples=8,
            panels_every=2000,
            checkpoint_every=1000,
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
            panels_every=10,
            panel_samples=1,
            checkpoint_every=10,
        ),
        "facelift-256": GSLRMTrainingConfig(
            data=REQUIRED, out=REQUIRED, model=preset("facelift-256"), precision="bf16"
        ),
        "facelift-512": GSLRMTrainingConfig(
            data=REQUIRED, out=REQUIRED, model=preset("facelift-512"), precision="bf16"
        ),
        # Fine-tuning FaceLift's weights (--init-from) on a mouse: five views in, all six compared.
        "mouse-512": GSLRMTrainingConfig(
            data=REQUIRED,
            out=REQUIRED,
            model=preset("mouse-512"),
            losses=LossConfig(l2=1.0, ssim=0.5, perceptual=0.0),
            views=ViewConfig(num_inputs=5, num_targets=6),
            optimiser=OptimiserConfig(lr=1e-5, clip_norm=1.0),
            precision="bf16",
        ),
    }
)
