"""Noise schedules: the one a model is trained with, and the sampler that walks back along it.

The stored schedule (betas, prediction type, spacing) belongs to the weights; which of diffusers' samplers uses it is
free at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import diffusers.schedulers
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, Int
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean

Prediction = Literal["v_prediction", "epsilon", "sample"]
"""What a denoiser may predict, in diffusers' words."""


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule; the defaults are FaceLift's (Stable Diffusion's betas, v-prediction)."""

    prediction: Prediction = "v_prediction"
    """What the denoiser predicts: the velocity, the noise, or ("sample") the picture itself. A small network over
    pixels learns the last many times faster: pictures lie near few dimensions, noise fills all of them (Li and He
    2025, "Back to Basics: Let Denoising Generative Models Denoise")."""
    betas: Literal["scaled_linear", "squaredcos_cap_v2", "linear"] = "scaled_linear"
    """How the noise grows, in diffusers' words."""
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = False
    """Stretch the schedule until its last step is pure noise (Lin et al. 2024), as a model trained from scratch wants:
    otherwise the last step still shows the picture's mean, and sampling starts from what was never seen."""
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise InputError(
                "schedule: pure noise says nothing of the picture, so epsilon cannot be predicted from it; "
                "use v_prediction or sample with zero_terminal_snr"
            )


def denoising_schedule(config: ScheduleConfig) -> DDIMScheduler:
    """The stored schedule as diffusers' DDIM, FaceLift's own sampler."""
    return DDIMScheduler(
        num_train_timesteps=config.steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.betas,
        prediction_type=config.prediction,
        # FaceLift's last step leaves the little noise of time step 0 in the picture.
        set_alpha_to_one=config.zero_terminal_snr,
        steps_offset=0 if config.zero_terminal_snr else 1,
        clip_sample=False,
        # Only trailing spacing samples the last step, the one that is pure noise.
        timestep_spacing="trailing" if config.zero_terminal_snr else "leading",
        rescale_betas_zero_snr=config.zero_terminal_snr,
    )


def image_noising_schedule() -> DDPMScheduler:
    """The schedule of the noise on the CLIP embedding, as Stable Diffusion unCLIP has it."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2")


def scheduler_class(name: str) -> type[Any]:
    """One of diffusers' schedulers by its class name.

    Raises:
        InputError: there is none of this name here.
    """
    known = [entry for entry in dir(diffusers.schedulers) if entry.endswith("Scheduler")]
    if name not in known:
        raise InputError(f"scheduler '{name}' is not one of diffusers'{did_you_mean(name, known)}")
    return getattr(diffusers.schedulers, name)


def sampler(stored: SchedulerMixin, name: str | None) -> Any:
    """A fresh scheduler for one sampling run: of the stored kind, or of another on the same noise schedule.

    Raises:
        InputError: an unknown scheduler, or one that cannot be built from this schedule.
    """
    kind = type(stored) if name is None else scheduler_class(name)
    config = cast(Any, stored).config
    try:
        made = cast(Any, kind).from_config(config)
    except (ImportError, ValueError, TypeError) as error:
        raise InputError(
            f"scheduler '{name}' cannot use the model's noise schedule: {error}; choose another"
        ) from error
    if not hasattr(made, "step") or not hasattr(made, "scale_model_input"):
        raise InputError(
            f"scheduler '{name}' does not sample images; choose another, such as DPMSolverMultistepScheduler"
        )
    return made


def prediction_type(schedule: SchedulerMixin) -> Prediction:
    """What a model with this schedule predicts.

    Raises:
        InputError: something that cannot be trained here.
    """
    found = cast(Any, schedule).config.prediction_type
    if found not in get_args(Prediction):
        raise InputError(f"the schedule's prediction_type is '{found}'; {', '.join(get_args(Prediction))} can be used")
    return found


def signal_level(schedule: SchedulerMixin, timesteps: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Cumulative product of the alphas at each step, fp32: the share of the picture's variance that is left."""
    return cast(Any, schedule).alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]
