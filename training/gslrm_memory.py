"""How much GPU memory a GS-LRM training step takes, estimated from its sizes, and settings that fit a given GPU.

Bytes per token and per pixel of a target are what autograd keeps in this code, counted with saved-tensor hooks (a test
repeats the count); those of rendering on a GPU are what gsplat keeps per Gaussian and view, from its data types. The
estimate was not compared with a GPU's own figures: step 0 prints it, the log has `gpu_memory_gib` to hold against it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GAUSSIAN_CHANNELS, PIXEL_CHANNELS, GSLRMConfig
from training.accumulation import share_of

if TYPE_CHECKING:
    from training.gslrm_settings import GSLRMTrainingConfig

    Config = TypeVar("Config", bound=GSLRMTrainingConfig)

GIB = 2**30
PROFILES = {"gpu-12": 12, "gpu-24": 24, "gpu-48": 48, "gpu-80": 80}
"""Name -> memory of the GPU (GiB)."""

BLOCK_BYTES = {"fp32": 64, "bf16": 36}
"""Kept per token and unit of width in one block: its inputs, norms, query, key and value, and both MLP activations."""
RESIDUAL_BYTES = 4
"""Kept per token and unit of width for a group of blocks that is computed again: the fp32 residual stream."""
GAUSSIAN_BYTES = 300
"""Kept per Gaussian, with the gradients of its 14 numbers."""
VIEW_BYTES = 150
"""Per Gaussian and rendered view: projected means, conics, depths, radii, tile keys, and their gradients."""
PIXEL_BYTES = {"plain": 40, "ssim": 160, "perceptual": 3000}
"""Per pixel of a target for the colour and alpha terms, with SSIM, and with a VGG network."""
WEIGHT_BYTES = 16
"""Per parameter: fp32 weight, gradient, and AdamW's two moments. Autocast adds 2 for bf16 copies, an average 4."""
USABLE = 0.85
"""Share of a GPU's memory that tensors may take: the rest is the CUDA context, workspaces and fragmentation."""


@dataclass(frozen=True)
class Memory:
    """An estimate in bytes."""

    weights: float
    """Weights, gradients, optimiser and average: whatever the batch."""
    per_sample: float
    """Activations of one sample of a pass."""

    def total(self, samples: int) -> float:
        """Of a pass with so many samples."""
        return self.weights + samples * self.per_sample


def parameter_count(model: GSLRMConfig) -> int:
    """Number of weights of the model."""
    d, pixels = model.width, model.patch_size**2
    embedder = pixels * PIXEL_CHANNELS * d + d + (model.free_gaussians + 2 * model.add_refsrc_marker) * d
    blocks = model.layers * (12 * d * d + 2 * d)
    heads = (1 + GAUSSIAN_CHANNELS) * d + (1 + pixels * GAUSSIAN_CHANNELS) * d
    return embedder + blocks + heads


def estimate_memory(config: GSLRMTrainingConfig, image_size: int) -> Memory:
    """Of a training step on images of this size, with all patches as tokens (an upper bound where some are left out).

    Args:
        config: model, views, losses, precision, average.
        image_size: side of the images that reach the model (pixels).
    """
    model, views, losses = config.model, config.views, config.losses
    half = config.precision == "bf16"
    per_parameter = WEIGHT_BYTES + (2 if half else 0) + (4 if config.ema_decay else 0)
    tokens = views.num_inputs * (image_size // model.patch_size) ** 2 + model.free_gaussians
    group = model.checkpoint_every or model.layers
    kept_whole = min(group, model.layers)
    stored = (model.layers / group if model.checkpoint_every else 0) * RESIDUAL_BYTES
    transformer = tokens * model.width * (stored + kept_whole * BLOCK_BYTES[config.precision])
    gaussians = views.num_inputs * image_size**2 + model.free_gaussians
    rendered = 1 if views.deferred else views.num_targets
    charged = "perceptual" if losses.perceptual or losses.lpips else "ssim" if losses.ssim else "plain"
    pictures = views.num_targets * image_size**2 * PIXEL_BYTES[charged]
    per_sample = transformer + gaussians * (GAUSSIAN_BYTES + rendered * VIEW_BYTES) + pictures
    return Memory(parameter_count(model) * per_parameter, per_sample)


def with_profile(config: Config) -> Config:
    """The settings that fit the GPU `config.profile` names; what is learned from a step stays the same.

    It decides `micro_batch`, `model.checkpoint_every`, `views.deferred`, and caps `model.image_size`. What costs the
    least time comes first: several passes per step, then rendering twice, then computing the blocks twice (a third
    more work), and smaller images only where nothing else helps. Applying it twice changes nothing more.

    Raises:
        InputError: even single samples of the smallest images do not fit.
    """
    if config.profile == "none":
        return config
    room = USABLE * PROFILES[config.profile] * GIB
    share = share_of(config.batch_size, 0, config.min_workers or config.num_workers).count
    size = config.model.image_size
    while size >= 8 * config.model.patch_size and size % config.model.patch_size == 0:
        for checkpoint_every, deferred in ((0, False), (0, True), (1, True)):
            fitted = replace(
                config,
                model=replace(config.model, checkpoint_every=checkpoint_every, image_size=size),
                views=replace(config.views, deferred=deferred),
            )
            memory = estimate_memory(fitted, size)
            samples = int((room - memory.weights) // memory.per_sample)
            if samples >= 1:
                return replace(fitted, micro_batch=min(samples, share))
        size //= 2
    raise InputError(
        f"--profile {config.profile}: a model of {parameter_count(config.model):,} parameters does not fit; "
        "use a larger GPU, or LoRA on a smaller model"
    )
