"""Which terms a GS-LRM's loss has, how much of each, and from which step on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError

COLOUR_TERMS = ("l2", "ssim", "perceptual", "lpips")
IMAGE_TERMS = (*COLOUR_TERMS, "alpha")
"""The terms that look at renderings."""

GEOMETRY_TERMS = ("pixelalign", "opacity", "scale", "pointsdist")
"""The terms that look at the Gaussians themselves."""


@dataclass(frozen=True)
class Ramps:
    """When each term comes in: its weight is 0 up to the first step, full from the second on, linear in between.

    (500, 500) switches a term on at step 500; FaceLift does that to the perceptual loss.

    Raises:
        InputError: a ramp that begins below 0 or ends before it begins.
    """

    l2: tuple[int, int] = (0, 0)
    ssim: tuple[int, int] = (0, 0)
    perceptual: tuple[int, int] = (0, 0)
    lpips: tuple[int, int] = (0, 0)
    alpha: tuple[int, int] = (0, 0)
    pixelalign: tuple[int, int] = (0, 0)
    opacity: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for item in fields(self):
            first, full = getattr(self, item.name)
            if not 0 <= first <= full:
                raise InputError(
                    f"loss: ramps.{item.name} is ({first}, {full}); give the last step at 0 and the first at full "
                    "weight, in this order"
                )

    def share(self, name: str, step: int) -> float:
        """How much of a term's weight counts at a step, in [0, 1]."""
        first, full = getattr(self, name)
        if step >= full:
            return 1.0
        return (step - first) / (full - first) if step > first else 0.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss. A term of weight zero is not computed, and the files it would need are not read.

    Raises:
        InputError: a weight is negative or not finite, nothing is charged for, or a file is not named.
    """

    l2: float = 1.0
    """Mean squared colour error."""
    ssim: float = 0.0
    """1 - SSIM (11-pixel Gaussian window, sigma 1.5)."""
    perceptual: float = 0.0
    """FaceLift's VGG-19 loss; needs perceptual_weights."""
    lpips: float = 0.0
    """LPIPS, VGG variant; needs lpips_weights."""
    alpha: float = 1.0
    """Mean squared difference of rendered alpha and mask."""
    pixelalign: float = 0.0
    """Mean distance of Gaussians from their pixels' rays (world units); only for models without hard_pixelalign."""
    opacity: float = 0.0
    """Mean opacity of all Gaussians: thins out what no view needs (Kheradmand et al. 2024, "3DGS as MCMC")."""
    scale: float = 0.0
    """Mean standard deviation of all Gaussians (world units; same source)."""
    pointsdist: float = 0.1
    """FaceLift's warm-up, which spreads Gaussians around the origin; counts for the first pointsdist_steps alone."""
    pointsdist_steps: int = 0
    """Steps at the start with pointsdist as the only term; FaceLift's first stage has 1000. 0: no such warm-up."""
    foreground_weight: float = 1.0
    """How much a foreground pixel counts beside a background pixel, in l2 and ssim.

    A mouse covers 5-10 % of a capture's pixels; at 1 an empty picture is already nearly right.
    """
    ssim_masked: bool = False
    """Average SSIM over the mask alone. Keep l2 and alpha beside it: what grows outside goes unpunished here."""
    pixelalign_masked: bool = False
    """Count pixelalign on the animal's pixels alone."""
    photometric: Literal["none", "affine"] = "none"
    """affine: give every rendering its view's gain and bias, fitted on the animal, before its colours are charged
    for. For cameras that differ in exposure or haze, which the model would otherwise bake into the animal."""
    perceptual_weights: Path | None = None
    """VGG-19 of the perceptual loss: `vgg19.safetensors` of import-weights, or FaceLift's checkpoint (.pt)."""
    lpips_weights: Path | None = None
    """torchvision's VGG-16 (vgg16-397923af.pth or the same names as .safetensors)."""
    lpips_heads: Path | None = None
    """LPIPS' linear heads (the lpips package's vgg.pth); taken from torchmetrics when not given."""
    ramps: Ramps = field(default_factory=Ramps)

    def __post_init__(self) -> None:
        for name in (*IMAGE_TERMS, *GEOMETRY_TERMS, "foreground_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"loss: weight {name} is {value}; it must be a number of at least 0")
        if self.foreground_weight == 0:
            raise InputError("loss: foreground_weight is 0, the animal would not count at all; use 1 for no weighting")
        if self.pointsdist_steps < 0 or (self.pointsdist_steps and not self.pointsdist):
            raise InputError(
                f"loss: pointsdist_steps is {self.pointsdist_steps} at a pointsdist of {self.pointsdist}; "
                "use 0 steps for no warm-up, or a positive weight"
            )
        # Weights never fall after the warm-up, so its end is where the fewest terms are on.
        if not self.renders(self.pointsdist_steps):
            raise InputError(
                f"loss: {', '.join(IMAGE_TERMS)} all weigh 0 at step {self.pointsdist_steps}, nothing would be "
                "learned; set one of them, with a ramp that begins earlier"
            )
        for term, path in (("perceptual", "perceptual_weights"), ("lpips", "lpips_weights")):
            if getattr(self, term) and getattr(self, path) is None:
                raise InputError(f"loss: {term} needs a file; give --losses.{path.replace('_', '-')} or set it to 0")

    def weight(self, name: str, step: int) -> float:
        """A term's weight at a step (steps count from 0)."""
        warming = step < self.pointsdist_steps
        if name == "pointsdist" or warming:
            return self.pointsdist if name == "pointsdist" and warming else 0.0
        return getattr(self, name) * self.ramps.share(name, step)

    def configured(self, name: str) -> bool:
        """Whether a term counts at any step."""
        return bool(self.pointsdist_steps if name == "pointsdist" else getattr(self, name))

    def renders(self, step: int) -> bool:
        """Whether any term looks at renderings at a step."""
        return any(self.weight(name, step) for name in IMAGE_TERMS)
