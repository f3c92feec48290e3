"""The gate: does every camera describe its pixels? Measured on what is about to be written, for every sample.

* ``mask_fraction``: share of a view's pixels that are animal.
* ``truncation``: how much of the silhouette's outline is cut by the image border or by the source frame's edge, in
  units of the square root of its area (0 = whole animal in view).
* ``view_hull_iou``: IoU of a silhouette with the reprojected visual hull of the other silhouettes.
* ``epipolar_px``: root-mean-square distance, in pixels, of the silhouettes' centroids from the reprojection of their
  triangulated point. Centroids of different views are not images of one point, so a few pixels are normal.
* ``sharpness``, ``gain``, ``bias``: how a view looks beside the others (:mod:`mouse_facelift.samples.photometry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import triangulate
from mouse_facelift.samples.hull import hull_agreement
from mouse_facelift.samples.photometry import measure_photometry
from mouse_facelift.samples.schema import Agreement

# Alpha above this is animal rather than not.
_HALF = 127
_NEIGHBOURS = np.ones((3, 3), np.uint8)


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
    min_sharpness: float | None = None
    """Least sharpness of any view (1: white noise, 0: smooth shading); none: measured, never a reason."""
    max_gain: float | None = None
    """Largest factor between a view's contrast and the others', either way; none: measured, never a reason."""
    max_bias: float | None = None
    """Largest offset of a view's brightness from the others', as a share of full white; none: never a reason."""

    def __post_init__(self) -> None:
        if self.max_gain is not None and self.max_gain < 1:
            raise InputError(f"gate: max-gain {self.max_gain} is a factor either way and must be at least 1")


def measure(
    images: UInt8[np.ndarray, "v s s 4"], known: Bool[np.ndarray, "v s s"], cameras: Sequence[Camera]
) -> Agreement:
    """Measure a sample. ``known`` marks the pixels that the source frames cover.

    Where a view is empty there is no hull and no common point: zeros and nan.
    """
    masks = np.stack([_solid(image) for image in images])
    boxed = [BoxedMask.of(mask) for mask in masks]
    areas = np.array([mask.area for mask in boxed])
    fractions = areas.astype(np.float32) / np.float32(masks[0].size)
    truncations = np.array([_truncation(m, k) for m, k in zip(boxed, known, strict=True)], np.float32)
    hull, epipolar = np.zeros(len(cameras), np.float32), float("nan")
    if fractions.all():
        hull = hull_agreement(masks, known, boxed, cameras, _ball_radius(boxed, cameras))
        epipolar = _epipolar_residual(np.stack([mask.centroid for mask in boxed]), cameras)
    look = measure_photometry(images, boxed)
    return Agreement(fractions, truncations, hull, epipolar, look.sharpness, look.gain, look.bias)


def reasons(
    agreement: Agreement, images: UInt8[np.ndarray, "v s s 4"], cameras: Sequence[Camera], config: GateConfig
) -> list[str]:
    """Why a sample cannot be used; empty when it can."""
    found = []
    for view, camera in enumerate(cameras):
        fraction, truncation = agreement.mask_fraction[view], agreement.truncation[view]
        if fraction < config.min_mask_fraction:
            found.append(f"view {camera.name}: no animal to speak of (covers {fraction:.2%})")
        if truncation > config.max_truncation:
            found.append(f"view {camera.name}: animal cut by the frame (truncation {truncation:.2f})")
        origin = camera.project(np.zeros(3)) if camera.t[2] > 0 else np.full(2, -1.0)
        if not camera.contains(origin):
            found.append(f"view {camera.name}: the animal's centre is not in front of and inside the view")
        found += _looks_wrong(agreement, view, camera.name, config)
    if found:
        return found
    if agreement.hull_iou < config.min_hull_iou:
        found.append(f"silhouettes disagree (hull IoU {agreement.hull_iou:.2f})")
    # Nothing has an extent below the root of its area; only where that does not settle it, one has to look.
    extent = float(np.sqrt(agreement.mask_fraction.max() * images[0, ..., 0].size))
    if agreement.epipolar_px > config.max_epipolar * extent:
        extent = max(max(cv2.boundingRect(_solid(image).view(np.uint8))[2:]) for image in images)
    if agreement.epipolar_px > config.max_epipolar * extent:
        found.append(f"silhouette centres disagree ({agreement.epipolar_px:.1f} px)")
    return found


def _looks_wrong(agreement: Agreement, view: int, name: str, config: GateConfig) -> list[str]:
    """A view's photometric reasons; a number that could not be measured (nan) is none."""
    sharpness, gain, bias = agreement.sharpness[view], agreement.gain[view], agreement.bias[view]
    found = []
    if config.min_sharpness is not None and sharpness < config.min_sharpness:
        found.append(f"view {name}: blurred (sharpness {sharpness:.3f})")
    if config.max_gain is not None and (gain > config.max_gain or gain < 1 / config.max_gain):
        found.append(f"view {name}: contrast unlike the other views' (gain {gain:.2f})")
    if config.max_bias is not None and abs(bias) > config.max_bias:
        found.append(f"view {name}: brightness unlike the other views' (bias {bias:+.3f})")
    return found


def _solid(image: UInt8[np.ndarray, "s s 4"]) -> Bool[np.ndarray, "s s"]:
    """Which pixels of a view are animal rather than not."""
    alpha = cv2.extractChannel(image, 3)
    return cv2.threshold(alpha, _HALF, 1, cv2.THRESH_BINARY)[1].view(bool)


def _truncation(mask: BoxedMask, known: Bool[np.ndarray, "s s"]) -> float:
    """Silhouette pixels that touch the image border or unknown pixels, over the square root of its area."""
    if not mask:
        return 0.0
    # With a pixel's margin around the animal, its own pixels lie on the border of this part only at the image's border.
    rows, columns = (
        slice(max(span.start - 1, 0), min(span.stop + 1, size))
        for span, size in zip((mask.rows, mask.columns), known.shape, strict=True)
    )
    inner = cv2.erode(known[rows, columns].view(np.uint8), _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    cut = np.count_nonzero(mask.within(rows, columns) & (inner == 0))
    return cut / float(np.sqrt(mask.area))


def _ball_radius(masks: Sequence[BoxedMask], cameras: Sequence[Camera]) -> float:
    """Radius about the origin of a ball that holds everything the silhouettes show."""
    radii = []
    for mask, camera in zip(masks, cameras, strict=True):
        across = mask.edges() + 0.5 - camera.K[:2, 2]
        offset = np.sqrt(np.einsum("nk,nk->n", across, across).max())
        radii.append(offset / camera.K[0, 0] * np.linalg.norm(camera.centre))
    return 1.1 * float(max(radii))


def _epipolar_residual(centroids: Float[np.ndarray, "v 2"], cameras: Sequence[Camera]) -> float:
    directions = np.stack([c.rays(p) for c, p in zip(cameras, centroids, strict=True)])
    point = triangulate(np.stack([c.centre for c in cameras]), directions).point
    residuals = [np.sum((c.project(point) - p) ** 2) for c, p in zip(cameras, centroids, strict=True)]
    return float(np.sqrt(np.mean(residuals)))
