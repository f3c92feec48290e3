"""Named architectures, and new pipelines of them with random weights.

The small ones denoise pixels, have no VAE, CLIP or text encoder, and need no download: the reference image enters as
condition channels and through the front view's attention, and slots are told apart by learned tokens. The "facelift"
ones are FaceLift's denoiser alone; their other components come from a folder (`pipeline.load_pipeline`).

What a network of a few million parameters can learn in an hour is decided by what it is asked. It predicts the picture
rather than noise or velocity, as a difference to a first guess (the reference view is the reference image); blocks of
4 x 4 pixels are one cell; the views' cameras are given as rays; and it makes the animal's mask beside its colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

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


# A picture on white is mostly its mean, which FaceLift's betas never quite hide.
_FROM_NOTHING = ScheduleConfig(zero_terminal_snr=True)


PRESETS: Mapping[str, MVDiffusionConfig] = MappingProxyType(
    {
        "debug": MVDiffusionConfig(
            unet=UNetConfig(
                sample_size=16,
                latent_channels=3,
                block_channels=(16, 32),
                attention_levels=(False, True),
                layers_per_block=1,
                head_width=16,
                norm_groups=8,
                token_width=32,
                class_width=0,
            ),
            schedule=_FROM_NOTHING,
            learned_tokens=4,
        ),
        "small": MVDiffusionConfig(
            unet=UNetConfig(
                sample_size=64,
                latent_channels=4,
                patch=4,
                residual=True,
                block_channels=(64, 128, 128),
                attention_levels=(False, True, True),
                layers_per_block=1,
                head_width=32,
                norm_groups=16,
                token_width=96,
                class_width=0,
                camera_conditioning="rays",
            ),
            schedule=replace(_FROM_NOTHING, prediction="sample"),
            learned_tokens=4,
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
    unet = build_unet(config.unet)
    model = MultiViewUNet(unet, tokens, config.slots, learned=True, adapter=config.unet.adapter)
    return MVDiffusion(model, denoising_schedule(config.schedule))


def check_trainable_from_scratch(config: MVDiffusionConfig) -> None:
    """Refuse an architecture that needs components (VAE, image encoder, prompt embeddings) that only a folder has.

    Raises:
        InputError: it does.
    """
    unet = config.unet
    if unet.latent_channels not in (3, 4) or unet.class_width or not config.learned_tokens:
        raise InputError(
            "a model over latents needs a VAE, an image encoder and prompt embeddings; start from a pipeline folder "
            "such as FaceLift's pipeckpts (--model.folder)"
        )
