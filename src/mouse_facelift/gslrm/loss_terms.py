"""The formulas that training charges for, one function each, unweighted; all fp32 in, fp32 out.

Pictures are [n, h, w, 3], not clamped: a clamp has no gradient exactly where a pixel is too bright. Points are
[b, v, p, 3]: one for each pixel p of the input views.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.evaluation.ssim import ssim_map


def pixel_weights(mask: Float[Tensor, "n h w"], foreground_weight: float) -> Float[Tensor, "n h w"]:
    """1 + (foreground_weight - 1) * mask, scaled so that all pixels together have mean 1 (empty masks included)."""
    weights = 1.0 + (foreground_weight - 1.0) * mask
    return weights / weights.mean()


def mask_weights(mask: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """The mask scaled so that all pixels together have mean 1; zeros where all masks are empty."""
    return mask / mask.mean().clamp_min(torch.finfo(mask.dtype).tiny)


def colour_error(
    rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"], weights: Float[Tensor, "n h w"]
) -> Float[Tensor, ""]:
    """Weighted mean squared difference."""
    return (weights * (rgb - target).square().mean(dim=-1)).mean()


def structure_error(
    rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"], weights: Float[Tensor, "n h w"]
) -> Float[Tensor, ""]:
    """Weighted mean of 1 - SSIM, in [0, 2] for weights of mean 1: rounding never makes it negative."""
    return (weights * (1.0 - ssim_map(rgb, target)).clamp(0.0, 2.0)).mean()


def silhouette_error(alpha: Float[Tensor, "n h w"], mask: Float[Tensor, "n h w"]) -> Float[Tensor, ""]:
    """Mean squared difference of rendered alpha and mask.

    Squared rather than cross-entropy: alpha composited from many Gaussians reaches exactly 0 (nothing there) and
    0.99... (saturated); there cross-entropy is infinite or must be clamped, which kills the gradient where the
    silhouette is most wrong. The squared error is bounded, as is its gradient, and a soft mask edge is its optimum.
    """
    return (alpha - mask).square().mean()


def pixel_misalignment(
    points: Float[Tensor, "b v p 3"],
    origins: Float[Tensor, "b v 3"],
    directions: Float[Tensor, "b v p 3"],
    mask: Float[Tensor, "b v p"] | None = None,
) -> Float[Tensor, ""]:
    """Mean distance of points from their pixels' rays: FaceLift's pixel alignment.

    With v = point - origin the residual is v - (v . d) d, its length along the ray taken as given (detached). With a
    mask the residuals are multiplied by it; the mean is still over all pixels.
    """
    offsets = points - origins[:, :, None]
    along = (offsets.detach() * directions).sum(dim=-1, keepdim=True)
    residuals = offsets - along * directions
    if mask is not None:
        residuals = residuals * mask[..., None]
    # The gradient of a vector's norm is 0 at 0, where that of a square root is not finite.
    return torch.linalg.vector_norm(residuals, dim=-1).mean()


def distance_spread(points: Float[Tensor, "b v p 3"], origins: Float[Tensor, "b v 3"]) -> Float[Tensor, ""]:
    """FaceLift's warm-up: every view's points keep their order in distance, but spread around the world's origin.

    A point's distance r from its camera is drawn to (r - mean) / (deviation + 1e-8) / 2 + |origin|, the statistics
    being those of its view (deviation unbiased) and everything in the target detached.
    """
    distances = torch.linalg.vector_norm(points - origins[:, :, None], dim=-1)
    given = distances.detach()
    standard = (given - given.mean(dim=-1, keepdim=True)) / (given.std(dim=-1, keepdim=True) + 1e-8)
    wanted = 0.5 * standard + torch.linalg.vector_norm(origins, dim=-1)[..., None]
    return (distances - wanted).square().mean()
