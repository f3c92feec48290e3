"""Cameras that are placed rather than calibrated: look-at, turntables, FaceLift's six inference views."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras.camera import Camera, intrinsics_from_fov

# FaceLift trained and rendered everything with these (facelift-models reference, sections 4.5 and 7).
FACELIFT_RADIUS = 2.7
FACELIFT_HFOV_DEGREES = 50.0
FACELIFT_FRONT_AZIMUTH_DEGREES = 270.0
# Order of the diffusion model's six outputs, and the frames of FaceLift's camera file that hold them.
FACELIFT_SLOTS = ("front", "front_right", "right", "back", "left", "front_left")
FACELIFT_FRAMES = (2, 1, 0, 5, 4, 3)


def look_at_rotation(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"] | None = None
) -> Float[np.ndarray, "3 3"]:
    """World-to-camera rotation of a camera at ``position`` whose axis passes through ``target``.

    The image's down direction lies in the plane of the axis and ``up`` (z by default). A camera looking straight
    along ``up`` has no such plane; it then takes the world's y axis as the top of the image.
    """
    up = np.array([0.0, 0.0, 1.0]) if up is None else np.asarray(up, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - position
    forward /= np.linalg.norm(forward)
    right = _cross(forward, up)
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        right = _cross(forward, np.array([0.0, 1.0, 0.0]))
    right /= np.linalg.norm(right)
    return np.array([right, _cross(forward, right), forward])


def _cross(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """``np.cross``, to the bit, at a twentieth of its time: every view of every frame asks for two."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def look_at(
    name: str,
    position: Float[np.ndarray, "3"],
    target: Float[np.ndarray, "3"],
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
) -> Camera:
    """A camera at ``position`` looking at ``target``, z up."""
    R = look_at_rotation(position, target)
    return Camera(name, width, height, K, R, -R @ position)


def turntable(
    count: int = 150,
    size: int = 512,
    radius: float = FACELIFT_RADIUS,
    elevation_degrees: float = 0.0,
    hfov_degrees: float = FACELIFT_HFOV_DEGREES,
    start_degrees: float = FACELIFT_FRONT_AZIMUTH_DEGREES,
) -> list[Camera]:
    """``count`` cameras on a circle about the origin, counter-clockwise seen from +z, the end point left out.

    The defaults are FaceLift's turntable: radius 2.7, elevation 0, horizontal field of view 50 degrees.
    """
    K = intrinsics_from_fov(hfov_degrees, size, size)
    elevation = np.radians(elevation_degrees)
    cameras = []
    for i in range(count):
        azimuth = np.radians(start_degrees) + 2 * np.pi * i / count
        direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        cameras.append(look_at(f"turntable_{i:03d}", radius * np.array(direction), np.zeros(3), K, size, size))
    return cameras


@cache
def facelift_rig() -> tuple[Camera, ...]:
    """FaceLift's six inference cameras at 512 px in slot order, from the exact stored matrices.

    The stored values differ from the ideal ones by single-precision noise (<= 2.4e-7); published weights were run
    with the stored ones.
    """
    text = files("mouse_facelift.cameras").joinpath("data/facelift_inference.json").read_text()
    record = json.loads(text)
    fx, fy, cx, cy = record["fxfycxcy"]
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    cameras = []
    for slot, rows in zip(FACELIFT_SLOTS, (record["w2c_rows"][frame] for frame in FACELIFT_FRAMES), strict=True):
        w2c = np.array(rows)
        cameras.append(Camera(slot, record["size"], record["size"], K, w2c[:, :3], w2c[:, 3]))
    return tuple(cameras)
