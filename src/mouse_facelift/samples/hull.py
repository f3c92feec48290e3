"""Visual hulls: what all silhouettes agree on.

A point is in the hull when every view sees it inside the silhouette. A view that does not cover the point (it lies
outside the source frame) has no say. The hull's reprojection into a view is never larger than the silhouette, so its
IoU with the silhouette is the share of silhouette pixels whose ray meets the hull; that share is computed by marching
along the rays, which needs no voxel grid and has no voxel error.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mouse_facelift.cameras import Camera, stack_cameras

# Values of a silhouette image.
OUTSIDE, INSIDE, UNKNOWN = 0, 1, 2
# Rays sampled per view: the standard error of a share p is sqrt(p (1 - p) / 256) <= 0.014 for p >= 0.95.
_RAYS_PER_VIEW = 256
# Two frames that cover a point still leave a long wedge of space that no third denies.
_COVERING_VIEWS = 3


def silhouette_images(masks: Bool[np.ndarray, "v h w"], known: Bool[np.ndarray, "v h w"]) -> UInt8[np.ndarray, "v h w"]:
    """Masks and coverage as OUTSIDE / INSIDE / UNKNOWN per pixel."""
    silhouettes = masks.astype(np.uint8)
    silhouettes[~(masks | known)] = UNKNOWN
    return silhouettes


def hull_agreement(
    silhouettes: UInt8[np.ndarray, "v h w"], cameras: Sequence[Camera], radius: float
) -> Float32[np.ndarray, "v"]:
    """IoU of each silhouette with the reprojected visual hull of the others.

    Args:
        silhouettes: From :func:`silhouette_images`.
        cameras: Pinholes of these images, in a world with the object at the origin.
        radius: Radius about the origin, in world units, of the ball the object lies in.

    Returns:
        Per view, the share of silhouette pixels supported by the hull; 0 for an empty silhouette.
    """
    w2c, fxfycxcy = stack_cameras(cameras)
    shares = np.zeros(len(cameras), np.float32)
    for view, camera in enumerate(cameras):
        inside = cv2.findNonZero((silhouettes[view] == INSIDE).view(np.uint8))
        if inside is None:
            continue
        pick = np.linspace(0, len(inside) - 1, min(len(inside), _RAYS_PER_VIEW)).astype(np.int64)
        pixels = inside.reshape(-1, 2)[pick] + 0.5
        # Half a pixel per step at the object's distance: no silhouette detail is stepped over.
        step = 0.5 * np.linalg.norm(camera.centre) / camera.K[0, 0]
        shares[view] = _supported_share(
            silhouettes, w2c, fxfycxcy, view, camera.centre, camera.rays(pixels), radius, step
        )
    return shares


def hull_points(
    masks: Sequence[Bool[np.ndarray, "h w"]],
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
    axis = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    points = centre + half_width * np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    votes = np.zeros(len(points), np.int64)
    for mask, camera in zip(masks, cameras, strict=True):
        pixels = camera.pixels_from_plane(_image_plane(points, camera.R, camera.t))
        keep, covered = _look_up(pixels, mask)
        points, votes = points[keep], (votes + covered)[keep]
    return points[votes >= min(_COVERING_VIEWS, len(masks))]


@numba.njit(cache=True, nogil=True)
def _image_plane(
    points: Float[np.ndarray, "n 3"], R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 2"]:  # pragma: no cover - compiled
    """Ideal image-plane coordinates of points; nan for those that are not ahead."""
    plane = np.empty((len(points), 2))
    for i in range(len(points)):
        x, y, z = points[i]
        depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        if depth > 0:
            plane[i, 0] = (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / depth
            plane[i, 1] = (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / depth
        else:
            plane[i] = np.nan
    return plane


@numba.njit(cache=True, nogil=True)
def _look_up(
    pixels: Float[np.ndarray, "n 2"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:  # pragma: no cover - compiled
    """Which pixels a mask does not deny, and which its frame covers."""
    height, width = mask.shape
    keep, covered = np.ones(len(pixels), np.bool_), np.zeros(len(pixels), np.bool_)
    for i in range(len(pixels)):
        u, v = pixels[i]
        if 0 <= u < width and 0 <= v < height:
            covered[i], keep[i] = True, mask[int(v), int(u)]
    return keep, covered


@numba.njit(cache=True, nogil=True)
def _supported_share(
    silhouettes: Float[np.ndarray, "v h w"],
    w2c: Float[np.ndarray, "v 4 4"],
    fxfycxcy: Float[np.ndarray, "v 4"],
    view: int,
    origin: Float[np.ndarray, "3"],
    directions: Float[np.ndarray, "n 3"],
    radius: float,
    step: float,
) -> float:  # pragma: no cover - compiled
    views, height, width = silhouettes.shape
    supported = 0
    for ray in range(directions.shape[0]):
        direction = directions[ray]
        # The stretch of the ray inside the ball of the given radius about the origin.
        middle = -(origin[0] * direction[0] + origin[1] * direction[1] + origin[2] * direction[2])
        half = radius * radius - (
            origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - middle * middle
        )
        if half <= 0:
            continue
        half = np.sqrt(half)
        distance = middle - half
        while distance <= middle + half:
            x = origin[0] + distance * direction[0]
            y = origin[1] + distance * direction[1]
            z = origin[2] + distance * direction[2]
            distance += step
            agreed = True
            for other in range(views):
                if other == view:
                    continue
                pose = w2c[other]
                depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
                if depth <= 0:
                    continue
                fx, fy, cx, cy = fxfycxcy[other]
                u = fx * (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]) / depth + cx
                v = fy * (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]) / depth + cy
                column, row = int(np.floor(u)), int(np.floor(v))
                # Beyond the written image the camera may still have seen the place: it has no say there.
                if 0 <= column < width and 0 <= row < height and silhouettes[other, row, column] == OUTSIDE:
                    agreed = False
                    break
            if agreed:
                supported += 1
                break
    return supported / directions.shape[0]
