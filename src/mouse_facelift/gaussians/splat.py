"""Gaussians as `.splat`, the file that antimatter15's viewer made common: 32 bytes each, no header.

Position and scale as six float32, colour and opacity as four uint8, the quaternion w, x, y, z as four uint8 with
`128 + 128 q`. The largest come first (volume times opacity), so that a viewer that is still loading shows the most of
the picture. Layout: https://github.com/antimatter15/splat (convert.py).
"""

from __future__ import annotations

import numpy as np
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians

_SPLAT = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def encode_splat(gaussians: Gaussians, name: str = "gaussians.splat") -> bytes:
    """The bytes of the file; colours above 1 are clipped.

    Raises:
        InputError: values that are not finite (naming `name`).
    """
    require_finite(gaussians, name)
    means, scales, rotations, opacities, colours = (
        tensor.detach().cpu().double().numpy() for tensor in gaussians.tensors()
    )
    rotations = rotations / np.maximum(np.linalg.norm(rotations, axis=-1, keepdims=True), 1e-12)
    table = np.zeros(len(means), _SPLAT)
    table["mean"], table["scale"] = means, scales
    rgba = np.concatenate([colours, opacities[:, None]], axis=-1)
    table["rgba"] = np.rint(np.clip(rgba, 0, 1) * 255)
    table["rotation"] = np.clip(np.rint(rotations * 128 + 128), 0, 255)
    return table[np.argsort(-scales.prod(-1) * opacities, kind="stable")].tobytes()


def decode_splat(data: bytes, name: str = "gaussians.splat") -> Gaussians:
    """Float32 Gaussians on the CPU, quaternions of length about 1.

    Raises:
        InputError: not a whole number of Gaussians, or values that are not finite (naming `name`).
    """
    if len(data) % _SPLAT.itemsize:
        raise InputError(
            f"{name}: its {len(data)} bytes are not a multiple of 32, so it is no .splat file; write it again"
        )
    table = np.frombuffer(data, _SPLAT)
    rgba = table["rgba"].astype(np.float32) / 255
    rotations = (table["rotation"].astype(np.float32) - 128) / 128
    arrays = (table["mean"].copy(), table["scale"].copy(), rotations, rgba[:, 3].copy(), rgba[:, :3].copy())
    gaussians = Gaussians(*(torch.from_numpy(array) for array in arrays))
    require_finite(gaussians, name)
    return gaussians


def require_finite(gaussians: Gaussians, name: str) -> None:
    """Raises InputError (naming `name`) where a Gaussian has a NaN or an infinity."""
    broken = int((~gaussians.finite()).sum())
    if broken:
        raise InputError(
            f"{name}: {broken} of {len(gaussians)} Gaussians are not finite; make them again, with an earlier "
            "checkpoint where the model has diverged"
        )
