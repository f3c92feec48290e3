"""What a training step charges for: which terms, how much of each, and from which step on.

`loss_terms` has the formulas, `perceptual` the two networks. A term whose weight is zero, now or altogether, is not
computed; one that is configured but off at a step is reported as nan, so that every step reports the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm import loss_terms
from mouse_facelift.gslrm.batched_gaussians import BatchedGaussians
from mouse_facelift.gslrm.photometry import fit_gain_bias
from mouse_facelift.gslrm.rays import pixel_rays
from mouse_facelift.perceptual.distances import LPIPS, PerceptualDistance

COLOUR_TERMS = ("l2", "ssim", "perceptual", "lpips")
IMAGE_TERMS = (*COLOUR_TERMS, "alpha")
"""The terms that look at renderings."""

GEOMETRY_TERMS = ("pixelalign", "opacity", "scale", "pointsdist")
"""The terms that look at the Gaussians themselves."""

Scalars = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Ramps:
    """When each term comes in: its weight is 0 up to the first step, full from the second on, linear in between.

    (500, 500) switches a term on at step 500; FaceLift does that to the perceptual loss.

    Raises:
        InputError: a ramp that begins below 0 or ends before it begins.
    """

    l2: tuple[int, int] = (0, 0)
    ssim: tuple[int, int] = (0, 0)
    perceptual: tuple[int, int] = (0, 0)
    lpips: tuple[int, int] = (0, 0)
    alpha: tuple[int, int] = (0, 0)
    pixelalign: tuple[int, int] = (0, 0)
    opacity: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for item in fields(self):
            first, full = getattr(self, item.name)
            if not 0 <= first <= full:
                raise InputError(
                    f"loss: ramps.{item.name} is ({first}, {full}); give the last step at 0 and the first at full "
                    "weight, in this order"
                )

    def share(self, name: str, step: int) -> float:
        """How much of a term's weight counts at a step, in [0, 1]."""
        first, full = getattr(self, name)
        if step >= full:
            return 1.0
        return (step - first) / (full - first) if step > first else 0.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. A term of weight zero is not computed, and the files it would need are not read.

    Raises:
        InputError: a weight is negative or not finite, nothing is charged for, or a file is not named.
    """

    l2: float = 1.0
    """Mean squared colour error."""
    ssim: float = 0.0
    """1 - SSIM (11-pixel Gaussian window, sigma 1.5)."""
    perceptual: float = 0.0
    """FaceLift's VGG-19 loss; needs perceptual_weights."""
    lpips: float = 0.0
    """LPIPS, VGG variant; needs lpips_weights."""
    alpha: float = 1.0
    """Mean squared difference of rendered alpha and mask."""
    pixelalign: float = 0.0
    """Mean distance of Gaussians from their pixels' rays (world units); only for models without hard_pixelalign."""
    opacity: float = 0.0
    """Mean opacity of all Gaussians: thins out what no view needs (Kheradmand et al. 2024, "3DGS as MCMC")."""
    scale: float = 0.0
    """Mean standard deviation of all Gaussians (world units; same source)."""
    pointsdist: float = 0.1
    """FaceLift's warm-up, which spreads Gaussians around the origin; counts for the first pointsdist_steps alone."""
    pointsdist_steps: int = 0
    """Steps at the start with pointsdist as the only term; FaceLift's first stage has 1000. 0: no such warm-up."""
    foreground_weight: float = 1.0
    """How much a foreground pixel counts beside a background pixel, in l2 and ssim.

    A mouse covers 5-10 % of a capture's pixels; at 1 an empty picture is already nearly right.
    """
    ssim_masked: bool = False
    """Average SSIM over the mask alone. Keep l2 and alpha beside it: what grows outside goes unpunished here."""
    pixelalign_masked: bool = False
    """Count pixelalign on the animal's pixels alone."""
    photometric: Literal["none", "affine"] = "none"
    """affine: give every rendering its view's gain and bias, fitted on the animal, before its colours are charged
    for. For cameras that differ in exposure or haze, which the model would otherwise bake into the animal."""
    perceptual_weights: Path | None = None
    """VGG-19 of the perceptual loss: `vgg19.safetensors` of import-weights, or FaceLift's checkpoint (.pt)."""
    lpips_weights: Path | None = None
    """torchvision's VGG-16 (vgg16-397923af.pth or the same names as .safetensors)."""
    lpips_heads: Path | None = None
    """LPIPS' linear heads (the lpips package's vgg.pth); taken from torchmetrics when not given."""
    ramps: Ramps = field(default_factory=Ramps)

    def __post_init__(self) -> None:
        for name in (*IMAGE_TERMS, *GEOMETRY_TERMS, "foreground_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"loss: weight {name} is {value}; it must be a number of at least 0")
        if self.foreground_weight == 0:
            raise InputError("loss: foreground_weight is 0, the animal would not count at all; use 1 for no weighting")
        if self.pointsdist_steps < 0 or (self.pointsdist_steps and not self.pointsdist):
            raise InputError(
                f"loss: pointsdist_steps is {self.pointsdist_steps} at a pointsdist of {self.pointsdist}; "
                "use 0 steps for no warm-up, or a positive weight"
            )
        # Weights never fall after the warm-up, so its end is where the fewest terms are on.
        if not self.renders(self.pointsdist_steps):
            raise InputError(
                f"loss: {', '.join(IMAGE_TERMS)} all weigh 0 at step {self.pointsdist_steps}, nothing would be "
                "learned; set one of them, with a ramp that begins earlier"
            )
        for term, path in (("perceptual", "perceptual_weights"), ("lpips", "lpips_weights")):
            if getattr(self, term) and getattr(self, path) is None:
                raise InputError(f"loss: {term} needs a file; give --losses.{path.replace('_', '-')} or set it to 0")

    def weight(self, name: str, step: int) -> float:
        """A term's weight at a step (steps count from 0)."""
        warming = step < self.pointsdist_steps
        if name == "pointsdist" or warming:
            return self.pointsdist if name == "pointsdist" and warming else 0.0
        return getattr(self, name) * self.ramps.share(name, step)

    def configured(self, name: str) -> bool:
        """Whether a term counts at any step."""
        return bool(self.pointsdist_steps if name == "pointsdist" else getattr(self, name))

    def renders(self, step: int) -> bool:
        """Whether any term looks at renderings at a step."""
        return any(self.weight(name, step) for name in IMAGE_TERMS)


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
