"""Pictures of other sizes and scales, each with its camera: one resampling, premultiplied, corners as origin."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError
from mouse_facelift.samples.reduction import reduced_sample
from mouse_facelift.samples.schema import Sample

_MARGIN = 0.03
"""Share of a picture's side that stays free around the animal, as far as its scale is ours to choose."""


def framed(
    cutout: UInt8[np.ndarray, "h w 4"], size: int, extent: float, margin: float = _MARGIN
) -> UInt8[np.ndarray, "s s 4"]:
    """An animal as large and as central as a generator knows it.

    A generator's training views are aimed at the animal's centre; here its silhouette's centroid goes to the middle. It
    is scaled until it covers ``extent ** 2`` of the picture, or less where it would not fit.

    Args:
        cutout: The animal on nothing, straight alpha.
        size: Side of the wanted picture (pixels).
        extent: Root of the share of the picture that the animal is to cover.
        margin: Share of the side that stays free.
    """
    alpha = cutout[..., 3].astype(np.float64) / 255
    total = alpha.sum()
    rows, columns = np.nonzero(alpha > 0.02)
    middle = (
        np.array(
            [
                alpha.sum(axis=0) @ (np.arange(alpha.shape[1]) + 0.5),
                alpha.sum(axis=1) @ (np.arange(alpha.shape[0]) + 0.5),
            ]
        )
        / total
    )
    reach = max(
        columns.max() + 1 - middle[0], middle[0] - columns.min(), rows.max() + 1 - middle[1], middle[1] - rows.min()
    )
    scale = min(extent * size / np.sqrt(total), (0.5 - margin) * size / reach)
    return placed(cutout, scale, middle, size, np.array([size / 2, size / 2]))


def as_seen_by(image: UInt8[np.ndarray, "s s 4"], camera: Camera, wanted: Camera) -> UInt8[np.ndarray, "t t 4"]:
    """A view of an animal at the origin, as large as a camera at another distance would show it.

    Both cameras look at the origin. The pictures are the same up to scale but for perspective within the animal, which
    another distance changes and no resampling can.
    """
    scale = (wanted.K[0, 0] / np.linalg.norm(wanted.centre)) / (camera.K[0, 0] / np.linalg.norm(camera.centre))
    return placed(image, float(scale), camera.K[:2, 2], wanted.width, wanted.K[:2, 2])


def placed(
    image: UInt8[np.ndarray, "h w 4"],
    scale: float,
    point: Float[np.ndarray, "2"],
    size: int,
    target: Float[np.ndarray, "2"],
) -> UInt8[np.ndarray, "s s 4"]:
    """An image scaled about a point, which comes to lie at ``target`` of a transparent square.

    Averages when it makes smaller, interpolates when it makes larger; copies when there is nothing to do.

    Args:
        image: Straight alpha.
        scale: Pixels of the result per pixel of the image.
        point, target: Pixels, corner origin.
        size: Side of the result (pixels).
    """
    if scale == 1 and image.shape[:2] == (size, size) and np.array_equal(point, target):
        return image
    values = image.astype(np.float32) / 255
    values[..., :3] *= values[..., 3:]
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    across = scale * image.shape[1] / values.shape[1]
    down = scale * image.shape[0] / values.shape[0]
    # x' = s x + t between corners is s x + t + (s - 1) / 2 between the centres that OpenCV counts from.
    shift = target - scale * np.asarray(point)
    matrix = np.array([[across, 0, shift[0] + (across - 1) / 2], [0, down, shift[1] + (down - 1) / 2]])
    moved = cv2.warpAffine(values, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return _straight(moved)


def with_image_size(sample: Sample, size: int) -> Sample:
    """A sample with images of another size, their cameras resized with them.

    Whole factors are averaged exactly (:mod:`mouse_facelift.samples.reduction`); others are resampled.
    """
    side = sample.images.shape[1]
    if side == size:
        return sample
    if side % size == 0:
        return reduced_sample(sample, side // size)
    half = np.array([side / 2, side / 2])
    images = [placed(image, size / side, half, size, half * size / side) for image in sample.images]
    return replace(sample, images=np.stack(images), cameras=tuple(c.resized(size, size) for c in sample.cameras))


def spanning(sample: Sample, factor: float) -> Sample:
    """A sample whose views span about ``factor`` times as much: a margin is added or cut off, pixels stay as they are.

    Exact: only sizes and principal points change. The factor is met to a pixel on either side.

    Raises:
        InputError: What would be cut off shows the animal.
    """
    side = sample.images.shape[1]
    border = round(side * (factor - 1) / 2)
    if border == 0:
        return sample
    if border > 0:
        images = np.pad(sample.images, ((0, 0), (border, border), (border, border), (0, 0)))
    else:
        inner = slice(-border, side + border)
        rest = sample.images[..., 3].copy()
        rest[:, inner, inner] = 0
        if (rest > 127).any():
            raise InputError(
                f"{sample.sample_id}: its views are {1 / factor:.2f} times as wide as those the GS-LRM was trained "
                "on, and the animal is too large to cut them; use models of datasets of one --zoom"
            )
        images = sample.images[:, inner, inner]
    cameras = []
    for camera in sample.cameras:
        K = camera.K.copy()
        K[:2, 2] += border
        cameras.append(replace(camera, width=side + 2 * border, height=side + 2 * border, K=K))
    return replace(sample, images=images, cameras=tuple(cameras))


def _straight(premultiplied: Float[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
    alpha = np.clip(premultiplied[..., 3:], 0, 1)
    colour = premultiplied[..., :3] / np.maximum(alpha, 1e-6)
    return np.rint(255 * np.clip(np.concatenate([colour * (alpha > 0), alpha], axis=-1), 0, 1)).astype(np.uint8)
