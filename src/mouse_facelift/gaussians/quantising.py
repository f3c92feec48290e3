"""Numbers in few bits: evenly spaced levels between two ends, and rotations in 32 bits.

Rounding to the nearest level errs by at most half a step, `(upper - lower) / (2**bits - 1) / 2`.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt32
from numpy import ndarray

ROTATION_ERROR_DEGREES = 0.28
"""The most that `pack_rotations` turns a rotation.

Each of the three kept components errs by e <= sqrt(2) / 1023 / 2. The largest one, at least 1/2, then errs by at most
3e, the quaternion by the chord sqrt(3 + 9) e, and the rotation by twice that angle.
"""

_ROTATION_BITS = 10
# The components beside the largest lie in [-1/sqrt(2), 1/sqrt(2)].
_REACH = math.sqrt(0.5)


def to_levels(values: Float[ndarray, "*n"], lower: ndarray | float, upper: ndarray | float, bits: int) -> ndarray:
    """Nearest of 2**bits levels from ``lower`` to ``upper`` (broadcast), as unsigned integers; values are clipped."""
    span = np.asarray(upper, np.float64) - lower
    share = (np.asarray(values, np.float64) - lower) / np.where(span > 0, span, 1.0)
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(np.clip(share, 0.0, 1.0) * (2**bits - 1)).astype(kind)


def from_levels(levels: ndarray, lower: ndarray | float, upper: ndarray | float, bits: int) -> Float[ndarray, "*n"]:
    """The inverse of :func:`to_levels`, up to its rounding; both ends come back exactly."""
    share = levels.astype(np.float64) / (2**bits - 1)
    return lower * (1 - share) + upper * share


def pack_rotations(quaternions: Float[ndarray, "n 4"]) -> UInt32[ndarray, " n"]:
    """Quaternions w, x, y, z of any length in 32 bits: which component is largest (2 bits), the others at 10 bits each.

    The layout is that of PlayCanvas's compressed PLY, high bits first. A quaternion of length 0 becomes the identity,
    as renderers take it.
    """
    q = np.asarray(quaternions, np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(length > 0, q / np.where(length > 0, length, 1.0), [1.0, 0.0, 0.0, 0.0])
    largest = np.abs(q).argmax(-1)
    # A quaternion and its negative are one rotation: the largest component is taken as positive.
    q = q * np.where(np.take_along_axis(q, largest[:, None], -1) < 0, -1.0, 1.0)
    rest = q[np.arange(4) != largest[:, None]].reshape(-1, 3)
    a, b, c = to_levels(rest, -_REACH, _REACH, _ROTATION_BITS).astype(np.uint32).T
    return largest.astype(np.uint32) << 30 | a << 20 | b << 10 | c


def unpack_rotations(packed: UInt32[ndarray, " n"]) -> Float[ndarray, "n 4"]:
    """Unit quaternions w, x, y, z from :func:`pack_rotations`."""
    levels = np.stack([packed >> 20, packed >> 10, packed], axis=-1) & (2**_ROTATION_BITS - 1)
    rest = from_levels(levels, -_REACH, _REACH, _ROTATION_BITS)
    q = np.empty((len(packed), 4))
    largest = (packed >> 30).astype(np.int64)
    is_largest = np.arange(4) == largest[:, None]
    q[~is_largest] = rest.reshape(-1)
    q[is_largest] = np.sqrt(np.maximum(0.0, 1.0 - (rest * rest).sum(-1)))
    return q / np.linalg.norm(q, axis=-1, keepdims=True)
