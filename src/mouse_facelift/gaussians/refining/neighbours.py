"""Who lay beside whom: what keeps a fitted surface a surface, and its colours those of fur."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Which Gaussians lay beside which when the fit began."""

    start: Float[Tensor, "n 3"]
    """Their centres then."""
    nearest: Int[Tensor, "n k"]
    """The nearest others of each."""

    @staticmethod
    def of(means: Float[Tensor, "n 3"], count: int) -> Neighbours:
        """Up to `count` of each."""
        points = means.detach().cpu().numpy()
        found = KDTree(points).query(points, k=min(count + 1, len(points)))[1].reshape(len(points), -1)
        # A point's nearest is itself; where it is alone, it stays its own neighbour.
        others = found[:, 1:] if found.shape[1] > 1 else found
        return Neighbours(means.detach().clone(), torch.from_numpy(others.astype("int64")).to(means.device))

    def roughness(self, values: Float[Tensor, "n 3"]) -> Float[Tensor, ""]:
        """How far values are from the mean of their neighbours', root of the mean square over Gaussians' axes."""
        return ((values - values[self.nearest].mean(dim=1)).square().mean() + 1e-12).sqrt()
