"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004), the one measure that is a loss and a score here.

An 11-pixel Gaussian window of sigma 1.5 gives every pixel's neighbourhood means, variances and a covariance; with
C1 = 0.01^2 and C2 = 0.03^2 (for colours in [0, 1])

    SSIM = (2 ma mb + C1) (2 cov + C2) / ((ma^2 + mb^2 + C1) (va + vb + C2)).

The window is separable, and blurring the rows and columns of small pictures by a banded matrix is what a CPU does
best: at 128 px this takes a tenth of the time of torchmetrics' convolution, with the same mean to one in a million.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.errors import InputError

SSIM_WINDOW = 11
"""Side of the Gaussian window in pixels."""

SIGMA = 1.5
"""The window's standard deviation in pixels."""

C1, C2 = 0.01**2, 0.03**2
"""What keeps the quotients of luminance and of contrast from 0 / 0, for colours in [0, 1]."""

SAMPLE_COVARIANCE = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
"""121 / 120: what scikit-image multiplies variances by unless told otherwise."""


def ssim_map(rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n h w"]:
    """Structural similarity of every pixel's neighbourhood, mean over the colours; differentiable, fp32, not clipped.

    Pictures are mirrored at the border, so that the map has their size.

    Raises:
        InputError: a side is shorter than half the window, which leaves nothing to mirror.
    """
    _require_side(rgb, SSIM_WINDOW // 2 + 1)
    return _similarity(rgb, target, mirrored=True, covariance_factor=1.0)


def ssim(rgb: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Mean structural similarity of two pictures clipped to [0, 1]."""
    return ssim_map(rgb.clamp(0.0, 1.0)[None], target.clamp(0.0, 1.0)[None]).mean()


def ssim_facelift(rgb: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """SSIM as FaceLift's papers report it (scikit-image's): whole windows alone, sample covariances, no clipping.

    Raises:
        InputError: a picture smaller than the window.
    """
    _require_side(rgb[None], SSIM_WINDOW)
    return _similarity(rgb[None], target[None], mirrored=False, covariance_factor=SAMPLE_COVARIANCE).mean()


def _require_side(rgb: Float[Tensor, "n h w 3"], smallest: int) -> None:
    height, width = rgb.shape[1:3]
    if min(height, width) < smallest:
        raise InputError(
            f"SSIM: a {width}x{height} px image is too small for the {SSIM_WINDOW} px window; use sides of at least "
            f"{smallest} px"
        )


def _similarity(
    rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"], mirrored: bool, covariance_factor: float
) -> Float[Tensor, "n h w"]:
    # Variances do not care where zero lies; about mid grey they lose the fewest digits to the means' squares.
    a, b = (picture.float().permute(0, 3, 1, 2) - 0.5 for picture in (rgb, target))
    mean_a, mean_b = _blur(a, mirrored), _blur(b, mirrored)
    squares, product = mean_a * mean_a + mean_b * mean_b, mean_a * mean_b
    variances = covariance_factor * (_blur(a * a + b * b, mirrored) - squares)
    covariance = covariance_factor * (_blur(a * b, mirrored) - product)
    # The means themselves again: (ma + 1/2) (mb + 1/2) and (ma + 1/2)^2 + (mb + 1/2)^2.
    halves = 0.5 * (mean_a + mean_b) + 0.25
    luminance = (2.0 * (product + halves) + C1) / (squares + 2.0 * halves + C1)
    return (luminance * (2.0 * covariance + C2) / (variances + C2)).mean(dim=1)


def _blur(x: Float[Tensor, "n c h w"], mirrored: bool) -> Float[Tensor, "n c h2 w2"]:
    """Gaussian means around every pixel, or around those whose whole window lies inside."""
    height, width = x.shape[-2:]
    if x.is_cuda:
        # Not by matrices: a caller may allow TF32 in them, whose rounding is larger than the variances.
        return _shifted_sum(_shifted_sum(_padded(x, mirrored), 2), 3)
    rows, columns = (_band(side, mirrored, x.device) for side in (height, width))
    return rows.transpose(0, 1) @ (x @ columns)


def _padded(x: Float[Tensor, "n c h w"], mirrored: bool) -> Float[Tensor, "n c h2 w2"]:
    return F.pad(x, (SSIM_WINDOW // 2,) * 4, mode="reflect") if mirrored else x


def _shifted_sum(x: Float[Tensor, "n c h w"], dim: int) -> Float[Tensor, "n c h2 w2"]:
    """The window's weighted sum along one axis, tap by tap, of those places where it lies inside."""
    length = x.shape[dim] - SSIM_WINDOW + 1
    first, *others = _window().tolist()
    total = first * x.narrow(dim, 0, length)
    for offset, weight in enumerate(others, start=1):
        total = total + weight * x.narrow(dim, offset, length)
    return total


def _window() -> Float[Tensor, " 11"]:
    """The window's weights along one axis, float64, sum 1."""
    distance = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    return weights / weights.sum()


@functools.lru_cache(maxsize=16)
def _band(side: int, mirrored: bool, device: torch.device) -> Float[Tensor, "side out"]:
    """The matrix that blurs a line of pixels from the right; every column holds one pixel's window."""
    lines = torch.eye(side, dtype=torch.float64)[None]
    if mirrored:
        lines = F.pad(lines, (SSIM_WINDOW // 2,) * 2, mode="reflect")
    return (lines[0].unfold(1, SSIM_WINDOW, 1) @ _window()).float().to(device)
