"""Gaussians on the surface of a frame's visual hull, coloured by the views that see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining.config import HullConfig
from mouse_facelift.gaussians.rendering import render

# Voxels along a side of the grid that only finds out where the hull lies.
_COARSE = 48
# Smoothing of the occupancy whose gradient is the surface's normal, in voxels.
_NORMAL_SIGMA = 1.5
# A Gaussian farther behind what a view sees than this many voxels is hidden from it.
_DEPTH_SLACK = 2.5
# Of a colour's weight: how much a view counts that cannot be shown to see the surface. Alone, such views decide.
_HIDDEN_WEIGHT = 1e-3
_EMPTY = (
    "the visual hull is empty: no point lies inside all silhouettes; `mouse-facelift inspect` shows whether masks and "
    "cameras agree"
)


def gaussians_from_hull(
    images: Float[Tensor, "v 4 h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
    config: HullConfig | None = None,
) -> Gaussians:
    """Gaussians on the visual hull's surface, flattened along its normals.

    Args:
        images: straight RGBA in [0, 1]; alpha is the silhouette. The result is on their device.
        w2c, fxfycxcy: their cameras, the animal around the world's origin.
        config: how densely, how opaque.

    Raises:
        InputError: a silhouette is empty, or no point lies inside all of them.
    """
    config, device = config or HullConfig(), images.device
    # A second of work at most, and the voxels' neighbourhoods are SciPy's: the CPU does it all.
    images, w2c, fxfycxcy = (tensor.detach().cpu().float() for tensor in (images, w2c, fxfycxcy))
    masks = images[:, 3]
    reach = _reach(masks, w2c, fxfycxcy)
    coarse = 2 * reach / _COARSE
    lower = torch.full((3,), -reach)
    found = _occupied(lower, (_COARSE,) * 3, coarse, masks, w2c, fxfycxcy, config, slack=coarse)
    if not found.any():
        raise InputError(_EMPTY)
    where = torch.from_numpy(np.argwhere(found))
    low, high = lower + where.amin(0) * coarse, lower + (where.amax(0) + 1) * coarse
    voxel = max(config.voxel_pixels * footprint(w2c, fxfycxcy), float((high - low).max()) / config.most_voxels)
    # Two empty voxels around: a surface is where a neighbour is empty.
    low = low - 2 * voxel
    counts = tuple(int(n) for n in ((high - low) / voxel).ceil() + 2)
    inside = _occupied(low, counts, voxel, masks, w2c, fxfycxcy, config)
    surface = inside & np.logical_not(ndimage.binary_erosion(inside))
    if not surface.any():
        raise InputError(_EMPTY)
    index = np.argwhere(surface)
    means = low + (torch.from_numpy(index).float() + 0.5) * voxel
    normals = _normals(inside, index)
    # A splat is wider than its centre: drawn at the hull's very surface it would overhang every silhouette.
    means = means - config.inset * voxel * normals
    bare = Gaussians(
        means,
        torch.tensor([config.spread, config.spread, config.thickness]).expand(len(means), 3) * voxel,
        rotations_to(normals),
        torch.full((len(means),), config.opacity),
        torch.zeros(len(means), 3),
    )
    colours = seen_colours(bare, normals, images, w2c, fxfycxcy, _DEPTH_SLACK * voxel)
    return replace(bare, colours=colours).to(device)


def footprint(w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"]) -> float:
    """What a pixel covers at the world's origin, world units: the mean over views."""
    return float((w2c[:, :3, 3].norm(dim=-1) / fxfycxcy[:, 0]).mean())


def _reach(masks: Float[Tensor, "v h w"], w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"]) -> float:
    """Half the side of a cube about the origin that holds everything that lies inside all silhouettes.

    The widest silhouette, at the distance of the origin, bounds it; a tenth is added for what lies farther away.
    """
    widest = 0.0
    for number, (mask, pose, (fx, fy, cx, cy)) in enumerate(zip(masks, w2c, fxfycxcy, strict=True)):
        row, column = torch.nonzero(mask > 0.5, as_tuple=True)
        if not len(row):
            raise InputError(f"view {number} has an empty silhouette; leave it out, or `inspect` its masks")
        offset = torch.hypot((column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy).max()
        widest = max(widest, float(offset * pose[:3, 3].norm()))
    return 1.1 * widest


def _occupied(
    lower: Float[Tensor, " 3"],
    counts: tuple[int, ...],
    voxel: float,
    masks: Float[Tensor, "v h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
    config: HullConfig,
    slack: float = 0.0,
) -> Bool[np.ndarray, "x y z"]:
    """Which voxels' centres no view denies; with slack (world units) those as well that are this far from it."""
    axes = [low + (torch.arange(n) + 0.5) * voxel for low, n in zip(lower, counts, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    kept = torch.arange(len(points))
    votes = torch.zeros(len(points), dtype=torch.int32)
    for mask, pose, lens in zip(masks, w2c, fxfycxcy, strict=True):
        if slack:
            pixels = int(np.ceil(slack * float(lens[0] / pose[:3, 3].norm())))
            mask = F.max_pool2d(mask[None], 2 * pixels + 1, stride=1, padding=pixels)[0]
        alpha, covered, _ = look_up(mask[None], points[kept], pose, lens)
        agreed = ~covered | (alpha[:, 0] > config.inside)
        votes[kept] += covered.int()
        kept = kept[agreed]
    kept = kept[votes[kept] >= min(config.covering_views, len(masks))]
    inside = np.zeros(len(points), bool)
    inside[kept.numpy()] = True
    return inside.reshape(counts)


def look_up(
    picture: Float[Tensor, "c h w"], points: Float[Tensor, "n 3"], pose: Float[Tensor, "4 4"], lens: Float[Tensor, " 4"]
) -> tuple[Float[Tensor, "n c"], Bool[Tensor, " n"], Float[Tensor, " n"]]:
    """What a picture shows at points of the world (bilinear), whether it covers them, and their depths."""
    height, width = picture.shape[-2:]
    x, y, z = (points @ pose[:3, :3].T + pose[:3, 3]).unbind(-1)
    u, v = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
    covered = (z > 0) & (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
    grid = torch.stack([2 * u / width - 1, 2 * v / height - 1], dim=-1)[None, None]
    values = F.grid_sample(picture[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].T, covered, z


def _normals(inside: Bool[np.ndarray, "x y z"], index: np.ndarray) -> Float[Tensor, "n 3"]:
    """Outward unit normals of surface voxels; straight up where a piece is too thin to have any."""
    smooth = ndimage.gaussian_filter(inside.astype(np.float32), _NORMAL_SIGMA)
    gradient = -np.asarray(np.gradient(smooth))[(slice(None), *index.T)].T
    length = np.linalg.norm(gradient, axis=-1, keepdims=True)
    return torch.from_numpy(np.where(length > 1e-4, gradient / np.maximum(length, 1e-4), [0.0, 0.0, 1.0])).float()


def rotations_to(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions that turn the z axis onto unit normals, the shortest way."""
    x, y, z = normals.unbind(-1)
    # Half-way quaternion (1 + z.n, z x n); where n = -z, a half turn about x.
    quaternions = torch.stack([1 + z, -y, x, torch.zeros_like(z)], dim=-1)
    half_turn = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand_as(quaternions)
    return F.normalize(torch.where((1 + z < 1e-6)[:, None], half_turn, quaternions), dim=-1)


@torch.no_grad()
def seen_colours(
    gaussians: Gaussians,
    normals: Float[Tensor, "n 3"],
    images: Float[Tensor, "v 4 h w"],
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
    slack: float,
) -> Float[Tensor, "n 3"]:
    """Each Gaussian's colour in the views that see it, those counting most that look straight at it.

    A view sees a Gaussian when nothing lies more than `slack` (world units) in front of it; a Gaussian that no view
    sees takes the mean of all that cover it. Alpha weighs as well: the outline's pixels show the arena too.
    """
    height, width = images.shape[-2:]
    total = torch.zeros(len(gaussians), 3)
    weights = torch.full((len(gaussians), 1), 1e-12)
    for image, pose, lens in zip(images, w2c, fxfycxcy, strict=True):
        depths = (gaussians.means @ pose[:3, :3].T + pose[:3, 3])[:, 2:]
        drawn = render(
            replace(gaussians, colours=depths.expand(-1, 3)),
            pose[None], lens[None], width, height, background=torch.zeros(3),
        )  # fmt: skip
        surface = torch.where(drawn.alpha > 0.1, drawn.rgb[..., 0] / drawn.alpha.clamp_min(0.1), torch.inf)
        # Alpha eroded by a pixel: colours at the outline are mixed with the arena's.
        core = -F.max_pool2d(-image[None, 3:], 3, stride=1, padding=1)[0]
        picture = torch.cat([image[:3], core, surface.clamp_max(1e6)])
        values, covered, _ = look_up(picture, gaussians.means, pose, lens)
        towards = F.normalize(-(pose[:3, :3].T @ pose[:3, 3]) - gaussians.means, dim=-1)
        facing = (normals * towards).sum(-1).clamp_min(0.0).square()
        visible = depths[:, 0] <= values[:, 4] + slack
        weight = covered * (values[:, 3].square() + 1e-3) * (facing * visible + _HIDDEN_WEIGHT)
        total += weight[:, None] * values[:, :3]
        weights += weight[:, None]
    return (total / weights).clamp(0.0, 1.0)
