"""Cut-outs against a known background: one solid animal, a soft edge, and colours without the background in them.

At an edge a pixel is ``p = a f + (1 - a) b``. With the background ``b`` known and the animal's colour ``f`` taken from
its nearest inner pixel, ``a`` is the position of ``p`` between the two; the part of ``b`` is then taken out again.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# Squared distance of two colours (in [0, 1]) below which a pixel's place between them is noise.
_LEAST_CONTRAST = 0.01
# Below this share of the animal a pixel's own colour is mostly noise; it takes the nearest inner pixel's.
_LEAST_ALPHA = 0.25
_NEIGHBOURS = np.ones((3, 3), np.uint8)


def one_animal(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest connected part of a mask, its holes filled; nothing of nothing."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros_like(mask)
    largest = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    # Holes are what no path along edges joins to the border: a frame of ones collects all that touches it.
    outside = cv2.copyMakeBorder((~largest).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    parts = cv2.connectedComponents(outside, connectivity=4)[1]
    return parts[1:-1, 1:-1] != parts[0, 0]


def beside(solid: Bool[np.ndarray, "h w"], band: int = 1) -> Bool[np.ndarray, "h w"]:
    """A mask and so many pixels about it, all that an animal with a soft edge may show in."""
    return cv2.dilate(solid.astype(np.uint8), _NEIGHBOURS, iterations=band).astype(bool)


def soft_cutout(
    colours: Float[np.ndarray, "h w 3"],
    background: Float[np.ndarray, "h w 3"],
    solid: Bool[np.ndarray, "h w"],
    band: int = 1,
) -> UInt8[np.ndarray, "h w 4"]:
    """A straight-alpha picture of a mask's animal.

    Args:
        colours: The picture, in [0, 1].
        background: What lies, or would lie, behind the animal at every pixel.
        solid: The animal.
        band: Pixels on either side of the mask's outline in which it may be part animal, part background.

    Returns:
        Alpha is 1 inside, 0 outside and in between where a pixel is a mixture; colours are the animal's alone.
    """
    if not solid.any():
        return np.zeros((*solid.shape, 4), np.uint8)
    inner = _inner(solid, band)
    reach = beside(solid, band)
    own = _nearest_colours(colours, inner)
    contrast = own - background
    length = np.einsum("hwc,hwc->hw", contrast, contrast)
    along = np.einsum("hwc,hwc->hw", colours - background, contrast) / np.maximum(length, _LEAST_CONTRAST)
    alpha = np.where(length < _LEAST_CONTRAST, solid, np.clip(along, 0, 1))
    alpha = np.where(inner, 1.0, np.where(reach, alpha, 0.0))
    unmixed = (colours - (1 - alpha[..., None]) * background) / np.maximum(alpha, _LEAST_ALPHA)[..., None]
    shown = np.where(alpha[..., None] < _LEAST_ALPHA, own, np.clip(unmixed, 0, 1))
    # What is invisible has no colour: equal cut-outs are then equal bytes.
    shown[alpha == 0] = 0
    return np.rint(255 * np.concatenate([shown, alpha[..., None]], axis=-1)).astype(np.uint8)


def _inner(solid: Bool[np.ndarray, "h w"], band: int) -> Bool[np.ndarray, "h w"]:
    """The mask without its outline, and the ridge of what is too thin to have anything else, such as a tail."""
    depth = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 5)
    ridge = solid & (depth >= cv2.dilate(depth, _NEIGHBOURS))
    eroded = cv2.erode(solid.astype(np.uint8), _NEIGHBOURS, iterations=band, borderType=cv2.BORDER_REPLICATE)
    return eroded.astype(bool) | ridge


def _nearest_colours(colours: Float[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """For every pixel the colour of the nearest one of ``where``."""
    zero_there = (~where).astype(np.uint8)
    labels = cv2.distanceTransformWithLabels(zero_there, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1].astype(int)
    palette = np.zeros((int(labels.max()) + 1, 3), colours.dtype)
    palette[labels[where]] = colours[where]
    return palette[labels]
