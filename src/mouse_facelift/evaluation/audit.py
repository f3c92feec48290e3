"""The audit: do the cameras that a recipe writes describe the pictures that it writes?

Known 3-D points are projected into the source views, moved by what the recipe does to the pictures, and a 3-D point is
fitted to them through the cameras that the recipe writes. Where pictures and cameras belong together it fits exactly;
what remains otherwise no rigid scene can remove, at any learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_RADIUS
from mouse_facelift.samples.legacy import LEGACY_SIZE, RECIPES, LegacyViews, Silhouette, undistorted
from mouse_facelift.samples.normalise import homography, normalised_camera

EXACT = "exact"
_ITERATIONS = 30
# Lowest and highest damping of the fit, relative to the curvature's diagonal.
_DAMPING = (1e-9, 1e6)


@dataclass(frozen=True)
class AuditFrame:
    """One frame: known points of the animal (mm), its silhouettes and its 3-D centre (mm)."""

    points: Float[np.ndarray, "n 3"]
    silhouettes: tuple[Silhouette, ...]
    centre: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Disagreement:
    """What cannot be fitted, over all points of all frames, at 512 px: medians and the 95th percentile."""

    title: str
    rms_px: float
    rms_px_p95: float
    miss_mm: float
    points: int


def audit(frames: Sequence[AuditFrame], cameras: Sequence[Camera]) -> dict[str, Disagreement]:
    """Every recipe on the same frames; :data:`EXACT` - this project's normalisation - comes first.

    Args:
        frames: At least one, with at least one point between them.
        cameras: The recording's cameras (mm); lens distortion is taken out first, as the recipes did.
    """
    pinholes = [undistorted(camera) for camera in cameras]
    distances = [np.linalg.norm(camera.centre - frame.centre) for frame in frames for camera in pinholes]
    scale = FACELIFT_RADIUS / float(np.mean(distances))
    exact = [exact_views(frame.centre, pinholes, scale) for frame in frames]
    found = {EXACT: _measure("one rotation per view, written into its camera", frames, pinholes, exact)}
    for name, recipe in RECIPES.items():
        made = [recipe.method(frame.silhouettes, pinholes) for frame in frames]
        found[name] = _measure(recipe.title, frames, pinholes, made)
    return found


def audit_lines(found: Mapping[str, Disagreement]) -> list[str]:
    """The audit for a terminal."""
    lines = [f"{'recipe':<30}{'RMS px':>8}{'p95':>8}{'miss mm':>9}"]
    return lines + [
        f"{name:<30}{d.rms_px:>8.2f}{d.rms_px_p95:>8.2f}{d.miss_mm:>9.2f}  {d.title}" for name, d in found.items()
    ]


def exact_views(
    centre: Float[np.ndarray, "3"], cameras: Sequence[Camera], scale: float, zoom: float = 1.0
) -> LegacyViews:
    """This project's normalisation of pinhole cameras in the recipes' terms: matrices and written cameras at 512 px."""
    targets = tuple(normalised_camera(camera, centre, scale, LEGACY_SIZE, zoom) for camera in cameras)
    matrices = tuple(homography(camera, target) for camera, target in zip(cameras, targets, strict=True))
    return LegacyViews(matrices, targets, 1 / scale)


def point_residuals(
    points: Float[np.ndarray, "n 3"], sources: Sequence[Camera], made: LegacyViews
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """What remains, per point, after the best fit through the written cameras.

    Returns:
        Root-mean-square over views of the reprojection error in pixels, and of the rays' distance in millimetres.
    """
    pixels = np.stack(
        [_moved(source.project(points), matrix) for source, matrix in zip(sources, made.matrices, strict=True)], axis=1
    )
    fitted, squared = fit_points(pixels, made.cameras)
    origins = np.stack([c.centre for c in made.cameras])
    rays = np.stack([c.rays(pixels[:, v]) for v, c in enumerate(made.cameras)], axis=1)
    misses = np.linalg.norm(np.cross(rays, fitted[:, None] - origins), axis=-1)
    return np.sqrt(squared), np.sqrt((misses**2).mean(axis=1)) * made.mm_per_unit


def fit_points(
    pixels: Float[np.ndarray, "n v 2"], cameras: Sequence[Camera]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """3-D points with the least squared reprojection error through pinhole cameras (damped Gauss-Newton).

    Returns:
        The points, and per point the mean over views of the squared pixel error.
    """
    points = _nearest_to_rays(pixels, cameras)
    errors, jacobian = _reprojection(points, pixels, cameras)
    cost = (errors**2).sum(axis=(1, 2))
    damping = np.full(len(points), 1e-3)
    for _ in range(_ITERATIONS):
        normal = np.einsum("nvij,nvik->njk", jacobian, jacobian)
        gradient = np.einsum("nvij,nvi->nj", jacobian, errors)
        damped = normal + damping[:, None, None] * np.eye(3) * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 3
        trial = points - np.linalg.solve(damped, gradient[..., None])[..., 0]
        trial_errors, trial_jacobian = _reprojection(trial, pixels, cameras)
        trial_cost = (trial_errors**2).sum(axis=(1, 2))
        better = trial_cost < cost
        points[better], errors[better], jacobian[better] = trial[better], trial_errors[better], trial_jacobian[better]
        cost[better] = trial_cost[better]
        damping = np.clip(np.where(better, damping / 10, damping * 10), *_DAMPING)
    return points, cost / len(cameras)


def _measure(
    title: str, frames: Sequence[AuditFrame], sources: Sequence[Camera], made: Sequence[LegacyViews]
) -> Disagreement:
    residuals = [point_residuals(f.points, sources, views) for f, views in zip(frames, made, strict=True)]
    pixels, misses = (np.concatenate(values) for values in zip(*residuals, strict=True))
    return Disagreement(
        title,
        float(np.median(pixels)),
        float(np.quantile(pixels, 0.95)),
        float(np.median(misses)),
        len(pixels),
    )


def _moved(pixels: Float[np.ndarray, "n 2"], matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n 2"]:
    moved = pixels @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def _nearest_to_rays(pixels: Float[np.ndarray, "n v 2"], cameras: Sequence[Camera]) -> Float[np.ndarray, "n 3"]:
    """Per point, where its rays come nearest to each other; the start of the fit."""
    rays = np.stack([camera.rays(pixels[:, v]) for v, camera in enumerate(cameras)], axis=1)
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    origins = np.stack([camera.centre for camera in cameras])
    return np.linalg.solve(across.sum(axis=1), np.einsum("nvij,vj->ni", across, origins)[..., None])[..., 0]


def _reprojection(
    points: Float[np.ndarray, "n 3"], pixels: Float[np.ndarray, "n v 2"], cameras: Sequence[Camera]
) -> tuple[Float[np.ndarray, "n v 2"], Float[np.ndarray, "n v 2 3"]]:
    """Reprojection errors and their derivatives; a point behind a camera has an infinite error there."""
    R, t, K = (np.stack([getattr(c, name) for c in cameras]) for name in ("R", "t", "K"))
    at = np.einsum("vij,nj->nvi", R, points) + t
    ahead = at[..., 2] > 1e-9
    depth = np.where(ahead, at[..., 2], 1.0)
    plane = at[..., :2] / depth[..., None]
    errors = np.einsum("vij,nvj->nvi", K[:, :2, :2], plane) + K[:, :2, 2] - pixels
    errors = np.where(ahead[..., None], errors, np.inf)
    slope = (R[:, :2] - plane[..., None] * R[:, 2:]) / depth[..., None, None]
    return errors, np.einsum("vij,nvjk->nvik", K[:, :2, :2], slope)
