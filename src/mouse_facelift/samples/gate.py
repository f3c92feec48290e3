"""The gate: does every camera describe its pixels? Measured on what is about to be written, for every sample.

* ``mask_fraction``: share of a view's pixels that are animal.
* ``truncation``: how much of the silhouette's outline is cut by the image border or by the source frame's edge, in
  units of the square root of its area (0 = whole animal in view).
* ``view_hull_iou``: IoU of a silhouette with the reprojected visual hull of the other silhouettes.
* ``epipolar_px``: root-mean-square distance, in pixels, of the silhouettes' centroids from the reprojection of their
  triangulated point. Centroids of different views are not images of one point, so a few pixels are normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.samples.centres import triangulate
from mouse_facelift.samples.hull import hull_agreement, silhouette_images
from mouse_facelift.samples.schema import Agreement


@dataclass(frozen=True)
class GateConfig:
    """Thresholds; a sample beyond any of them goes to the rejected table with its numbers."""

    min_mask_fraction: float = 2e-4
    """Least share of animal pixels in every view."""
    min_hull_iou: float = 0.75
    """Least mean IoU of silhouettes with the visual hull reprojected into them."""
    max_epipolar: float = 0.1
    """Largest RMS centroid residual, as a share of the animal's largest extent in the image."""
    max_truncation: float = 1.5
    """Largest truncation of any view (a cut through the middle of a body is about 0.5 to 1)."""


def measure(
    images: UInt8[np.ndarray, "v s s 4"], known: Bool[np.ndarray, "v s s"], cameras: Sequence[Camera]
) -> Agreement:
    """Measure a sample. ``known`` marks the pixels that the source frames cover. Empty views give zeros and nan."""
    masks = images[..., 3] > 127
    fractions = masks.mean(axis=(1, 2), dtype=np.float32)
    if not masks.any(axis=(1, 2)).all():
        empty = np.zeros(len(cameras), np.float32)
        return Agreement(fractions, empty, empty, float("nan"))
    truncations = np.array([_truncation(m, k) for m, k in zip(masks, known, strict=True)], np.float32)
    hull = hull_agreement(silhouette_images(masks, known), cameras, _ball_radius(masks, cameras))
    return Agreement(fractions, truncations, hull, _epipolar_residual(masks, cameras))


def reasons(
    agreement: Agreement, images: UInt8[np.ndarray, "v s s 4"], cameras: Sequence[Camera], config: GateConfig
) -> list[str]:
    """Why a sample cannot be used; empty when it can."""
    found = []
    for camera, fraction, truncation in zip(cameras, agreement.mask_fraction, agreement.truncation, strict=True):
        if fraction < config.min_mask_fraction:
            found.append(f"view {camera.name}: no animal to speak of (covers {fraction:.2%})")
        if truncation > config.max_truncation:
            found.append(f"view {camera.name}: animal cut by the frame (truncation {truncation:.2f})")
        origin = camera.project(np.zeros(3)) if camera.t[2] > 0 else np.full(2, -1.0)
        if not camera.contains(origin):
            found.append(f"view {camera.name}: the animal's centre is not in front of and inside the view")
    if found:
        return found
    if agreement.hull_iou < config.min_hull_iou:
        found.append(f"silhouettes disagree (hull IoU {agreement.hull_iou:.2f})")
    extent = max(np.ptp(np.argwhere(image[..., 3] > 127), axis=0).max() for image in images)
    if agreement.epipolar_px > config.max_epipolar * max(extent, 1):
        found.append(f"silhouette centres disagree ({agreement.epipolar_px:.1f} px)")
    return found


def _truncation(mask: Bool[np.ndarray, "s s"], known: Bool[np.ndarray, "s s"]) -> float:
    """Silhouette pixels that touch the image border or unknown pixels, over the square root of its area."""
    inner = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    cut = np.count_nonzero(mask & (inner == 0))
    return cut / float(np.sqrt(mask.sum()))


def _ball_radius(masks: Bool[np.ndarray, "v s s"], cameras: Sequence[Camera]) -> float:
    """Radius about the origin of a ball that holds everything the silhouettes show."""
    radii = []
    for mask, camera in zip(masks, cameras, strict=True):
        rows, columns = np.nonzero(mask)
        offset = np.hypot(columns + 0.5 - camera.K[0, 2], rows + 0.5 - camera.K[1, 2]).max()
        radii.append(offset / camera.K[0, 0] * np.linalg.norm(camera.centre))
    return 1.1 * float(max(radii))


def _centroid(mask: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "2"]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def _epipolar_residual(masks: Bool[np.ndarray, "v s s"], cameras: Sequence[Camera]) -> float:
    pixels = np.stack([_centroid(mask) for mask in masks])
    directions = np.stack([c.rays(p) for c, p in zip(cameras, pixels, strict=True)])
    point = triangulate(np.stack([c.centre for c in cameras]), directions).point
    residuals = [np.sum((c.project(point) - p) ** 2) for c, p in zip(cameras, pixels, strict=True)]
    return float(np.sqrt(np.mean(residuals)))
