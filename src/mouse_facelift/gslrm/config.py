"""What a GS-LRM is made of: every size and every constant of the model, stated once.

The defaults are the values FaceLift published (stages 2 and 3), so that its checkpoints load into `GSLRMConfig()`.
`opacity_base`, `colour_base`, `depth_base` and `scale_unit` are choices FaceLift does not have. They change no
parameter's shape, only where training starts from, and they are what lets a small model learn from scratch in minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mouse_facelift.errors import InputError

PIXEL_CHANNELS = 9
"""Colour, ray direction, and the ray's point nearest to the world origin: three numbers each."""

GAUSSIAN_CHANNELS = 14
"""Position 3, colour 3, log-scale 3, quaternion 4, opacity logit 1, in this order (spherical harmonics degree 0)."""


@dataclass(frozen=True)
class GSLRMConfig:
    """The architecture of one GS-LRM.

    Raises:
        InputError: when two fields contradict each other.
    """

    image_size: int = 512
    """Side of the square images the model is trained on (pixels). The network itself takes any multiple of a patch."""
    patch_size: int = 8
    """Side of the patch that becomes one token (pixels)."""
    width: int = 1024
    """Width of a token (`d`)."""
    head_width: int = 64
    """Width of one attention head; the number of heads is `width / head_width`."""
    layers: int = 24
    """Number of transformer blocks."""
    free_gaussians: int = 2
    """Learned tokens that become Gaussians tied to no pixel; they come first everywhere."""
    scale_bias: float = -2.3
    """Added to the raw log-scale: log of the standard deviation that a raw zero means, in `scale_unit`."""
    scale_max: float = -1.20
    """Upper clamp of the log-scale, in `scale_unit`."""
    scale_unit: Literal["world", "pixel"] = "world"
    """What a log-scale of zero means: one world unit, or one pixel's footprint where its ray passes the origin.

    With "pixel" the same biases serve every resolution and every zoom. Free Gaussians are always in world units
    (there they start at FaceLift's scale).
    """
    opacity_bias: float = -2.0
    """Added to the raw opacity logit; -2 is an opacity of 0.119."""
    opacity_base: Literal["constant", "alpha", "hull"] = "constant"
    """What a pixel Gaussian's opacity is multiplied with: nothing, its pixel's own alpha, or the least alpha with which
    any input view sees the place where it starts on its ray.

    With either of the latter background pixels never become Gaussians and foreground pixels may start opaque; the
    images must then carry alpha as their fourth channel. The transformer sees colour alone.
    """
    colour_base: Literal["grey", "pixel"] = "grey"
    """The colour that a raw zero means: mid grey, or the colour of the Gaussian's own input pixel."""
    depth_base: Literal["nearest", "hull"] = "nearest"
    """Where on its ray a pixel Gaussian starts: at the point nearest to the world origin, or at the first point of the
    visual hull of the input views' own masks (which must then be given as the images' fourth channel)."""
    depth_range: float = 1.8
    """Pixel Gaussians lie within this distance of where they start on their ray (world units)."""
    tokens: Literal["all", "foreground"] = "all"
    """Which patches become tokens: all, or those that show some of the animal (needs an `opacity_base` other than
    "constant", so that the others hold no Gaussian). A mouse covers a twentieth of a picture: most of the work goes."""
    hard_pixelalign: bool = True
    """Keep pixel Gaussians on their rays. Off: the three raw numbers are the position, as for free Gaussians."""
    clip_xyz: bool = False
    """Clamp pixel Gaussians to the cube [-1, 1]. FaceLift's files say true, yet its shipped code never clamps."""
    add_refsrc_marker: bool = False
    """Add one learned vector to the tokens of the first view and another to those of all others. The order of views
    then matters: the first one is the reference."""
    precision: Literal["exact", "compat"] = "exact"
    """"exact" keeps rays, heads and the Gaussians' arithmetic in fp32 whatever the caller's autocast. "compat" rounds
    them where FaceLift's own code does, to the caller's autocast type, or to float16 where there is none (FaceLift's
    inference): only for comparing numbers with FaceLift's. Pixel Gaussians then move in steps of up to 0.002 world
    units in float16 and 0.016 in bfloat16."""
    checkpoint_every: int = 0
    """Recompute activations in groups of this many blocks during the backward pass; 0 keeps them all."""

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "width", "head_width", "layers", "free_gaussians"):
            if getattr(self, name) < 1:
                raise InputError(f"GS-LRM: {name} is {getattr(self, name)}; it must be at least 1")
        if self.image_size % self.patch_size:
            raise InputError(
                f"GS-LRM: image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; "
                "change one of them"
            )
        if self.width % self.head_width:
            raise InputError(
                f"GS-LRM: width {self.width} is not a multiple of head_width {self.head_width}; change one of them"
            )
        if self.tokens == "foreground" and self.opacity_base == "constant":
            raise InputError(
                'GS-LRM: tokens "foreground" needs opacity_base "alpha" or "hull": with "constant" a patch without a '
                "token would still hold visible Gaussians"
            )
        if self.checkpoint_every < 0:
            raise InputError(f"GS-LRM: checkpoint_every is {self.checkpoint_every}; use 0 to keep all activations")
        if not (self.depth_range > 0 and math.isfinite(self.depth_range)):
            raise InputError(f"GS-LRM: depth_range is {self.depth_range}; it must be positive")
        if self.scale_bias > self.scale_max:
            raise InputError(
                f"GS-LRM: scale_bias {self.scale_bias} lies above scale_max {self.scale_max}: every Gaussian would "
                "start clamped and receive no gradient; lower scale_bias"
            )

    @property
    def needs_masks(self) -> bool:
        """Whether input images must carry alpha."""
        return self.opacity_base != "constant" or self.needs_hull

    @property
    def needs_hull(self) -> bool:
        """Whether the visual hull of the input views is made."""
        return "hull" in (self.depth_base, self.opacity_base)

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.width // self.head_width
