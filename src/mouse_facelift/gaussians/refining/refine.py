"""Gaussians fitted to a frame's own views by gradient descent through the renderer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining.config import RefineConfig
from mouse_facelift.gaussians.refining.exposure import as_clear_views_show
from mouse_facelift.gaussians.refining.hull import footprint
from mouse_facelift.gaussians.refining.neighbours import Neighbours
from mouse_facelift.gaussians.refining.objective import objective
from mouse_facelift.gaussians.refining.window import window

# Opacities and scales whose logit or logarithm is finite.
_LEAST = 1e-4


@dataclass(frozen=True)
class Step:
    """What the views that one step drew were charged."""

    step: int
    terms: dict[str, float]


@dataclass(frozen=True, eq=False)
class Refined:
    """Fitted Gaussians, without those that faded away, and how the fit went."""

    gaussians: Gaussians
    history: tuple[Step, ...]


def refine(
    gaussians: Gaussians,
    images: Float[Tensor, "v 4 h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
    config: RefineConfig | None = None,
) -> Refined:
    """Fit Gaussians to the views they are given; equal input gives equal output.

    Args:
        gaussians: where to start; on the same device as the images.
        images: straight RGBA in [0, 1].
        w2c, fxfycxcy: their cameras, the animal around the world's origin.
        config: how long and how hard.

    Raises:
        InputError: there are no Gaussians, some are not finite, or no view shows the animal.
    """
    config = config or RefineConfig()
    if not len(gaussians) or not bool(gaussians.finite().all()):
        raise InputError("refine: no Gaussians to start from, or some are not finite; reconstruct the frame again")
    if not bool((images[:, 3] > 0.5).any()):
        raise InputError("refine: no view shows the animal (all masks are empty); leave this frame out")
    pixel = footprint(w2c, fxfycxcy)
    seen = window(images, fxfycxcy)
    surface = Neighbours.of(gaussians.means, config.neighbours)
    parameters = _Parameters(gaussians)
    optimiser = torch.optim.Adam(parameters.groups(config, pixel), betas=(0.9, 0.99), eps=1e-12)
    full = [group["lr"] for group in optimiser.param_groups]
    generator = torch.Generator().manual_seed(config.seed)
    order: list[int] = []
    history = []
    for step in range(config.steps):
        fall = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group, rate in zip(optimiser.param_groups, full, strict=True):
            group["lr"] = rate * fall
        if len(order) < min(config.views_per_step, len(images)):
            order += torch.randperm(len(images), generator=generator).tolist()
        chosen, order = order[: config.views_per_step], order[config.views_per_step :]
        backgrounds = torch.rand(len(chosen), 3, generator=generator).to(images)
        terms = objective(parameters.gaussians(), seen, w2c, chosen, backgrounds, pixel, surface, config)
        optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        optimiser.step()
        parameters.restrain()
        history.append(Step(step, {name: float(value.detach()) for name, value in terms.items()}))
    if not config.steps:
        return Refined(gaussians, ())
    fitted = parameters.gaussians().detach()
    fitted = fitted.select(fitted.opacities >= config.prune_below)
    if config.photometric == "affine" and config.exposure == "clear" and len(fitted):
        fitted = as_clear_views_show(fitted, seen, w2c)
    return Refined(fitted, tuple(history))


class _Parameters:
    """The five tensors in coordinates where any value is a Gaussian: log scales, logits of opacities."""

    def __init__(self, gaussians: Gaussians) -> None:
        start = gaussians.detach().to(dtype=torch.float32)
        self.means = start.means.clone()
        self.log_scales = start.scales.clamp_min(_LEAST**2).log()
        self.rotations = F.normalize(start.rotations, dim=-1)
        self.logits = start.opacities.clamp(_LEAST, 1 - _LEAST).logit()
        self.colours = start.colours.clamp(0.0, 1.0).clone()
        for tensor in (self.means, self.log_scales, self.rotations, self.logits, self.colours):
            tensor.requires_grad_(True)

    def groups(self, config: RefineConfig, pixel: float) -> list[dict[str, object]]:
        """Adam's groups, each with its own rate."""
        rates = (
            (self.means, config.mean_rate * pixel),
            (self.log_scales, config.scale_rate),
            (self.rotations, config.rotation_rate),
            (self.logits, config.opacity_rate),
            (self.colours, config.colour_rate),
        )
        return [{"params": [tensor], "lr": rate} for tensor, rate in rates]

    def gaussians(self) -> Gaussians:
        return Gaussians(self.means, self.log_scales.exp(), self.rotations, self.logits.sigmoid(), self.colours)

    @torch.no_grad()
    def restrain(self) -> None:
        """Keep colours in [0, 1] and quaternions at length 1, where their rates mean what they say."""
        self.colours.clamp_(0.0, 1.0)
        self.rotations.copy_(F.normalize(self.rotations, dim=-1))
