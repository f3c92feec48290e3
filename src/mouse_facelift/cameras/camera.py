"""The ``Camera`` type: a calibrated view and its exact algebra. Conventions: see the package docstring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mouse_facelift.errors import InputError

# A calibrated rotation is orthonormal to the precision of the file it came from; single-precision files reach 1e-6.
ROTATION_TOLERANCE = 1e-4
# Fixed-point iterations of the inverse distortion; lenses of the rigs we know converge to 1e-12 well before this.
UNDISTORT_ITERATIONS = 50


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated view.

    Attributes:
        name: The camera's name in its capture ("0", "L", ...).
        width, height: Size in pixels of the image the camera describes.
        K: Upper-triangular 3x3 intrinsics in pixels, corner origin (skew allowed).
        R: World-to-camera rotation, det +1.
        t: World-to-camera translation, in world units.
        distortion: [k1, k2, p1, p2, k3], or None for a pinhole.

    Raises:
        InputError: Not a camera: wrong shapes, not finite, a focal length <= 0, or R not a proper rotation.
    """

    name: str
    width: int
    height: int
    K: Float[np.ndarray, "3 3"]
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, "3"]
    distortion: Float[np.ndarray, "5"] | None = None

    def __post_init__(self) -> None:
        shapes = {"K": (3, 3), "R": (3, 3), "t": (3,)} | ({"distortion": (5,)} if self.distortion is not None else {})
        for field, shape in shapes.items():
            value = np.array(getattr(self, field), dtype=np.float64)
            if value.shape != shape:
                raise InputError(f"camera {self.name}: {field} has shape {value.shape}, expected {shape}")
            if not np.isfinite(value).all():
                raise InputError(f"camera {self.name}: {field} holds values that are not finite; calibrate it again")
            value.flags.writeable = False
            object.__setattr__(self, field, value)
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0 or np.abs(self.K[[1, 2, 2], [0, 0, 1]]).max() > 1e-9:
            raise InputError(
                f"camera {self.name}: K is not upper triangular with positive focal lengths; is it transposed?"
            )
        if abs(np.linalg.det(self.R) - 1) > ROTATION_TOLERANCE or np.abs(self.R @ self.R.T - np.eye(3)).max() > (
            ROTATION_TOLERANCE
        ):
            raise InputError(
                f"camera {self.name}: R is not a rotation (det {np.linalg.det(self.R):+.4f}, expected +1); "
                "check the calibration's axis convention"
            )

    @property
    def w2c(self) -> Float[np.ndarray, "4 4"]:
        """World-to-camera matrix [R|t]."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.R, self.t
        return matrix

    @property
    def c2w(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world matrix, the exact inverse of a rigid ``w2c``."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.R.T, self.centre
        return matrix

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        """The camera's position in the world."""
        return -self.R.T @ self.t

    @property
    def fxfycxcy(self) -> Float[np.ndarray, "4"]:
        """Intrinsics as four pixels; only a camera without skew and distortion can be written so."""
        if self.K[0, 1] != 0 or self.distortion is not None:
            raise ValueError(f"camera {self.name} has skew or distortion: fxfycxcy would lose it")
        return np.array([self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]])

    def depth(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """z in camera axes of world points; positive in front of the camera."""
        return points @ self.R[2] + self.t[2]

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """World points to pixels (corner origin), lens distortion included. Points need positive depth."""
        cam = points @ self.R.T + self.t
        plane = cam[..., :2] / cam[..., 2:]
        return self.pixels_from_plane(plane)

    def pixels_from_plane(self, plane: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Ideal image-plane coordinates ``X_cam[:2] / X_cam[2]`` to pixels, distortion included."""
        plane = self._distort(plane)
        return plane @ self.K[:2, :2].T + self.K[:2, 2]

    def plane_from_pixels(self, pixels: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels to ideal image-plane coordinates: the inverse of :meth:`pixels_from_plane`."""
        distorted = (pixels - self.K[:2, 2]) @ np.linalg.inv(self.K[:2, :2]).T
        if self.distortion is None:
            return distorted
        plane = distorted.copy()
        for _ in range(UNDISTORT_ITERATIONS):
            step = distorted - self._distort(plane)
            plane += step
            if np.abs(step).max(initial=0.0) < 1e-14:
                break
        return plane

    def rays(self, pixels: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        """Unit directions, in the world, of the rays from :attr:`centre` through the given pixels."""
        plane = self.plane_from_pixels(pixels)
        directions = np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1) @ self.R
        return directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def contains(self, pixels: Float[np.ndarray, "*n 2"]) -> np.ndarray:
        """Which pixels lie on the image (boolean, shape ``*n``)."""
        return np.all((pixels >= 0) & (pixels <= [self.width, self.height]), axis=-1)

    def normalised(self, centre: Float[np.ndarray, "3"], scale: float) -> Camera:
        """The same view after the similarity ``X' = scale (X - centre)`` of the world; pixels do not change."""
        return replace(self, t=scale * (self.t + self.R @ centre))

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the image resampled to ``width`` x ``height``; the whole image is kept."""
        factor = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, width=width, height=height, K=factor @ self.K)

    def _distort(self, plane: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Brown-Conrady distortion of image-plane coordinates (the formula of OpenCV's ``projectPoints``)."""
        if self.distortion is None:
            return plane
        k1, k2, p1, p2, k3 = self.distortion
        x, y = plane[..., 0], plane[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )


def intrinsics_from_pixel_centre(K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """K of a calibration whose first pixel's centre is (0, 0) -> K with a corner origin (cx, cy + 0.5)."""
    K = np.array(K, dtype=np.float64)
    K[:2, 2] += 0.5
    return K


def intrinsics_to_pixel_centre(K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The inverse of :func:`intrinsics_from_pixel_centre`."""
    K = np.array(K, dtype=np.float64)
    K[:2, 2] -= 0.5
    return K


def intrinsics_from_fov(hfov_degrees: float, width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """Square-pixel K with the given horizontal field of view and a centred principal point."""
    focal = width / 2 / np.tan(np.radians(hfov_degrees) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def stack_cameras(cameras: Sequence[Camera]) -> tuple[Float[np.ndarray, "v 4 4"], Float[np.ndarray, "v 4"]]:
    """(w2c, fxfycxcy) of pinhole cameras, the form that models and renderers take."""
    return np.stack([c.w2c for c in cameras]), np.stack([c.fxfycxcy for c in cameras])
