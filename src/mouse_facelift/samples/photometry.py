"""How a view looks beside the others: sharpness, and gain and bias of its brightness.

Every camera sees another side of the animal, so pixels cannot be compared; the distributions of the animal's luminance
can. A view's quantiles are fitted as ``gain * q + bias``, q being the median of the other views' quantiles: haze (a
wall that mirrors the floor) lifts the bias and lowers the gain, exposure moves the gain alone. The numbers of one
sample hold the animal's own pattern too; the medians over a dataset tell cameras apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from mouse_facelift.capture.boxed_mask import BoxedMask

# Quantiles compared: highlights and the last fringe of the background lie outside.
QUANTILES = np.linspace(0.05, 0.95, 37)
# Pixels at the silhouette's edge mix with the background; they are left out.
_EDGE = np.ones((5, 5), np.uint8)
# Fewer pixels than this say nothing about a view.
MIN_PIXELS = 64
# Variance of the response of OpenCV's 3 x 3 Laplacian (1, 1, 1, 1, -4) to white noise of unit variance.
_NOISE_RESPONSE = 20.0


@dataclass(frozen=True)
class Photometry:
    """A sample's numbers per view; nan where a view or the others show too little to tell.

    Attributes:
        sharpness: Variance of the Laplacian of the animal's luminance over the variance of the luminance itself, in
            units of what white noise gives: 1 for noise, near 0 for smooth shading; independent of gain and bias.
        gain, bias: Of a view's luminance against the other views; the bias in units of full white.
    """

    sharpness: Float32[np.ndarray, " v"]
    gain: Float32[np.ndarray, " v"]
    bias: Float32[np.ndarray, " v"]


def measure_photometry(images: UInt8[np.ndarray, "v s s 4"], masks: Sequence[BoxedMask]) -> Photometry:
    """Measure a sample's views inside their silhouettes."""
    measured = [_view_statistics(image, mask) for image, mask in zip(images, masks, strict=True)]
    gain, bias = fit_brightness(np.stack([quantiles for _, quantiles in measured]))
    return Photometry(np.array([sharpness for sharpness, _ in measured], np.float32), gain, bias)


def fit_brightness(
    quantiles: Float[np.ndarray, "v q"],
) -> tuple[Float32[np.ndarray, " v"], Float32[np.ndarray, " v"]]:
    """(gain, bias) of every view's quantiles against the median of the other views'; rows of nan have no say.

    The line is the reduced major axis (equal means and standard deviations): unlike least squares it treats both sides
    alike, so noise in the reference does not pull the gain towards 0.
    """
    seen = ~np.isnan(quantiles).any(axis=1)
    gain, bias = np.full((2, len(quantiles)), np.nan, np.float32)
    for view in np.flatnonzero(seen):
        others = seen & (np.arange(len(quantiles)) != view)
        if not others.any():
            continue
        reference = np.median(quantiles[others], axis=0)
        if reference.std() > 0:
            gain[view] = quantiles[view].std() / reference.std()
            bias[view] = quantiles[view].mean() - gain[view] * reference.mean()
    return gain, bias


def _view_statistics(image: UInt8[np.ndarray, "s s 4"], mask: BoxedMask) -> tuple[float, Float[np.ndarray, " q"]]:
    """(sharpness, luminance quantiles in [0, 1]) of a view; works on the silhouette's bounding box only."""
    nothing = float("nan"), np.full(len(QUANTILES), np.nan)
    if not mask:
        return nothing
    inside = cv2.erode(mask.inside.view(np.uint8), _EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    grey = cv2.cvtColor(image[mask.rows, mask.columns], cv2.COLOR_RGBA2GRAY)
    counts = cv2.calcHist([grey], [0], inside, [256], [0, 256]).ravel()
    pixels = float(counts.sum())
    if pixels < MIN_PIXELS:
        return nothing
    levels = np.arange(256)
    mean = float(counts @ levels) / pixels
    variance = float(counts @ (levels - mean) ** 2) / pixels
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S), mask=inside)
    sharpness = float(deviation[0, 0]) ** 2 / (_NOISE_RESPONSE * variance) if variance > 0 else float("nan")
    return sharpness, _histogram_quantiles(counts) / 255


def _histogram_quantiles(counts: Float32[np.ndarray, "256"]) -> Float[np.ndarray, " q"]:
    """Quantiles in grey levels. A level's pixels spread evenly over it, so that 8-bit rounding makes no stairs and an
    even shade still has the spread of its rounding.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    # Levels without pixels make the cumulative count flat, where its inverse is not a function.
    rising = np.concatenate([[True], np.diff(cumulative) > 0])
    edges = np.arange(257) - 0.5
    first = int(np.flatnonzero(rising[1:])[0])
    edges, cumulative = np.append(edges[first], edges[1:][rising[1:]]), np.append(0.0, cumulative[1:][rising[1:]])
    return np.interp(QUANTILES * cumulative[-1], cumulative, edges)
