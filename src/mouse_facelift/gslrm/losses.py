"""What a rendering is charged for: colour on a known background, structure, and the silhouette.

Renderings are never clamped here: a clamp has no gradient exactly where a pixel is too bright. Everything is fp32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from jaxtyping import Float
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import ssim_map


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. A term of weight zero is not computed.

    Raises:
        InputError: a weight is negative or not finite, or all terms are switched off.
    """

    l2: float = 1.0
    """Mean squared colour error."""
    ssim: float = 0.0
    """1 - SSIM (11-pixel Gaussian window, sigma 1.5)."""
    alpha: float = 1.0
    """Mean squared difference of rendered alpha and mask.

    Squared rather than cross-entropy: alpha composited from many Gaussians reaches exactly 0 (nothing there) and
    0.99... (saturated); there cross-entropy is infinite or must be clamped, which kills the gradient where the
    silhouette is most wrong. The squared error is bounded, as is its gradient, and a soft mask edge is its optimum.
    """
    foreground_weight: float = 1.0
    """How much a foreground pixel counts beside a background pixel, in the colour and structure terms.

    A mouse covers 5-10 % of a capture's pixels; at 1 an empty picture is already nearly right.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"loss: weight {field.name} is {value}; it must be a number of at least 0")
        if self.foreground_weight == 0:
            raise InputError("loss: foreground_weight is 0, the animal would not count at all; use 1 for no weighting")
        if self.l2 == self.ssim == self.alpha == 0:
            raise InputError("loss: l2, ssim and alpha are all 0, nothing would be learned; set one of them")


def pixel_weights(mask: Float[Tensor, "n h w"], foreground_weight: float) -> Float[Tensor, "n h w"]:
    """1 + (foreground_weight - 1) * mask, scaled so that all pixels together have mean 1 (empty masks included)."""
    weights = 1.0 + (foreground_weight - 1.0) * mask
    return weights / weights.mean()


def image_losses(
    rgb: Float[Tensor, "n h w 3"],
    alpha: Float[Tensor, "n h w"],
    target_rgb: Float[Tensor, "n h w 3"],
    target_alpha: Float[Tensor, "n h w"],
    config: LossConfig,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The weighted sum and its unweighted terms.

    Args:
        rgb: renderings, not clamped.
        alpha: rendered alpha.
        target_rgb: images composited on the renderings' background.
        target_alpha: masks in [0, 1].
        config: weights.

    Returns:
        The loss, and detached `l2`, `ssim_loss`, `alpha_loss` of those terms whose weight is not zero.
    """
    rgb, alpha = rgb.float(), alpha.float()
    target_rgb, target_alpha = target_rgb.float(), target_alpha.float()
    weights = pixel_weights(target_alpha, config.foreground_weight)
    total = rgb.new_zeros(())
    terms: dict[str, Tensor] = {}
    if config.l2:
        terms["l2"] = (weights * (rgb - target_rgb).square().mean(dim=-1)).mean()
        total = total + config.l2 * terms["l2"]
    if config.ssim:
        terms["ssim_loss"] = (weights * (1.0 - ssim_map(rgb, target_rgb))).mean()
        total = total + config.ssim * terms["ssim_loss"]
    if config.alpha:
        terms["alpha_loss"] = (alpha - target_alpha).square().mean()
        total = total + config.alpha * terms["alpha_loss"]
    return total, {name: term.detach() for name, term in terms.items()}
