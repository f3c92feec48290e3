"""What a fit is charged for: colours on random backgrounds, silhouettes, structure, and what no view would show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.evaluation.ssim import ssim_map
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining.config import RefineConfig
from mouse_facelift.gaussians.refining.neighbours import Neighbours
from mouse_facelift.gaussians.refining.window import Window
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.photometry import fit_gain_bias


def objective(
    gaussians: Gaussians,
    seen: Window,
    w2c: Float[Tensor, "v 4 4"],
    chosen: Sequence[int],
    backgrounds: Float[Tensor, "n 3"],
    pixel: float,
    surface: Neighbours,
    config: RefineConfig,
) -> dict[str, Tensor]:
    """The terms, unweighted, and their weighted "total".

    Args:
        gaussians: with gradients.
        seen: all views.
        w2c: their cameras' poses.
        chosen: views that are drawn.
        backgrounds: behind each of them, behind rendering and picture alike.
        pixel: a pixel's footprint, world units.
        surface: where the Gaussians began, and who lay beside whom.
        config: the weights.
    """
    which = list(chosen)
    mask, colour = seen.masks[which], seen.colours[which]
    height, width = mask.shape[1:]
    drawn = render(gaussians, w2c[which], seen.fxfycxcy[which], width, height, background=torch.zeros(3))
    rgb, behind = drawn.rgb, backgrounds[:, None, None]
    target = mask[..., None] * colour + (1 - mask)[..., None] * behind
    picture = rgb + (1 - drawn.alpha)[..., None] * behind
    if config.photometric == "affine":
        picture = fit_gain_bias(picture.detach(), target, mask).apply(picture, mask)
    animal = mask.sum().clamp_min(1.0)
    terms = {
        # Per pixel of the animal, not of the cut: how much room is around it must not matter.
        "colour": (picture - target).abs().mean(-1).sum() / animal,
        "silhouette": (drawn.alpha - mask).abs().sum() / animal,
        "opacity": gaussians.opacities.mean(),
        "drift": surface.roughness(gaussians.means - surface.start) / pixel,
        "speckle": surface.roughness(gaussians.colours),
        "spikes": spikes(gaussians, config.widest * pixel, config.longest),
    }
    if config.structure:
        terms["structure"] = (1 - ssim_map(picture, target)).sum() / animal
    total = torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
    return terms | {"total": total}


def spikes(gaussians: Gaussians, widest: float, longest: float) -> Float[Tensor, ""]:
    """How far scales lie beyond what is free, on average, in multiples of it."""
    middle, largest = gaussians.scales.sort(dim=-1).values[:, 1:].unbind(-1)
    return ((largest / widest - 1).relu() + (largest / (longest * middle) - 1).relu()).mean()
