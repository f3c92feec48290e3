"""What a training step charges for, as `loss_config` asks.

`loss_terms` has the formulas, `perceptual` the two networks. A term whose weight is zero, now or altogether, is not
computed; one that is configured but off at a step is reported as nan, so that every step reports the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.gslrm import loss_terms
from mouse_facelift.gslrm.batched_gaussians import BatchedGaussians
from mouse_facelift.gslrm.loss_config import COLOUR_TERMS, IMAGE_TERMS, LossConfig
from mouse_facelift.gslrm.photometry import fit_gain_bias
from mouse_facelift.gslrm.rays import pixel_rays
from mouse_facelift.perceptual.distances import LPIPS, PerceptualDistance

Scalars = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class LossNetworks:
    """The networks that some terms need: built once per worker, not per step."""

    perceptual: nn.Module | None = None
    lpips: nn.Module | None = None

    @classmethod
    def load(cls, config: LossConfig, device: torch.device | str = "cpu") -> LossNetworks:
        """The networks of those terms that count at any step, from the files the configuration names.

        Raises:
            InputError: a file is absent, damaged, or of another network.
        """
        perceptual = lpips = None
        if config.perceptual and config.perceptual_weights is not None:
            perceptual = PerceptualDistance.load(config.perceptual_weights).to(device)
        if config.lpips and config.lpips_weights is not None:
            lpips = LPIPS.load(config.lpips_weights, config.lpips_heads).to(device)
        return cls(perceptual, lpips)


def image_losses(
    rgb: Float[Tensor, "n h w 3"],
    alpha: Float[Tensor, "n h w"],
    target_rgb: Float[Tensor, "n h w 3"],
    target_alpha: Float[Tensor, "n h w"],
    config: LossConfig,
    *,
    step: int = 0,
    networks: LossNetworks | None = None,
) -> tuple[Float[Tensor, ""], Scalars]:
    """The weighted sum of the terms that look at renderings, and the terms themselves.

    Args:
        rgb: renderings, not clamped.
        alpha: rendered alpha.
        target_rgb: images composited on the renderings' background.
        target_alpha: masks in [0, 1].
        config: weights.
        step: decides what ramps have reached.
        networks: needed where the perceptual or LPIPS term counts.

    Returns:
        The loss, and detached `l2`, `ssim_loss`, `perceptual_loss`, `lpips_loss`, `alpha_loss` of those that count at
        any step (nan for those that are off at this one).

    Raises:
        ValueError: a term counts whose network was not given.
    """
    rgb, alpha = rgb.float(), alpha.float()
    target_rgb, target_alpha = target_rgb.float(), target_alpha.float()
    if config.photometric == "affine" and any(config.weight(name, step) for name in COLOUR_TERMS):
        rgb = fit_gain_bias(rgb, target_rgb, target_alpha).apply(rgb, target_alpha)
    networks = networks or LossNetworks()
    weights = loss_terms.pixel_weights(target_alpha, config.foreground_weight)
    structure_weights = loss_terms.mask_weights(target_alpha) if config.ssim_masked else weights
    return _weighted_sum(
        {
            "l2": lambda: loss_terms.colour_error(rgb, target_rgb, weights),
            "ssim": lambda: loss_terms.structure_error(rgb, target_rgb, structure_weights),
            "perceptual": lambda: _required(networks.perceptual, "perceptual")(rgb, target_rgb),
            "lpips": lambda: _required(networks.lpips, "lpips")(rgb, target_rgb).mean(),
            "alpha": lambda: loss_terms.silhouette_error(alpha, target_alpha),
        },
        config,
        step,
        rgb.new_zeros(()),
    )


def geometry_losses(
    gaussians: BatchedGaussians,
    images: Float[Tensor, "b v 4 h w"],
    w2c: Float[Tensor, "b v 4 4"],
    fxfycxcy: Float[Tensor, "b v 4"],
    config: LossConfig,
    *,
    step: int = 0,
) -> tuple[Float[Tensor, ""], Scalars]:
    """The weighted sum of the terms that look at the Gaussians, and the terms themselves.

    Args:
        gaussians: what the model made of the input views.
        images: the input views; their alpha is the mask.
        w2c, fxfycxcy: their cameras.
        config: weights.
        step: decides what ramps have reached.

    Returns:
        As `image_losses`, with `pixelalign_loss`, `opacity_loss`, `scale_loss`, `pointsdist_loss`.
    """
    views, (height, width) = images.shape[1], images.shape[-2:]

    def points() -> Float[Tensor, "b v p 3"]:
        return gaussians.pixel_means.float().unflatten(1, (views, -1))

    def pixelalign() -> Float[Tensor, ""]:
        rays = pixel_rays(w2c, fxfycxcy, height, width)
        directions = gaussians.per_pixel(rays.directions).unflatten(1, (views, -1))
        mask = gaussians.per_pixel(images[:, :, 3:])[..., 0].unflatten(1, (views, -1))
        return loss_terms.pixel_misalignment(
            points(), rays.origins, directions, mask.float() if config.pixelalign_masked else None
        )

    def pointsdist() -> Float[Tensor, ""]:
        # The rays of one pixel suffice for the camera centres.
        return loss_terms.distance_spread(points(), pixel_rays(w2c, fxfycxcy, 1, 1).origins)

    return _weighted_sum(
        {
            "pixelalign": pixelalign,
            "opacity": lambda: gaussians.opacity_logits.float().sigmoid().mean(),
            "scale": lambda: gaussians.log_scales.float().exp().mean(),
            "pointsdist": pointsdist,
        },
        config,
        step,
        gaussians.means.new_zeros(()),
    )


def _weighted_sum(
    terms: Mapping[str, Callable[[], Float[Tensor, ""]]], config: LossConfig, step: int, zero: Float[Tensor, ""]
) -> tuple[Float[Tensor, ""], Scalars]:
    total, scalars = zero, {}
    for name, compute in terms.items():
        if not config.configured(name):
            continue
        weight = config.weight(name, step)
        value = compute() if weight else torch.full_like(zero, math.nan)
        if weight:
            total = total + weight * value
        scalars[_scalar_name(name)] = value.detach()
    return total, scalars


def image_scalar_names(config: LossConfig) -> list[str]:
    """What `image_losses` reports, whatever the step."""
    return [_scalar_name(name) for name in IMAGE_TERMS if config.configured(name)]


def _scalar_name(term: str) -> str:
    # "ssim" alone would read as the similarity, not as 1 - similarity.
    return "l2" if term == "l2" else f"{term}_loss"


def _required(network: nn.Module | None, term: str) -> nn.Module:
    if network is None:
        raise ValueError(f"the {term} loss needs its network: build LossNetworks.load(config, device) once")
    return network
