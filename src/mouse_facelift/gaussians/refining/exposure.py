"""Colours as the clearest cameras show them.

When every rendering is given its view's gain and bias before it is compared, the fit leaves open whose exposure the
Gaussians' own colours have. Haze - walls that mirror the floor, scattered light - only ever adds light: the views whose
bias is least have the least of it, and what they show is nearest to the animal's own colours.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining.window import Window
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.photometry import fit_gain_bias

CLEAR_SHARE = 3
"""One view in so many counts as clear, and at least one: a single view's fit would be noisier."""

# Alpha of picture and rendering alike from which a pixel is nothing but animal.
_CORE = 0.95


@torch.no_grad()
def as_clear_views_show(gaussians: Gaussians, seen: Window, w2c: Float[Tensor, "v 4 4"]) -> Gaussians:
    """The Gaussians in the mean gain and bias of the third of the views that has the least bias."""
    height, width = seen.masks.shape[1:]
    shown = seen.masks.flatten(1).amax(dim=1) > 0.5
    drawn = render(gaussians, w2c[shown], seen.fxfycxcy[shown], width, height, background=torch.ones(3))
    # Not the outline: its pixels are part background, which has no haze.
    core = (torch.minimum(seen.masks[shown], drawn.alpha) > _CORE).to(drawn.rgb)
    fit = fit_gain_bias(drawn.rgb, seen.colours[shown], core)
    # Where the animal's blacks come out, not at zero: a gain about the animal's mean is no haze.
    blacks = fit.gain * gaussians.colours.quantile(0.1, dim=0) + fit.bias
    clear = blacks.mean(dim=1).argsort()[: max(1, len(core) // CLEAR_SHARE)]
    gain, bias = fit.gain[clear].mean(dim=0), fit.bias[clear].mean(dim=0)
    return replace(gaussians, colours=(gain * gaussians.colours + bias).clamp(0.0, 1.0))
