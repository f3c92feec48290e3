"""Visual hulls: what all silhouettes agree on.

A point is in the hull when every view sees it inside the silhouette. A view that does not cover the point (it lies
outside the source frame) has no say. The hull's reprojection into a view is never larger than the silhouette, so its
IoU with the silhouette is the share of silhouette pixels whose ray meets the hull; that share is computed by marching
along the rays, which needs no voxel grid and has no voxel error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numba
import numpy as np
from jaxtyping import Bool, Float, Float32

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.boxed_mask import BoxedMask

# Rays sampled per view: the standard error of a share p is sqrt(p (1 - p) / 256) <= 0.014 for p >= 0.95.
_RAYS_PER_VIEW = 256
# Two frames that cover a point still leave a long wedge of space that no third denies.
_COVERING_VIEWS = 3


def hull_agreement(
    masks: Bool[np.ndarray, "v s s"],
    known: Bool[np.ndarray, "v s s"],
    boxed: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    radius: float,
) -> Float32[np.ndarray, " v"]:
    """IoU of each silhouette with the reprojected visual hull of the others.

    Args:
        masks: Silhouettes.
        known: Pixels that are known, whether animal or not; the others contradict nobody.
        boxed: The silhouettes again, by their boxes.
        cameras: Pinholes of these images, in a world with the object at the origin.
        radius: Radius about the origin, in world units, of the ball the object lies in.

    Returns:
        Per view, the share of silhouette pixels supported by the hull; 0 for an empty silhouette.
    """
    projections = np.stack([camera.K @ camera.w2c[:3] for camera in cameras])
    shares = np.zeros(len(cameras), np.float32)
    for view, (mask, camera) in enumerate(zip(boxed, cameras, strict=True)):
        if not mask:
            continue
        inside = np.flatnonzero(mask.inside)
        pick = np.linspace(0, len(inside) - 1, min(len(inside), _RAYS_PER_VIEW)).astype(np.int64)
        rows, columns = np.divmod(inside[pick], mask.inside.shape[1])
        pixels = np.stack([columns + mask.left, rows + mask.top], axis=-1) + 0.5
        # Half a pixel per step at the object's distance: no silhouette detail is stepped over.
        step = 0.5 * np.linalg.norm(camera.centre) / camera.K[0, 0]
        shares[view] = _supported_share(
            masks, known, projections, view, camera.centre, camera.rays(pixels), radius, step
        )
    return shares


def hull_points(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    cameras: Sequence[Camera],
    centre: Float[np.ndarray, "3"],
    half_width: float,
    resolution: int,
) -> Float[np.ndarray, "n 3"]:
    """:func:`hull_points_of` masks as large as their frames."""
    return hull_points_of([BoxedMask.of(mask) for mask in masks], cameras, centre, half_width, resolution)


def hull_points_of(
    masks: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    centre: Float[np.ndarray, "3"],
    half_width: float,
    resolution: int,
) -> Float[np.ndarray, "n 3"]:
    """World points of a cubic grid about ``centre`` that lie in the visual hull of *source* masks.

    Views keep their lens distortion; a point outside a frame, or behind a camera, is not constrained by that view. A
    point that fewer than three frames (or all, of two) cover is left out: what hardly anybody sees, nobody can deny,
    and an animal near the edge of frames would drag a tail of such points behind it.
    """
    points = centre + half_width * _unit_grid(resolution)
    votes = np.zeros(len(points), np.int64)
    for mask, camera in zip(masks, cameras, strict=True):
        pixels = camera.pixels_from_plane(_image_plane(points, camera.R, camera.t))
        keep, covered = _look_up(pixels, mask.inside, mask.top, mask.left, mask.height, mask.width)
        points, votes = points[keep], (votes + covered)[keep]
    return points[votes >= min(_COVERING_VIEWS, len(masks))]


@lru_cache(maxsize=4)
def _unit_grid(resolution: int) -> Float[np.ndarray, "n 3"]:
    """Centres of the cells that divide the cube [-1, 1]^3."""
    axis = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    grid.flags.writeable = False
    return grid


@numba.njit(cache=True, nogil=True)
def _image_plane(
    points: Float[np.ndarray, "n 3"], R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 2"]:  # pragma: no cover - compiled
    """Ideal image-plane coordinates of points; nan for those that are not ahead."""
    plane = np.empty((len(points), 2))
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        if depth > 0:
            plane[i, 0] = (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / depth
            plane[i, 1] = (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / depth
        else:
            plane[i, 0] = plane[i, 1] = np.nan
    return plane


@numba.njit(cache=True, nogil=True)
def _look_up(
    pixels: Float[np.ndarray, "n 2"], inside: Bool[np.ndarray, "a b"], top: int, left: int, height: int, width: int
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:  # pragma: no cover - compiled
    """Which pixels a mask, given by its box, does not deny, and which its frame covers."""
    keep, covered = np.ones(len(pixels), np.bool_), np.zeros(len(pixels), np.bool_)
    for i in range(len(pixels)):
        u, v = pixels[i, 0], pixels[i, 1]
        if 0 <= u < width and 0 <= v < height:
            row, column = int(v) - top, int(u) - left
            keep[i] = 0 <= row < inside.shape[0] and 0 <= column < inside.shape[1] and inside[row, column]
            covered[i] = True
    return keep, covered


@numba.njit(cache=True, nogil=True)
def _supported_share(
    masks: Bool[np.ndarray, "v h w"],
    known: Bool[np.ndarray, "v h w"],
    projections: Float[np.ndarray, "v 3 4"],
    view: int,
    origin: Float[np.ndarray, "3"],
    directions: Float[np.ndarray, "n 3"],
    radius: float,
    step: float,
) -> float:  # pragma: no cover - compiled
    """Share of a view's rays that pass, inside the ball about the origin, a place that no other view denies."""
    views, height, width = masks.shape
    # Homogeneous pixels are linear along a ray. Numbers, not rows of arrays: those cost more than what is done here.
    start, slope = np.empty((views, 3)), np.empty((views, 3))
    ox, oy, oz = origin
    supported, denier = 0, 0
    for ray in range(directions.shape[0]):
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        middle = -(ox * dx + oy * dy + oz * dz)
        half = radius * radius - (ox * ox + oy * oy + oz * oz - middle * middle)
        if half <= 0:
            continue
        half = np.sqrt(half)
        for other in range(views):
            for k in range(3):
                a, b, c = projections[other, k, 0], projections[other, k, 1], projections[other, k, 2]
                start[other, k] = a * ox + b * oy + c * oz + projections[other, k, 3]
                slope[other, k] = a * dx + b * dy + c * dz
        places = int(2 * half / step) + 1
        for turn in range(places):
            # From the middle to both ends: the middle is where an animal is.
            place = places // 2 + ((turn + 1) // 2 if turn % 2 else -(turn // 2))
            distance = middle - half + place * step
            agreed = True
            # The view that denied the last place will most likely deny this one.
            for number in range(views):
                other = number + denier
                if other >= views:
                    other -= views
                depth = start[other, 2] + distance * slope[other, 2]
                if other == view or depth <= 0:
                    continue
                u = (start[other, 0] + distance * slope[other, 0]) / depth
                v = (start[other, 1] + distance * slope[other, 1]) / depth
                # Beyond the written image the camera may still have seen the place: it has no say there.
                if not (0 <= u < width and 0 <= v < height):
                    continue
                row, column = int(v), int(u)
                if known[other, row, column] and not masks[other, row, column]:
                    agreed, denier = False, other
                    break
            if agreed:
                supported += 1
                break
    return supported / directions.shape[0]
