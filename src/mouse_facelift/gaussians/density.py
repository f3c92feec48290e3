"""How opaque the Gaussians make every point of a grid, and in which colour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices

# 4 bytes x 4 channels a node: 2 GB.
_MOST_NODES = 1 << 27


@dataclass(frozen=True, eq=False)
class DensityGrid:
    """A field on the nodes of a regular grid; its outermost nodes are empty.

    Attributes:
        origin: Position of the first node.
        spacing: Distance between neighbouring nodes.
        density: Sum over Gaussians of -log(1 - alpha): alphas of Gaussians in one place multiply, so these add up, and
            `1 - exp(-density)` is how opaque the point is.
        colours: Mean colour, weighted by each Gaussian's share of the density; 0 where nothing is.
    """

    origin: Float[np.ndarray, "3"]
    spacing: float
    density: Float[np.ndarray, "x y z"]
    colours: Float[np.ndarray, "x y z 3"]


def density_grid(gaussians: Gaussians, resolution: int) -> DensityGrid:
    """Sample the Gaussians with ``resolution`` voxels along the longest side of their box.

    A Gaussian's alpha at a point is `opacity * exp(-1/2 d^T cov^-1 d)`, followed down to `min_alpha` of the renderers.

    Raises:
        InputError: No Gaussian is visible, some are not finite, or the grid would not fit into memory.
    """
    if resolution < 2:
        raise InputError(f"mesh: resolution {resolution}: a grid needs at least 2 voxels along a side")
    if not bool(gaussians.finite().all()):
        raise InputError("mesh: some Gaussians are not finite; make them again")
    gaussians = gaussians.select(gaussians.opacities > CONVENTIONS.min_alpha)
    if not len(gaussians):
        raise InputError("mesh: no Gaussian is visible; is this the right file?")
    means, scales, rotations, opacities, colours = (t.detach().cpu().double() for t in gaussians.tensors())
    turn = rotation_matrices(rotations)
    # How many standard deviations a Gaussian is seen for, and its axis-aligned box.
    deviations = (2 * (opacities.clamp_max(CONVENTIONS.max_alpha) / CONVENTIONS.min_alpha).log()).sqrt()
    reach = deviations[:, None] * (turn.square() * scales[:, None].square()).sum(-1).sqrt()
    lower, upper = (means - reach).amin(0).numpy(), (means + reach).amax(0).numpy()
    spacing = float((upper - lower).max()) / resolution
    nodes = np.ceil((upper - lower) / spacing).astype(int) + 3
    if nodes.prod() > _MOST_NODES:
        raise InputError(f"mesh: a grid of {'x'.join(map(str, nodes))} nodes is too large; choose a lower resolution")
    origin = lower - spacing
    field = np.zeros((*nodes, 4), np.float32)
    whitening = (turn / scales[:, None]).mT.contiguous()
    _accumulate()(
        field,
        (means.numpy() - origin) / spacing,
        reach.numpy() / spacing,
        whitening.numpy() * spacing,
        opacities.numpy(),
        colours.numpy(),
        deviations.square().numpy(),
        CONVENTIONS.max_alpha,
    )
    density = field[..., 0]
    return DensityGrid(origin, spacing, density, field[..., 1:] / np.maximum(density, 1e-12)[..., None])


@cache
def _accumulate() -> Any:
    """The compiled loop over Gaussians and the nodes in their boxes; compiling takes about two seconds."""
    import numba

    @numba.njit(error_model="numpy", nogil=True)
    def accumulate(field, means, reach, whitening, opacities, colours, limits, max_alpha):  # noqa: ANN001, ANN202
        nx, ny, nz, _ = field.shape
        for g in range(means.shape[0]):
            first, last = np.empty(3, np.int64), np.empty(3, np.int64)
            for k in range(3):
                first[k] = max(1, int(np.ceil(means[g, k] - reach[g, k])))
                last[k] = int(np.floor(means[g, k] + reach[g, k]))
            w = whitening[g]
            for i in range(first[0], min(last[0], nx - 2) + 1):
                x = i - means[g, 0]
                for j in range(first[1], min(last[1], ny - 2) + 1):
                    y = j - means[g, 1]
                    for k in range(first[2], min(last[2], nz - 2) + 1):
                        z = k - means[g, 2]
                        a = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
                        b = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
                        c = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
                        distance = a * a + b * b + c * c
                        if distance > limits[g]:
                            continue
                        alpha = min(opacities[g] * np.exp(-0.5 * distance), max_alpha)
                        weight = -np.log1p(-alpha)
                        field[i, j, k, 0] += weight
                        field[i, j, k, 1] += weight * colours[g, 0]
                        field[i, j, k, 2] += weight * colours[g, 1]
                        field[i, j, k, 3] += weight * colours[g, 2]

    return accumulate
