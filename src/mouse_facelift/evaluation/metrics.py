"""How near a rendered view is to the photograph, on the animal itself.

A mouse covers 5-10 % of a picture, so an empty white picture already scores 12-15 dB and SSIM 0.9 over the full frame.
Every number that judges a model is therefore taken on the foreground too, and two baselines that know nothing of
three dimensions stand beside it: the blank picture, and the nearest input view shown as it is.

Conventions: images [h, w, 3] composited on one background; colours are clipped to [0, 1] here and nowhere in a loss.
A number that is not defined (a foreground score without foreground) is nan, and `mean_metrics` leaves nan out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from mouse_facelift.errors import InputError

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window in pixels (sigma 1.5; Wang et al. 2004)."""

PSNR_CEILING = 100.0
"""PSNR of identical pictures (dB): the error is kept above 1e-10, so that means stay finite."""


@dataclass(frozen=True)
class ViewMetrics:
    """Scores of one view, or their means."""

    psnr: float
    """dB over the full frame."""
    psnr_foreground: float
    """dB over the pixels with mask > 0.5; nan without any."""
    ssim: float
    """Over the full frame."""
    ssim_foreground: float
    """Over the mask's bounding box, padded; nan without mask."""
    mask_iou: float
    """Intersection over union of rendered alpha and mask, both at 0.5; nan where both are empty."""


def psnr(
    rgb: Float[Tensor, "*n h w 3"], target: Float[Tensor, "*n h w 3"], where: Bool[Tensor, "*n h w"] | None = None
) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels, or those of `where`.

    Both pictures are clipped to [0, 1]. nan when `where` holds no pixel, at most `PSNR_CEILING`.
    """
    error = (rgb.float().clamp(0.0, 1.0) - target.float().clamp(0.0, 1.0)).square().mean(dim=-1)
    chosen = error if where is None else error[where]
    return -10.0 * chosen.mean().clamp_min(10.0 ** (-PSNR_CEILING / 10.0)).log10()


def ssim_map(rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n h w"]:
    """Structural similarity of every pixel's neighbourhood, mean over the colours; differentiable, fp32, not clipped.

    Raises:
        InputError: a side is shorter than half the window, which leaves nothing to reflect at the border.
    """
    height, width = rgb.shape[1:3]
    if min(height, width) <= SSIM_WINDOW // 2:
        raise InputError(
            f"SSIM: a {width}x{height} px image is smaller than half the {SSIM_WINDOW} px window; use larger images"
        )
    _, per_channel = structural_similarity_index_measure(
        rgb.float().permute(0, 3, 1, 2).contiguous(),
        target.float().permute(0, 3, 1, 2).contiguous(),
        kernel_size=SSIM_WINDOW,
        data_range=1.0,
        return_full_image=True,
    )
    return torch.as_tensor(per_channel).mean(dim=1)


def ssim(rgb: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Mean structural similarity of two pictures clipped to [0, 1]."""
    return ssim_map(rgb.clamp(0.0, 1.0)[None], target.clamp(0.0, 1.0)[None]).mean()


def mask_iou(alpha: Float[Tensor, "h w"], mask: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Intersection over union of two masks cut at 0.5; nan where both are empty."""
    a, b = alpha > 0.5, mask > 0.5
    return (a & b).sum() / (a | b).sum()


def foreground_box(mask: Float[Tensor, "h w"], padding: int = SSIM_WINDOW // 2) -> tuple[slice, slice] | None:
    """Rows and columns of the bounding box of mask > 0.5.

    The box is padded and then, where the picture allows it, at least one SSIM window wide. None without foreground.
    """
    foreground = mask > 0.5
    if not bool(foreground.any()):
        return None
    return _padded(foreground.any(dim=1), padding), _padded(foreground.any(dim=0), padding)


def _padded(occupied: Bool[Tensor, " n"], padding: int) -> slice:
    """The occupied stretch of a line, padded inside the line."""
    size = occupied.shape[0]
    where = occupied.nonzero()
    first, last = max(int(where[0]) - padding, 0), min(int(where[-1]) + 1 + padding, size)
    missing = max(min(SSIM_WINDOW, size) - (last - first), 0)
    first = max(first - missing, 0)
    return slice(first, max(last, min(first + SSIM_WINDOW, size)))


@torch.no_grad()
def view_metrics(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    target_rgb: Float[Tensor, "h w 3"],
    target_mask: Float[Tensor, "h w"],
) -> ViewMetrics:
    """All scores of one rendered view.

    Args:
        rgb: rendering on the same background as the target.
        alpha: rendered alpha.
        target_rgb: photograph composited on that background.
        target_mask: its mask in [0, 1].
    """
    box = foreground_box(target_mask)
    return ViewMetrics(
        psnr=float(psnr(rgb, target_rgb)),
        psnr_foreground=float(psnr(rgb, target_rgb, where=target_mask > 0.5)),
        ssim=float(ssim(rgb, target_rgb)),
        ssim_foreground=math.nan if box is None else float(ssim(rgb[box], target_rgb[box])),
        mask_iou=float(mask_iou(alpha, target_mask)),
    )


def mean_metrics(metrics: Sequence[ViewMetrics]) -> ViewMetrics:
    """Mean of every score over the views where it is defined; nan where it is defined in none (or there are none)."""
    columns = {field.name: torch.tensor([getattr(m, field.name) for m in metrics]) for field in fields(ViewMetrics)}
    return ViewMetrics(**{name: float(column.double().nanmean()) for name, column in columns.items()})


def blank_image(
    height: int, width: int, background: Float[Tensor, " 3"]
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """The baseline that shows nothing: background everywhere, alpha 0."""
    return background.expand(height, width, 3).clone(), background.new_zeros(height, width)


def nearest_input_view(target_w2c: Float[Tensor, "4 4"], input_w2c: Float[Tensor, "v 4 4"]) -> int:
    """Index of the input view whose camera looks at the world origin from the most similar direction.

    The baseline that shows this view's image and mask as they are: what a set of flat cards would score. The
    direction is that of the camera centre from the origin, where normalisation puts the animal.
    """
    inputs = torch.nn.functional.normalize(_centres(input_w2c), dim=-1)
    return int((inputs @ _centres(target_w2c)).argmax())


def _centres(w2c: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3"]:
    """Camera centres -R^T t."""
    return -(w2c[..., :3, :3].transpose(-1, -2) @ w2c[..., :3, 3:])[..., 0]
