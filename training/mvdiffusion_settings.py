"""Settings of a multi-view diffusion training run, and the named ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mouse_facelift.config import REQUIRED
from mouse_facelift.errors import InputError
from mouse_facelift.finetuning import FinetuneConfig
from mouse_facelift.mvdiffusion.presets import preset
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.mvdiffusion.source import PipelineSource
from mouse_facelift.mvdiffusion.step import DiffusionLossConfig
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET
from mouse_facelift.mvdiffusion.views import ViewRule, ViewsConfig, mirrored_slots
from training.settings import OptimiserConfig, TrainingConfig


@dataclass(frozen=True)
class ValidationConfig:
    """How held-out views are sampled. The defaults are FaceLift's.

    Raises:
        InputError: a value out of range.
    """

    guidance: tuple[float, ...] = (3.0, 1.0)
    """Guidance scales; all scores are taken at each. The first is the one that decides; 1 is without guidance."""
    steps: int = 20
    """Denoising steps."""
    seed: int = 42
    """Every held-out sample draws from a seed of its own, this one plus its number, at every evaluation."""

    def __post_init__(self) -> None:
        if not self.guidance or len(set(self.guidance)) < len(self.guidance):
            raise InputError("validation: guidance must name one scale at least, and each once")
        self.sampling(self.guidance[0])

    def sampling(self, guidance: float) -> SamplingConfig:
        """How the sampler is called."""
        return SamplingConfig(steps=self.steps, guidance=guidance)


@dataclass(frozen=True, kw_only=True)
class MVDiffusionTrainingConfig(TrainingConfig):
    """All settings of a multi-view diffusion training run."""

    model: PipelineSource = field(default_factory=PipelineSource)
    losses: DiffusionLossConfig = field(default_factory=DiffusionLossConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    encodings: str | None = None
    """What `mouse-facelift encode` made of this dataset: the frozen encoders then have no work in a step."""
    gradient_checkpointing: bool = False
    """Compute the denoiser's blocks a second time instead of keeping what they computed: less memory, a third slower.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encodings is not None and self.model.folder is None:
            raise InputError("training: a model over pixels has no encoders; leave out --encodings")
        if self.views.num_targets and self.model.view_slots != REFERENCE_AND_TARGET:
            raise InputError(
                f"training: views.num_targets {self.views.num_targets} is for the slots "
                f"{' '.join(REFERENCE_AND_TARGET)}; named slots are all trained"
            )
        rule = self.rule()
        if self.views.mirror:
            if rule.cameras == "none":
                raise InputError("training: views.mirror moves the cameras; use it with camera conditioning (rays)")
            if self.encodings is not None:
                raise InputError("training: encodings cannot be mirrored; switch views.mirror off, or leave them out")
            if not rule.free:
                mirrored_slots(rule.slots)

    def rule(self) -> ViewRule:
        """What tells this run's views apart."""
        return ViewRule(self.model.view_slots, self.model.conditioning)


# Of FaceLift's recipe (reference section 3.11), for a batch of 128 objects on 8 GPUs.
_FACELIFT = MVDiffusionTrainingConfig(
    data=REQUIRED,
    out=REQUIRED,
    model=PipelineSource(scratch=preset("facelift-512")),
    optimiser=OptimiserConfig(lr=1e-4, warmup_steps=0, betas=(0.9, 0.999), weight_decay=0.01, schedule="constant"),
    precision="bf16",
    ema_decay=0.9995,
    batch_size=128,
    micro_batch=8,
    gradient_checkpointing=True,
)

# Fine-tuning published weights on one lab's mice: few data, small steps, one background.
_MOUSE = replace(
    _FACELIFT,
    optimiser=replace(_FACELIFT.optimiser, lr=1e-5, warmup_steps=100),
    views=ViewsConfig(background="white"),
    ema_decay=0.999,
    steps=5000,
    batch_size=16,
    micro_batch=2,
)

_SMALL = MVDiffusionTrainingConfig(
    data=REQUIRED,
    out=REQUIRED,
    model=PipelineSource(scratch=preset("small")),
    # Pure noise must be learned from as well: there the picture is all that the model can say.
    losses=DiffusionLossConfig(timesteps="view", min_snr_gamma=0.0),
    views=ViewsConfig(image_size=64, background="grey", mirror=True),
    # Few steps: a small model's many-step samples are sharper and less right.
    validation=ValidationConfig(guidance=(1.0, 3.0), steps=4),
    optimiser=OptimiserConfig(lr=1e-3, warmup_steps=50, betas=(0.9, 0.99), weight_decay=0.01),
    ema_decay=0.995,
    steps=2000,
    batch_size=4,
    evaluate_every=1000,
    evaluate_samples=6,
    panels_every=1000,
    panel_samples=2,
    checkpoint_every=500,
)

PRESETS: Mapping[str, MVDiffusionTrainingConfig] = MappingProxyType(
    {
        # A few minutes on two CPU cores, at half the resolution, to see the six views take shape.
        "demo": replace(
            _SMALL,
            views=ViewsConfig(image_size=32, background="grey", mirror=True),
            steps=500,
            num_workers=2,
            evaluate_every=250,
            panels_every=250,
            checkpoint_every=250,
        ),
        # From scratch over pixels, no downloaded weights: about an hour on two CPU cores (3 to 4 s of one per step).
        "small": _SMALL,
        # Seconds, to see that everything is wired up; it learns nothing worth looking at.
        "debug": replace(
            _SMALL,
            model=PipelineSource(scratch=preset("debug")),
            views=ViewsConfig(image_size=16, background="white"),
            losses=DiffusionLossConfig(timesteps="view"),
            validation=ValidationConfig(steps=2),
            optimiser=OptimiserConfig(lr=1e-3, warmup_steps=2),
            ema_decay=0.5,
            steps=20,
            batch_size=2,
            log_every=5,
            evaluate_every=10,
            evaluate_samples=2,
            panels_every=10,
            panel_samples=1,
            checkpoint_every=10,
        ),
        "facelift-512": _FACELIFT,
        "mouse-512": _MOUSE,
        # The same for a rig that is not FaceLift's: cameras take the nearest slots' names and say where they stand.
        "mouse-512-rays": replace(_MOUSE, model=replace(_MOUSE.model, cameras="rays")),
        # One small GPU: low-rank corrections only, one object at a time; use it with --encodings.
        "lowmem": replace(
            _MOUSE,
            finetune=FinetuneConfig(mode="lora", lora_rank=16, lora_targets="attention"),
            optimiser=replace(_MOUSE.optimiser, lr=1e-4),
            ema_decay=0.0,
            batch_size=8,
            micro_batch=1,
        ),
    }
)
