"""What GS-LRM gives: the Gaussians of a whole batch, before activations."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gslrm.patches import to_patches

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi)): colour = SH_C0 * coefficient + 0.5."""


@dataclass(frozen=True)
class BatchedGaussians:
    """Gaussians of a batch as the network states them, before activations.

    Order of the n Gaussians: the free ones, then by view, patch row, patch column, row in patch, column in patch.
    """

    means: Float[Tensor, "b n 3"]
    """World positions."""
    sh_dc: Float[Tensor, "b n 3"]
    """Colour coefficients."""
    log_scales: Float[Tensor, "b n 3"]
    """Logarithms of the standard deviations (world units)."""
    rotations: Float[Tensor, "b n 4"]
    """Quaternions w, x, y, z of any length."""
    opacity_logits: Float[Tensor, "b n 1"]
    free: int
    """How many of the n are free."""
    patch_size: int
    """Side of a patch (pixels)."""

    @property
    def pixel_means(self) -> Float[Tensor, "b m 3"]:
        """Positions of those Gaussians that belong to a pixel."""
        return self.means[:, self.free :]

    def per_pixel(self, images: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b m c"]:
        """The values of the input views' pixels in the order of `pixel_means`."""
        return to_patches(images, self.patch_size).flatten(1, 3)

    def __len__(self) -> int:
        return self.means.shape[0]

    def item(self, index: int) -> Gaussians:
        """The Gaussians of one sample with their activated values, ready to render."""
        return Gaussians(
            means=self.means[index],
            scales=self.log_scales[index].exp(),
            rotations=F.normalize(self.rotations[index], dim=-1),
            opacities=self.opacity_logits[index, :, 0].sigmoid(),
            colours=(SH_C0 * self.sh_dc[index] + 0.5).clamp_min(0.0),
        )
