"""Gaussians, cameras and pictures as viser draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.exchange import quaternion_from_rotation
from mouse_facelift.evaluation.images import as_uint8, composite
from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices

# A share of Gaussians at either end that does not decide how large the scene is.
_STRAYS = 0.02
# viser sends covariances in half precision, whose smallest normal number is 6e-5: a scene this large, in its own units,
# keeps four digits of Gaussians of a ten-thousandth of its size.
SCENE_RADIUS = 10.0


@dataclass(frozen=True, eq=False)
class Splats:
    """Arguments of viser's `add_gaussian_splats` and `set_gaussians`."""

    centers: Float[np.ndarray, "n 3"]
    covariances: Float[np.ndarray, "n 3 3"]
    rgbs: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, "n 1"]


def splats(gaussians: Gaussians) -> Splats:
    """Single-precision Gaussians in the viewer's world, on the CPU; colours are clipped to [0, 1]."""
    means, scales, rotations, opacities, colours = gaussians.tensors()
    axes = rotation_matrices(rotations) * scales[:, None]
    return Splats(means.numpy(), (axes @ axes.mT).numpy(), colours.clamp(0, 1).numpy(), opacities[:, None].numpy())


def extent(gaussians: Gaussians) -> tuple[Float[np.ndarray, "3"], float]:
    """Middle and radius of a box around nearly all Gaussians; a unit box where there are none."""
    means = gaussians.means.detach().cpu().double().numpy()
    if not len(means):
        return np.zeros(3), 1.0
    lower, upper = np.quantile(means, [_STRAYS, 1 - _STRAYS], axis=0)
    return (lower + upper) / 2, max(float((upper - lower).max()) / 2, 1e-6)


@dataclass(frozen=True, eq=False)
class Frustum:
    """Arguments of viser's `add_camera_frustum`: vertical field of view, aspect, pose (camera to world), picture."""

    fov: float
    aspect: float
    wxyz: Float[np.ndarray, "4"]
    position: Float[np.ndarray, "3"]
    image: UInt8[np.ndarray, "h w 3"] | None


def frustum(
    camera: Camera,
    image: UInt8[np.ndarray, "h w 4"] | None,
    factor: float,
    offset: Float[np.ndarray, "3"],
    longest: int = 192,
) -> Frustum:
    """A camera in the viewer's world, `factor * X + offset`, with its picture on white, ``longest`` px at most.

    viser's frusta are centred on the optical axis: a principal point off the image's middle is not shown.
    """
    shown = None
    if image is not None:
        share = min(1.0, longest / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * share)), max(1, round(image.shape[0] * share)))
        shown = cv2.resize(as_uint8(composite(image)), size, interpolation=cv2.INTER_AREA)
    return Frustum(
        2 * math.atan(camera.height / (2 * camera.K[1, 1])),
        camera.width / camera.height,
        quaternion_from_rotation(camera.R.T),
        camera.centre * factor + offset,
        shown,
    )
