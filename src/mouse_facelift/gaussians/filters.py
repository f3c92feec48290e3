"""Which Gaussians belong to the animal: FaceLift's rules against haze, blobs and floaters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Bool
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians


@dataclass(frozen=True)
class FilterConfig:
    """Thresholds in the normalised world (z up, the object within about [-1, 1]^3); FaceLift's values."""

    min_opacity: float = 0.04
    """Fainter Gaussians, and those exactly as faint, go."""
    max_scale: float = 0.1
    """A largest standard deviation of this or more is a blob ..."""
    blobs_allowed_above_z: float = 0.0
    """... and goes, unless its centre is higher than this."""
    corner_xy: float = 0.6
    """Centres with both |x| and |y| beyond this ..."""
    corner_z: float = -0.6
    """... and z below this float in the lower corners, and go."""
    box_xy: float = 0.91
    """Centres with |x| or |y| beyond this go."""
    box_z: float = 1.0
    """Centres with |z| beyond this go."""


FILTERS: Mapping[str, FilterConfig] = MappingProxyType(
    {
        "facelift": FilterConfig(),
        # What FaceLift's web demo uses instead: larger blobs stay, and only farther corners are swept.
        "facelift-gradio": FilterConfig(max_scale=0.2, corner_xy=0.75, corner_z=-0.75),
    }
)
"""Named sets of thresholds."""


def animal_mask(gaussians: Gaussians, config: FilterConfig | None = None) -> Bool[Tensor, " n"]:
    """True for the Gaussians to keep; `gaussians.select(mask)` keeps them. Those that are not finite go as well."""
    config = config or FilterConfig()
    x, y, z = gaussians.means.detach().unbind(-1)
    x, y = x.abs(), y.abs()
    visible = gaussians.opacities.detach() > config.min_opacity
    small = gaussians.scales.detach().amax(-1) < config.max_scale
    corner = (x > config.corner_xy) & (y > config.corner_xy) & (z < config.corner_z)
    inside = (x <= config.box_xy) & (y <= config.box_xy) & (z.abs() <= config.box_z)
    return gaussians.finite() & visible & (small | (z > config.blobs_allowed_above_z)) & ~corner & inside
