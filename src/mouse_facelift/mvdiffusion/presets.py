"""Named architectures, and new pipelines of them with random weights.

The small ones denoise pixels, have no VAE, CLIP or text encoder, and need no download: the reference image enters as
condition channels and through the front view's attention, and slots are told apart by learned tokens. The "facelift"
ones are FaceLift's denoiser alone; their other components come from a folder (`pipeline.load_pipeline`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.schedule import ScheduleConfig, denoising_schedule
from mouse_facelift.mvdiffusion.unet import MultiViewUNet, UNetConfig, build_unet
from mouse_facelift.plain import did_you_mean


@dataclass(frozen=True)
class MVDiffusionConfig:
    """A whole model over pixels, or the denoiser of one over latents."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    slots: tuple[str, ...] = FACELIFT_SLOTS
    """Names of the views; slot 0 is the reference. "reference", "target" serves any number of targets by their rays."""
    learned_tokens: int = 0
    """Learned tokens per slot, for a model from scratch; 0 takes prompt embeddings."""


def _over_pixels(size: int, channels: tuple[int, ...], attention: tuple[bool, ...], **sizes: Any) -> MVDiffusionConfig:
    return MVDiffusionConfig(
        unet=UNetConfig(
            sample_size=size,
            latent_channels=3,
            block_channels=channels,
            attention_levels=attention,
            class_width=0,
            **sizes,
        ),
        # A picture on white is mostly its mean, which FaceLift's betas never quite hide.
        schedule=ScheduleConfig(zero_terminal_snr=True),
        learned_tokens=4,
    )


PRESETS: Mapping[str, MVDiffusionConfig] = MappingProxyType(
    {
        "debug": _over_pixels(
            16, (16, 32), (False, True), layers_per_block=1, head_width=16, norm_groups=8, token_width=32
        ),
        "small": _over_pixels(
            64,
            (32, 64, 128, 128),
            (False, False, True, True),
            layers_per_block=1,
            head_width=32,
            norm_groups=16,
            token_width=96,
        ),
        "facelift-512": MVDiffusionConfig(),
        "facelift-512-rays": MVDiffusionConfig(unet=UNetConfig(camera_conditioning="rays")),
    }
)


def preset(name: str) -> MVDiffusionConfig:
    """A named architecture.

    Raises:
        InputError: there is none of this name.
    """
    if name not in PRESETS:
        raise InputError(f"multi-view diffusion: unknown preset '{name}'{did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def new_pipeline(config: MVDiffusionConfig) -> MVDiffusion:
    """A pipeline over pixels with random weights, from torch's global seed.

    Raises:
        InputError: the architecture needs components (VAE, image encoder, prompt embeddings) that only a folder has.
    """
    check_trainable_from_scratch(config)
    tokens = torch.randn(len(config.slots), config.learned_tokens, config.unet.token_width)
    model = MultiViewUNet(build_unet(config.unet), tokens, config.slots, learned=True)
    return MVDiffusion(model, denoising_schedule(config.schedule))


def check_trainable_from_scratch(config: MVDiffusionConfig) -> None:
    """Refuse an architecture that needs components (VAE, image encoder, prompt embeddings) that only a folder has.

    Raises:
        InputError: it does.
    """
    unet = config.unet
    if unet.latent_channels != 3 or unet.class_width or not config.learned_tokens:
        raise InputError(
            "a model over latents needs a VAE, an image encoder and prompt embeddings; start from a pipeline folder "
            "such as FaceLift's pipeckpts (--model.folder)"
        )
