"""Exposure and haze that a camera adds, taken out of the colour loss.

Views of one moment differ in gain and bias: exposure, and walls that mirror the floor. A model charged for that bakes
haze into the animal. So, before a rendering is compared with a view, it is given that view's gain and bias, which are
not learned (a view never seen would have none) but fitted to the two pictures in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GainBiasConfig:
    """How far a rendering may be adjusted."""

    gain: tuple[float, float] = (0.5, 2.0)
    """Least and greatest gain: a stop either way."""
    bias: tuple[float, float] = (-0.25, 0.25)
    """Least and greatest bias, in units of full white."""
    ridge: float = 1e-3
    """Variance of colour (squared units of full white) at which a fit is trusted half: a rendering still flat, as all
    are at the start, says nothing about gain and keeps a gain near 1."""


@dataclass(frozen=True)
class GainBias:
    """Per picture and channel: what to multiply and to add."""

    gain: Float[Tensor, "n 3"]
    bias: Float[Tensor, "n 3"]

    def apply(self, rendered: Float[Tensor, "n h w 3"], weight: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w 3"]:
        """The rendering adjusted where `weight` (in [0, 1]) is, so that a known background stays what it is."""
        adjusted = self.gain[:, None, None] * rendered + self.bias[:, None, None]
        return rendered + weight[..., None] * (adjusted - rendered)


@torch.no_grad()
def fit_gain_bias(
    rendered: Float[Tensor, "n h w 3"],
    target: Float[Tensor, "n h w 3"],
    weight: Float[Tensor, "n h w"],
    config: GainBiasConfig | None = None,
) -> GainBias:
    """Least squares of `gain * rendered + bias` against `target`, per picture and channel.

    Gain is (covariance + ridge) / (variance + ridge), clamped; bias then brings the means together, clamped. No
    gradient flows through the fit: at a least-squares optimum its first-order effect on the residual is nil anyway.

    Args:
        rendered: colours, 1 being white.
        target: what the camera saw.
        weight: how much each pixel counts, such as the mask; a picture without any keeps gain 1 and bias 0.
        config: limits.
    """
    config = config or GainBiasConfig()
    share = weight.float()[..., None]
    total = share.sum(dim=(1, 2), keepdim=True)
    share = share / total.clamp_min(torch.finfo(share.dtype).tiny)
    mean_rendered, mean_target = ((share * x.float()).sum(dim=(1, 2), keepdim=True) for x in (rendered, target))
    deviation = rendered.float() - mean_rendered
    variance = (share * deviation.square()).sum(dim=(1, 2))
    covariance = (share * deviation * (target.float() - mean_target)).sum(dim=(1, 2))
    gain = ((covariance + config.ridge) / (variance + config.ridge)).clamp(*config.gain)
    bias = (mean_target[:, 0, 0] - gain * mean_rendered[:, 0, 0]).clamp(*config.bias)
    return GainBias(gain, bias)
