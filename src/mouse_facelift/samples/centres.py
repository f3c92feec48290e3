"""The animal's 3-D centre: triangulated mask centroids, refined by a coarse visual hull, smoothed over time.

Never a 2-D shift per view. The centre need not be perfect for the geometry to be exact - normalisation is exact for
any centre - but it decides where the animal sits in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mouse_facelift.cameras import Camera
from mouse_facelift.samples.hull import hull_points


@dataclass(frozen=True)
class CentreConfig:
    """How centres are found."""

    hull_resolution: int = 40
    """Voxels along each side of the coarse visual hull."""
    smoothing_s: float = 0.02
    """Standard deviation, in seconds, of the Gaussian that smooths centres over time inside a segment; 0 for none."""
    outlier_ratio: float = 4.0
    """A view whose centroid ray misses the others' point this many times farther than they do is left out."""


@dataclass(frozen=True)
class Triangulation:
    """A point near several rays: ``misses`` is each ray's distance to it, ``used`` the rays that decided it."""

    point: Float[np.ndarray, "3"]
    misses: Float[np.ndarray, "v"]
    used: Bool[np.ndarray, "v"]


def triangulate(
    origins: Float[np.ndarray, "v 3"], directions: Float[np.ndarray, "v 3"], outlier_ratio: float = np.inf
) -> Triangulation:
    """The point with the least squared distance to rays; with four rays or more, one bad ray is recognised.

    Args:
        origins, directions: Rays; directions are unit vectors. At least two rays.
        outlier_ratio: Leave a ray out if it misses the point made by the others this many times farther than the
            worst of them does.
    """
    used = np.ones(len(origins), bool)
    if len(origins) >= 4 and np.isfinite(outlier_ratio):
        candidates = []
        for leave in range(len(origins)):
            rest = np.arange(len(origins)) != leave
            misses = _misses(_closest_point(origins[rest], directions[rest]), origins, directions)
            candidates.append((misses[leave] / max(misses[rest].max(), 1e-9), leave))
        ratio, worst = max(candidates)
        used[worst] = ratio <= outlier_ratio
    point = _closest_point(origins[used], directions[used])
    return Triangulation(point, _misses(point, origins, directions), used)


@dataclass(frozen=True)
class Centre:
    """The animal's centre in one frame, world units; ``disagreement`` is the worst view's miss over its size."""

    point: Float[np.ndarray, "3"]
    disagreement: float


def frame_centre(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    centroids: Float[np.ndarray, "v 2"],
    cameras: Sequence[Camera],
    config: CentreConfig,
) -> Centre | None:
    """The 3-D centre of one frame; None when fewer than two views see the animal.

    The hull's centroid is used where a hull exists; silhouettes that contradict each other everywhere leave the
    triangulated point, and the gate will say so.
    """
    seen = np.array([mask.any() for mask in masks])
    if seen.sum() < 2:
        return None
    seen_cameras = [c for c, s in zip(cameras, seen, strict=True) if s]
    seen_masks = [m for m, s in zip(masks, seen, strict=True) if s]
    origins = np.stack([c.centre for c in seen_cameras])
    directions = np.stack([c.rays(p) for c, p in zip(seen_cameras, centroids[seen], strict=True)])
    found = triangulate(origins, directions, config.outlier_ratio)
    views = [i for i in range(len(seen_cameras)) if found.used[i]]
    half_width = max(_reach(seen_masks[i], centroids[seen][i], seen_cameras[i], found.point) for i in views)
    inside = hull_points(
        [seen_masks[i] for i in views],
        [seen_cameras[i] for i in views],
        found.point,
        half_width,
        config.hull_resolution,
    )
    return Centre(inside.mean(axis=0) if len(inside) else found.point, float(found.misses.max() / half_width))


def smooth_centres(
    centres: Float[np.ndarray, "n 3"], times: Float[np.ndarray, "n"], deviation_s: float
) -> Float[np.ndarray, "n 3"]:
    """Gaussian-weighted mean over time of centres of *one* segment; frames farther than 3 deviations do not count."""
    if deviation_s <= 0:
        return centres.copy()
    smoothed = np.empty_like(centres)
    for i, time in enumerate(times):
        near = np.abs(times - time) <= 3 * deviation_s + 1e-9
        weights = np.exp(-0.5 * ((times[near] - time) / deviation_s) ** 2)
        smoothed[i] = weights @ centres[near] / weights.sum()
    return smoothed


def _closest_point(origins: Float[np.ndarray, "v 3"], directions: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "3"]:
    """Least-squares meeting point of rays: sum over rays of (I - d d^T)(x - o) = 0."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("vij,vj->i", across, origins), rcond=None)[0]


def _misses(
    point: Float[np.ndarray, "3"], origins: Float[np.ndarray, "v 3"], directions: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, "v"]:
    return np.linalg.norm(np.cross(directions, point - origins), axis=-1)


def _reach(
    mask: Bool[np.ndarray, "h w"], centroid: Float[np.ndarray, "2"], camera: Camera, point: Float[np.ndarray, "3"]
) -> float:
    """How far, in world units at the point's depth, the silhouette reaches from its centroid."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]])
    pixels = np.abs(box - centroid).max()
    return float(pixels * abs(camera.depth(point)) / camera.K[0, 0])
