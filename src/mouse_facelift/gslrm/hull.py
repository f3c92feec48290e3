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
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gslrm.rays import Rays

EDGE = 0.02
"""Alpha from which a pixel counts as silhouette. Low, because a pixel that is only partly animal has a Gaussian too."""

INSIDE = 0.5
"""Alpha above which a point counts as inside a view's silhouette: where the true outline is."""

STEPS = 96
"""Points tried along a ray through the ball that holds the animal."""

BISECTIONS = 3
"""Halvings of the last step, so that the surface is found to an eighth of it."""


@dataclass(frozen=True)
class HullSurface:
    """Where on its ray each pixel first meets the visual hull, and how sure the views are of it."""

    points: Float[Tensor, "b v 3 h w"]
    """World positions: the first point of the hull; where a ray misses it, the point that comes nearest to being
    inside; without any silhouette, the ray's point nearest to the world origin."""
    support: Float[Tensor, "b v 1 h w"]
    """The least alpha with which any of the views, the pixel's own among them, sees that point."""


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
    points, support = rays.nearest_points.clone(), torch.zeros_like(rays.nearest_points[:, :, :1])
    for b in range(masks.shape[0]):
        view, row, column = torch.nonzero(masks[b] > EDGE, as_tuple=True)
        if not len(view):
            continue
        nearest, directions = (x[b, view, :, row, column] for x in (rays.nearest_points, rays.directions))
        seen_by = masks[b], w2c[b], fxfycxcy[b]
        found = _first_inside(nearest, directions, *seen_by)
        points[b, view, :, row, column] = nearest + found * directions
        least = least_alpha(nearest, directions, found, *seen_by)[:, 0]
        support[b, view, 0, row, column] = torch.minimum(least, masks[b, view, row, column])
    return HullSurface(points, support)


def _first_inside(
    nearest: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    masks: Float[Tensor, "v h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
) -> Float[Tensor, "n 1"]:
    """How far from `nearest` along each ray the hull begins; where it is missed, how far its best point lies."""
    reach = _ball_radius(masks, w2c, fxfycxcy)
    offsets = (torch.linspace(-1, 1, STEPS, device=masks.device) * reach).expand(len(nearest), -1)
    seen = least_alpha(nearest, directions, offsets, masks, w2c, fxfycxcy)
    inside = seen > INSIDE
    meets = inside.any(dim=1)
    chosen = torch.where(meets, inside.to(torch.uint8).argmax(dim=1), seen.argmax(dim=1))
    far = offsets.gather(1, chosen[:, None])
    near = torch.where(meets[:, None], far - 2 * reach / (STEPS - 1), far)
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        within = least_alpha(nearest, directions, middle, masks, w2c, fxfycxcy) > INSIDE
        near, far = torch.where(within, near, middle), torch.where(within, middle, far)
    return far


def least_alpha(
    nearest: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    offsets: Float[Tensor, "n k"],
    masks: Float[Tensor, "v h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
) -> Float[Tensor, "n k"]:
    """The least alpha that any view shows at points of rays; 0 behind a camera or outside its picture.

    A ray is a straight line in every camera as well: turning its start and its direction is enough, and cheaper
    than turning all of its points.
    """
    height, width = masks.shape[-2:]
    least = torch.ones_like(offsets)
    for mask, pose, (fx, fy, cx, cy) in zip(masks, w2c, fxfycxcy, strict=True):
        start, slope = nearest @ pose[:3, :3].T + pose[:3, 3], directions @ pose[:3, :3].T
        x, y, z = (start[:, axis, None] + offsets * slope[:, axis, None] for axis in range(3))
        # grid_sample counts from -1 to 1 over the picture.
        u, v = (2 * fx / width) * x / z + (2 * cx / width - 1), (2 * fy / height) * y / z + (2 * cy / height - 1)
        grid = torch.stack([u, v], dim=-1)[None]
        alpha = F.grid_sample(mask[None, None], grid, mode="bilinear", align_corners=False)[0, 0]
        least = torch.minimum(least, torch.where(z > 0, alpha, 0.0))
    return least


def _ball_radius(
    masks: Float[Tensor, "v h w"], w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"]
) -> Float[Tensor, ""]:
    """Radius about the origin of a ball that holds everything the silhouettes show."""
    view, row, column = torch.nonzero(masks > EDGE, as_tuple=True)
    fx, fy, cx, cy = fxfycxcy[view].unbind(-1)
    offset = torch.hypot((column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy)
    return (offset * w2c[view, :3, 3].norm(dim=-1)).max()
