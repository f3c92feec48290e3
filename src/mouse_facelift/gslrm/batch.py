"""Posed images of several samples, as a training step has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Multi-view samples on the model's device. All samples of a batch have the same number of views."""

    images: Float[Tensor, "b v 4 h w"]
    """RGBA with straight alpha, in [0, 1]."""
    w2c: Float[Tensor, "b v 4 4"]
    """World-to-camera."""
    fxfycxcy: Float[Tensor, "b v 4"]
    """Pixels of these images, origin at the image's top-left corner."""

    def select(self, views: Int[Tensor, "b n"]) -> Batch:
        """The given views of every sample, each with its camera, in the given order."""
        rows = torch.arange(views.shape[0], device=views.device)[:, None]
        return Batch(self.images[rows, views], self.w2c[rows, views], self.fxfycxcy[rows, views])
