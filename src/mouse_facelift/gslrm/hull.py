"""Where the visual hull says a pixel's Gaussian belongs: depth from masks and cameras alone.

A rendering loss moves a Gaussian only while it overlaps what it should cover, a pixel or two; further away the cheap
way out is to fade it, and a small model trained from scratch ends in a cloud. The masks of the input views say more:
along the ray of a foreground pixel, the animal's surface cannot begin before the first point that every view sees
inside its silhouette. A model that starts there has only the difference to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from mouse_facelift.gslrm.rays import Rays

EDGE = 0.1
"""Alpha from which a pixel counts as silhouette. Low, because a pixel that is only partly animal has a Gaussian too,
and without a place on the hull it would hang in the air: at 0.5 held-out foreground SSIM was 0.06 lower."""

STEPS = 96
"""Points tried along a ray through the ball that holds the animal: about half a pixel apart at 64 px."""


@dataclass(frozen=True)
class HullSurface:
    """The first point of the visual hull on every pixel's ray."""

    points: Float[Tensor, "b v 3 h w"]
    """World positions; where no hull exists on a ray, its point nearest to the world origin."""
    exists: Bool[Tensor, "b v 1 h w"]
    """Silhouette pixels whose ray meets the hull."""


@torch.no_grad()
def hull_surface(
    masks: Float[Tensor, "b v h w"],
    rays: Rays,
    w2c: Float[Tensor, "b v 4 4"],
    fxfycxcy: Float[Tensor, "b v 4"],
) -> HullSurface:
    """March along the rays of silhouette pixels to the first point inside all silhouettes.

    Args:
        masks: silhouettes in [0, 1].
        rays: of all their pixels.
        w2c, fxfycxcy: their cameras.
    """
    height, width = masks.shape[-2:]
    points = rays.nearest_points.clone()
    exists = torch.zeros_like(points[:, :, :1], dtype=torch.bool)
    for b in range(masks.shape[0]):
        view, row, column = torch.nonzero(masks[b] > EDGE, as_tuple=True)
        if not len(view):
            continue
        reach = _ball_radius(masks[b], w2c[b], fxfycxcy[b])
        offsets = torch.linspace(-1, 1, STEPS, device=masks.device) * reach
        nearest, direction = (x[b, view, :, row, column] for x in (rays.nearest_points, rays.directions))
        tried = nearest[:, None] + offsets[:, None] * direction[:, None]
        inside = torch.ones(tried.shape[:2], dtype=torch.bool, device=masks.device)
        for mask, pose, (fx, fy, cx, cy) in zip(masks[b], w2c[b], fxfycxcy[b], strict=True):
            x, y, z = (tried @ pose[:3, :3].T + pose[:3, 3]).unbind(-1)
            u, v = fx * x / z + cx, fy * y / z + cy
            grid = torch.stack([2 * u / width - 1, 2 * v / height - 1], dim=-1)
            seen = F.grid_sample(mask[None, None], grid[None], mode="nearest", align_corners=False)[0, 0]
            inside &= (seen > EDGE) & (z > 0)
        met = inside.any(dim=1)
        first = inside.to(torch.uint8).argmax(dim=1)
        points[b, view[met], :, row[met], column[met]] = tried[met, first[met]]
        exists[b, view, 0, row, column] = met
    return HullSurface(points, exists)


def _ball_radius(
    masks: Float[Tensor, "v h w"], w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"]
) -> Float[Tensor, ""]:
    """Radius about the origin of a ball that holds everything the silhouettes show."""
    view, row, column = torch.nonzero(masks > EDGE, as_tuple=True)
    fx, fy, cx, cy = fxfycxcy[view].unbind(-1)
    offset = torch.hypot((column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy)
    return (offset * w2c[view, :3, 3].norm(dim=-1)).max()
