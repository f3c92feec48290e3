"""The animal's 3-D centre: triangulated mask centroids, refined by a coarse visual hull, smoothed over time.

Never a 2-D shift per view. The centre need not be perfect for the geometry to be exact - normalisation is exact for
any centre - but it decides where the animal sits in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.errors import InputError
from mouse_facelift.samples.hull import hull_points_of
from mouse_facelift.samples.jumps import JumpConfig
from mouse_facelift.samples.track import HULL


@dataclass(frozen=True)
class CentreConfig:
    """How centres are found."""

    source: str = HULL
    """'hull' finds them from the silhouettes; otherwise a DANNCE com3d .mat or a .npy of (frames, 3) in mm, looked for
    in the recording's folder first."""
    hull_resolution: int = 40
    """Voxels along each side of the coarse visual hull."""
    smoothing_s: float = 0.02
    """Standard deviation, in seconds, of the Gaussian that smooths centres over time inside a segment; 0 for none."""
    outlier_ratio: float = 4.0
    """A view whose centroid ray misses the others' point this many times farther than they do is left out."""
    jumps: JumpConfig = field(default_factory=JumpConfig)
    """From when on the animal is reported to be suddenly elsewhere."""

    def __post_init__(self) -> None:
        if self.hull_resolution < 2 or not self.source:
            raise InputError("centre: hull-resolution must be at least 2 and source 'hull' or a file")


@dataclass(frozen=True)
class Triangulation:
    """A point near several rays: ``misses`` is each ray's distance to it, ``used`` the rays that decided it."""

    point: Float[np.ndarray, "3"]
    misses: Float[np.ndarray, " v"]
    used: Bool[np.ndarray, " v"]


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
    """The animal's centre in one frame.

    Attributes:
        point: The centre in world units.
        disagreement: How far the worst view's centroid ray misses the point, relative to ``half_width``.
        half_width: How far the silhouettes reach from their centroids, in world units at the point.
    """

    point: Float[np.ndarray, "3"]
    disagreement: float
    half_width: float


def frame_centre(
    masks: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    config: CentreConfig,
    given: Float[np.ndarray, "3"] | None = None,
) -> Centre | None:
    """The 3-D centre of one frame; None when fewer than two views see the animal.

    The hull's centroid is used where a hull exists; silhouettes that contradict each other everywhere leave the
    triangulated point, and the gate will say so. A view with an empty mask has no say, and one that contradicts at
    least three others is left out.

    Args:
        masks: Silhouettes in the source frames.
        cameras: Source cameras.
        config: See :class:`CentreConfig`.
        given: A centre that is known already; the silhouettes then only say how far it misses them.
    """
    found = _rough(masks, cameras, config)
    if found is None or given is not None:
        return None if found is None else _centre(found, given)
    views = found.views
    inside = hull_points_of(
        [masks[i] for i in views],
        [cameras[i] for i in views],
        found.meeting.point,
        found.half_width,
        config.hull_resolution,
    )
    rough = _centre(found)
    return Centre(inside.mean(axis=0), rough.disagreement, rough.half_width) if len(inside) else rough


def rough_centre(
    masks: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    config: CentreConfig,
) -> Centre | None:
    """:func:`frame_centre` without the hull: where the rays through the centroids meet."""
    found = _rough(masks, cameras, config)
    return None if found is None else _centre(found)


@dataclass(frozen=True)
class _Rough:
    """Where centroid rays meet: ``views`` are those that decided it."""

    origins: Float[np.ndarray, "s 3"]
    directions: Float[np.ndarray, "s 3"]
    meeting: Triangulation
    views: list[int]
    half_width: float


def _rough(
    masks: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    config: CentreConfig,
) -> _Rough | None:
    seen = [i for i, mask in enumerate(masks) if mask]
    if len(seen) < 2:
        return None
    origins = np.stack([cameras[i].centre for i in seen])
    directions = np.stack([cameras[i].rays(masks[i].centroid) for i in seen])
    meeting = triangulate(origins, directions, config.outlier_ratio)
    views = [i for i, used in zip(seen, meeting.used, strict=True) if used]
    half_width = max(_reach(masks[i], cameras[i], meeting.point) for i in views)
    return _Rough(origins, directions, meeting, views, half_width)


def _centre(found: _Rough, given: Float[np.ndarray, "3"] | None = None) -> Centre:
    """The meeting point, or another one, with how far the silhouettes miss it."""
    point = found.meeting.point if given is None else given
    misses = _misses(point, found.origins, found.directions)
    return Centre(point, float(misses.max() / found.half_width), found.half_width)


def smooth_centres(
    centres: Float[np.ndarray, "n 3"], times: Float[np.ndarray, " n"], deviation_s: float
) -> Float[np.ndarray, "n 3"]:
    """Gaussian-weighted mean over time of centres of *one* segment; frames farther than 3 deviations do not count.

    ``times`` increase.
    """
    if deviation_s <= 0:
        return centres.copy()
    smoothed = np.empty_like(centres)
    reach = 3 * deviation_s + 1e-9
    first, last = np.searchsorted(times, times - reach, "left"), np.searchsorted(times, times + reach, "right")
    for i, time in enumerate(times):
        near = slice(first[i], last[i])
        weights = np.exp(-0.5 * ((times[near] - time) / deviation_s) ** 2)
        smoothed[i] = weights @ centres[near] / weights.sum()
    return smoothed


def _closest_point(origins: Float[np.ndarray, "v 3"], directions: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "3"]:
    """Least-squares meeting point of rays: sum over rays of (I - d d^T)(x - o) = 0."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("vij,vj->i", across, origins), rcond=None)[0]


def _misses(
    point: Float[np.ndarray, "3"], origins: Float[np.ndarray, "v 3"], directions: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, " v"]:
    # np.cross takes ten times as long for so few.
    x, y, z = (point - origins).T
    u, v, w = directions.T
    return np.sqrt((v * z - w * y) ** 2 + (w * x - u * z) ** 2 + (u * y - v * x) ** 2)


def _reach(mask: BoxedMask, camera: Camera, point: Float[np.ndarray, "3"]) -> float:
    """How far, in world units at the point's depth, the silhouette reaches from its centroid."""
    box = np.array([[mask.columns.start, mask.rows.start], [mask.columns.stop, mask.rows.stop]])
    pixels = np.abs(box - mask.centroid).max()
    return float(pixels * abs(camera.depth(point)) / camera.K[0, 0])
