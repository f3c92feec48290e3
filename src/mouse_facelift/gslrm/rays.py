"""Rays of posed pixels, and the nine numbers per pixel that GS-LRM sees.

The camera enters the network here and nowhere else. World frame: whatever frame the cameras are given in, with the
object around the origin. OpenCV axes (x right, y down, z forward), the first pixel's centre at (0.5, 0.5).

All of it runs in fp32 outside autocast and without gradients: FaceLift rounds its rays to half precision, which moves
them by up to 1.9 px in bf16, and no model of ours needs to inherit that. `half` rounds them the same way for whoever
wants FaceLift's own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """One ray per pixel; the point at distance s along a ray is `origins + s * directions`."""

    origins: Float[Tensor, "b v 3"]
    """Camera centres (one per view)."""
    directions: Float[Tensor, "b v 3 h w"]
    """Unit vectors."""
    nearest_distance: Float[Tensor, "b v 1 h w"]
    """Signed distance along the ray to its point nearest to the world origin."""

    @property
    def nearest_points(self) -> Float[Tensor, "b v 3 h w"]:
        """The point of each ray nearest to the world origin."""
        return self.origins[..., None, None] + self.nearest_distance * self.directions


def invert_rigid(w2c: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Camera-to-world of a rigid world-to-camera: rotation R^T, camera centre -R^T t, without a general inverse.

    Computed in float64 and returned in float32.
    """
    rigid = w2c.double()
    rotation = rigid[..., :3, :3].transpose(-1, -2)
    c2w = torch.zeros_like(rigid)
    c2w[..., :3, :3] = rotation
    c2w[..., :3, 3:] = -rotation @ rigid[..., :3, 3:]
    c2w[..., 3, 3] = 1.0
    return c2w.float()


@torch.no_grad()
def pixel_rays(
    w2c: Float[Tensor, "b v 4 4"],
    fxfycxcy: Float[Tensor, "b v 4"],
    height: int,
    width: int,
    half: torch.dtype | None = None,
) -> Rays:
    """Rays through the centres of all pixels.

    Args:
        w2c: rigid world-to-camera matrices.
        fxfycxcy: focal lengths and principal point, in pixels of the `height` x `width` image.
        height: rows.
        width: columns.
        half: round both factors and the result of the rotation into the world to this type, as a half-precision
            matrix product does. At FaceLift's cameras (512 px) that turns rays by up to 0.25 px in float16 and by up
            to 1.85 px in bfloat16.
    """
    with torch.autocast(w2c.device.type, enabled=False):
        c2w = invert_rigid(w2c)
        fx, fy, cx, cy = fxfycxcy.float()[..., None, None].unbind(dim=2)
        columns = torch.arange(width, device=w2c.device, dtype=torch.float32) + 0.5
        rows = torch.arange(height, device=w2c.device, dtype=torch.float32)[:, None] + 0.5
        x, y = torch.broadcast_tensors((columns - cx) / fx, (rows - cy) / fy)
        in_camera = torch.stack([x, y, torch.ones_like(x)], dim=2)
        in_camera = in_camera / _length(in_camera)
        in_world = _rounded(
            torch.einsum("bvij,bvjhw->bvihw", _rounded(c2w[..., :3, :3], half), _rounded(in_camera, half)), half
        )
        directions = in_world / _length(in_world)
        origins = c2w[..., :3, 3]
        nearest = -(origins[..., None, None] * directions).sum(dim=2, keepdim=True)
    return Rays(origins, directions, nearest)


def _length(vectors: Float[Tensor, "b v 3 h w"]) -> Float[Tensor, "b v 1 h w"]:
    """Lengths over the third axis. `norm` is 60 times slower than this along an axis that is not the last (CPU)."""
    return vectors.square().sum(dim=2, keepdim=True).sqrt()


def _rounded(values: Float[Tensor, "*shape"], half: torch.dtype | None) -> Float[Tensor, "*shape"]:
    return values if half is None else values.to(half).float()


def pixel_vectors(images: Float[Tensor, "b v 3 h w"], rays: Rays) -> Float[Tensor, "b v 9 h w"]:
    """The network's input: colour scaled to [-1, 1], ray direction, and the ray's point nearest to the origin.

    The nearest point takes the place of the Pluecker moment: together with the direction it fixes the ray as well.
    """
    return torch.cat([2.0 * images.float() - 1.0, rays.directions, rays.nearest_points], dim=2)


def pixel_footprint(rays: Rays, fxfycxcy: Float[Tensor, "b v 4"]) -> Float[Tensor, "b v 1 h w"]:
    """Side of one pixel at the ray's nearest point to the origin (world units), to first order: distance / focal.

    The distance is kept above one hundredth of a unit, so that a camera standing inside the object stays finite.
    """
    focal = fxfycxcy.float()[..., :2].mean(dim=-1)[..., None, None, None]
    return rays.nearest_distance.clamp_min(1e-2) / focal
