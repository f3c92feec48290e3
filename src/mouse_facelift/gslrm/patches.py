"""Patches of images: how pixels are grouped into tokens, and which groups need one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def to_patches(images: Float[Tensor, "b v c h w"], patch_size: int) -> Float[Tensor, "b v patches pixels c"]:
    """Cut images into patches: patches row by row, the pixels of a patch row by row, channels last."""
    b, v, c, h, w = images.shape
    p = patch_size
    grid = images.reshape(b, v, c, h // p, p, w // p, p).permute(0, 1, 3, 5, 4, 6, 2)
    return grid.reshape(b, v, (h // p) * (w // p), p * p, c)


@dataclass(frozen=True)
class ShownPatches:
    """Which patches of a batch show some of the animal. The others hold no Gaussian and need no token."""

    indices: Int[Tensor, "b k"]
    """Per sample, its shown patches, then others to fill up to the batch's largest number."""
    real: Bool[Tensor, "b k"]
    """False where an index only fills up."""
    patches: int
    """Patches of a sample in all."""

    def take(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "b k d"]:
        """The shown patches' tokens."""
        return tokens.gather(1, self.indices[..., None].expand(-1, -1, tokens.shape[-1]))

    def attended(self, always: int) -> Bool[Tensor, "b 1 1 tokens"] | None:
        """Which tokens may be attended to, behind `always` ones that all may; None when that is every one."""
        return None if bool(self.real.all()) else F.pad(self.real, (always, 0), value=True)[:, None, None]

    def put_back(self, values: Float[Tensor, "b k f"]) -> Float[Tensor, "b m f"]:
        """Values of all patches, zero where a patch is not shown."""
        full = values.new_zeros(values.shape[0], self.patches, values.shape[2])
        return full.scatter(1, self.indices[..., None].expand_as(values), values * self.real[..., None])


def shown_patches(alpha: Float[Tensor, "b v 1 h w"], patch_size: int) -> ShownPatches:
    """Find the patches with any alpha; k is at least one."""
    shown = (to_patches(alpha, patch_size).flatten(3) > 0).any(dim=-1).flatten(1)
    most = max(1, int(shown.sum(dim=1).max()))
    order = shown.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return ShownPatches(order, shown.gather(1, order), shown.shape[1])
