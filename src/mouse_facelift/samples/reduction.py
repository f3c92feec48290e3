"""Smaller images of a sample, exactly: whole blocks of pixels are averaged and the intrinsics divided.

With the origin at the image's corner, dividing the four intrinsics by the block's side is all that happens to the
camera; colours are averaged premultiplied, so that what lies behind transparent pixels does not bleed in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, UInt8

from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import Sample


def reduction_factor(side: int, wanted: int, name: str) -> int:
    """Pixels of an image per pixel of the reduced one, along a side; 1 for an image that is not larger than wanted.

    Args:
        side: the stored image's side (pixels).
        wanted: the largest side wanted (pixels).
        name: whose image it is, for the message.

    Raises:
        InputError: the image is larger, but not by a whole factor.
    """
    if side <= wanted:
        return 1
    if side % wanted:
        raise InputError(
            f"{name} has images of {side} px, which cannot be averaged down to {wanted} px by a whole factor; "
            "preprocess with another --image-size, or train at a size that divides it"
        )
    return side // wanted


def reduced_images(images: UInt8[np.ndarray, "v h w 4"], factor: int) -> UInt8[np.ndarray, "v h2 w2 4"]:
    """Straight-alpha images with every `factor` x `factor` block averaged; sides must be multiples of `factor`."""
    if factor == 1:
        return images
    views, height, width, _ = images.shape
    blocks = images.reshape(views, height // factor, factor, width // factor, factor, 4).astype(np.float32)
    alpha = blocks[..., 3:]
    mean_alpha = alpha.mean(axis=(2, 4))
    colour = (blocks[..., :3] * alpha).mean(axis=(2, 4)) / np.maximum(mean_alpha, 1e-6)
    return np.rint(np.concatenate([colour, mean_alpha], axis=-1)).astype(np.uint8)


def reduced_intrinsics(fxfycxcy: Float32[np.ndarray, "v 4"], factor: int) -> Float32[np.ndarray, "v 4"]:
    """Intrinsics of the reduced images."""
    return fxfycxcy / np.float32(factor)


def reduced_to(sample: Sample, wanted: int) -> Sample:
    """The sample with images of `wanted` pixels a side, or as it is where they are not larger than that.

    Raises:
        InputError: they are larger, but not by a whole factor.
    """
    return reduced_sample(sample, reduction_factor(sample.images.shape[1], wanted, f"sample {sample.sample_id}"))


def reduced_sample(sample: Sample, factor: int) -> Sample:
    """The sample at 1 / `factor` of its resolution."""
    if factor == 1:
        return sample
    images = reduced_images(sample.images, factor)
    height, width = images.shape[1:3]
    return replace(sample, images=images, cameras=tuple(c.resized(width, height) for c in sample.cameras))
