"""How near a rendered view is to the photograph, on the animal itself.

A mouse covers 5-10 % of a picture, so an empty white picture already scores 12-15 dB and SSIM 0.9 over the full frame.
Every number that judges a model is therefore taken on the foreground too, and two baselines that know nothing of
three dimensions stand beside it: the blank picture, and the nearest input view shown as it is.

Conventions: images [h, w, 3] composited on one background; colours are clipped to [0, 1] here and nowhere in a loss.
A number that is not defined (a foreground score without foreground) is nan, and `mean_metrics` leaves nan out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mouse_facelift.evaluation.ssim import SSIM_WINDOW, ssim
from mouse_facelift.perceptual.distances import LPIPS, LPIPS_SMALLEST_SIDE

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
    lpips: float = math.nan
    """LPIPS (VGG) over the full frame, less being better; nan where no weights were given."""
    lpips_foreground: float = math.nan
    """LPIPS over the mask's bounding box, padded; nan without mask too."""


LOWER_IS_BETTER = frozenset({"lpips", "lpips_foreground"})
"""Fields of `ViewMetrics` where less is better; in all others more is."""

BASELINES: Mapping[str, str] = {"blank": "the blank picture", "nearest": "the nearest input view"}
"""What stands beside a model, by the prefix of its scores' names."""


def psnr(
    rgb: Float[Tensor, "*n h w 3"], target: Float[Tensor, "*n h w 3"], where: Bool[Tensor, "*n h w"] | None = None
) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels, or those of `where`.

    Both pictures are clipped to [0, 1]. nan when `where` holds no pixel, at most `PSNR_CEILING`.
    """
    error = (rgb.float().clamp(0.0, 1.0) - target.float().clamp(0.0, 1.0)).square().mean(dim=-1)
    chosen = error if where is None else error[where]
    return -10.0 * chosen.mean().clamp_min(10.0 ** (-PSNR_CEILING / 10.0)).log10()


def mask_iou(alpha: Float[Tensor, "h w"], mask: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Intersection over union of two masks cut at 0.5; nan where both are empty."""
    a, b = alpha > 0.5, mask > 0.5
    return (a & b).sum() / (a | b).sum()


def foreground_box(
    mask: Float[Tensor, "h w"], padding: int = SSIM_WINDOW // 2, smallest: int = SSIM_WINDOW
) -> tuple[slice, slice] | None:
    """Rows and columns of the bounding box of mask > 0.5.

    The box is padded and then, where the picture allows it, at least `smallest` pixels wide: one SSIM window. None
    without foreground.
    """
    foreground = mask > 0.5
    if not bool(foreground.any()):
        return None
    rows, columns = (_padded(foreground.any(dim=dim), padding, smallest) for dim in (1, 0))
    return rows, columns


def _padded(occupied: Bool[Tensor, " n"], padding: int, smallest: int) -> slice:
    """The occupied stretch of a line, padded inside the line."""
    size = occupied.shape[0]
    where = occupied.nonzero()
    first, last = max(int(where[0]) - padding, 0), min(int(where[-1]) + 1 + padding, size)
    missing = max(min(smallest, size) - (last - first), 0)
    first = max(first - missing, 0)
    return slice(first, max(last, min(first + smallest, size)))


@torch.no_grad()
def view_metrics(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    target_rgb: Float[Tensor, "h w 3"],
    target_mask: Float[Tensor, "h w"],
    lpips: LPIPS | None = None,
) -> ViewMetrics:
    """All scores of one rendered view.

    Args:
        rgb: rendering on the same background as the target.
        alpha: rendered alpha.
        target_rgb: photograph composited on that background.
        target_mask: its mask in [0, 1].
        lpips: the network on the pictures' device, where weights exist.
    """
    box = foreground_box(target_mask)
    wide_box = foreground_box(target_mask, smallest=LPIPS_SMALLEST_SIDE)
    return ViewMetrics(
        psnr=float(psnr(rgb, target_rgb)),
        psnr_foreground=float(psnr(rgb, target_rgb, where=target_mask > 0.5)),
        ssim=float(ssim(rgb, target_rgb)),
        ssim_foreground=math.nan if box is None else float(ssim(rgb[box], target_rgb[box])),
        mask_iou=float(mask_iou(alpha, target_mask)),
        lpips=_lpips(lpips, rgb, target_rgb),
        lpips_foreground=math.nan if wide_box is None else _lpips(lpips, rgb[wide_box], target_rgb[wide_box]),
    )


def _lpips(network: LPIPS | None, rgb: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> float:
    """LPIPS of two pictures clipped to [0, 1]; nan without a network, or where they are too small for it."""
    if network is None or min(rgb.shape[:2]) < LPIPS_SMALLEST_SIDE:
        return math.nan
    return float(network(rgb.clamp(0.0, 1.0)[None], target.clamp(0.0, 1.0)[None]))


def below_baseline(metrics: Mapping[str, float | None]) -> list[str]:
    """In which scores a model does not beat a baseline: one plain line each, none for a model above them all.

    Args:
        metrics: scores by the names of `ViewMetrics`, those of the baselines with `blank_` or `nearest_` before; what
            is absent, None or nan is not compared.
    """
    lines = []
    for name in (field.name for field in fields(ViewMetrics)):
        score = metrics.get(name)
        for prefix, words in BASELINES.items():
            rival = metrics.get(f"{prefix}_{name}")
            if score is None or rival is None or math.isnan(score) or math.isnan(rival):
                continue
            if score >= rival if name in LOWER_IS_BETTER else score <= rival:
                lines.append(f"{name} {score:.3f} does not beat {words} ({rival:.3f})")
    return lines


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
