"""Cameras for other programs: nerfstudio's ``transforms.json`` and COLMAP's text model, written and read.

Both count pixels from the image's top-left corner, as this project does, and both take pinhole cameras here. COLMAP
keeps our axes (x right, y down, z forward, world to camera). Nerfstudio keeps camera-to-world in OpenGL's axes
(x right, y up, z backward).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras.camera import Camera
from mouse_facelift.errors import InputError

OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
"""Turns y and z of a camera over: OpenCV's axes to OpenGL's, and back."""
TRANSFORMS = "transforms.json"
COLMAP_FILES = ("cameras.txt", "images.txt", "points3D.txt")


def transforms_json(cameras: Sequence[Camera], images: Sequence[str], extra: dict[str, Any] | None = None) -> str:
    """Nerfstudio's ``transforms.json``.

    Args:
        cameras: Without skew and distortion.
        images: Each camera's image, relative to the file's folder.
        extra: Further top-level entries, plain values; nerfstudio ignores what it does not know.
    """
    frames = []
    for camera, image in zip(cameras, images, strict=True):
        fx, fy, cx, cy = (float(value) for value in camera.fxfycxcy)
        lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": camera.width, "h": camera.height}
        frames.append({"file_path": image, **lens, "transform_matrix": (camera.c2w @ OPENGL_AXES).tolist()})
    return json.dumps({"camera_model": "OPENCV", "frames": frames, **(extra or {})}, indent=1, allow_nan=False) + "\n"


def cameras_from_transforms(text: str, name: str = TRANSFORMS) -> tuple[list[Camera], list[str]]:
    """The inverse of :func:`transforms_json`: cameras, named by their image, and the images.

    Raises:
        InputError: Not such a file (naming ``name``), or one with lens distortion.
    """
    try:
        content = json.loads(text)
        cameras = [_camera_from_frame({**content, **frame}, name) for frame in content["frames"]]
        return cameras, [str(frame["file_path"]) for frame in content["frames"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: is not a transforms.json with one pinhole camera per frame ({error})") from error


def _camera_from_frame(frame: dict[str, Any], name: str) -> Camera:
    if any(frame.get(key, 0) for key in ("k1", "k2", "k3", "p1", "p2")):
        raise InputError(f"{name}: {frame['file_path']} has lens distortion; undistort the images first")
    K = np.array([[frame["fl_x"], 0, frame["cx"]], [0, frame["fl_y"], frame["cy"]], [0, 0, 1.0]])
    c2w = np.array(frame["transform_matrix"], dtype=np.float64) @ OPENGL_AXES
    R = c2w[:3, :3].T
    return Camera(str(frame["file_path"]), int(frame["w"]), int(frame["h"]), K, R, -R @ c2w[:3, 3])


def colmap_text(cameras: Sequence[Camera], images: Sequence[str]) -> dict[str, str]:
    """COLMAP's text model by file name: known poses, no points yet (``colmap point_triangulator`` adds them).

    Args:
        cameras: Without skew and distortion.
        images: Each camera's image, relative to COLMAP's image folder, without blanks.
    """
    lenses, poses = [], []
    for number, (camera, image) in enumerate(zip(cameras, images, strict=True), start=1):
        if any(letter.isspace() for letter in image):
            raise InputError(f"image name {image!r} has a blank, which COLMAP's text files cannot hold; rename it")
        lens = " ".join(repr(float(value)) for value in camera.fxfycxcy)
        lenses.append(f"{number} PINHOLE {camera.width} {camera.height} {lens}")
        pose = " ".join(repr(float(value)) for value in (*quaternion_from_rotation(camera.R), *camera.t))
        # The second line of an image holds its 2-D points.
        poses.append(f"{number} {pose} {number} {image}\n")
    contents = (lenses, poses, [])
    return {name: "\n".join([*lines, ""]) for name, lines in zip(COLMAP_FILES, contents, strict=True)}


def cameras_from_colmap(cameras_text: str, images_text: str, name: str = "COLMAP model") -> list[Camera]:
    """Cameras of a text model in the order of its images, named by image.

    Raises:
        InputError: Not such a model (naming ``name``), or one of another camera model than PINHOLE.
    """
    try:
        lenses = {words[0]: words[1:] for words in map(str.split, _lines(cameras_text)) if words}
        found = []
        for words in map(str.split, _lines(images_text)[::2]):
            model, width, height, *lens = lenses[words[8]]
            if model != "PINHOLE":
                raise InputError(f"{name}: has a {model} camera; undistort the images to PINHOLE first")
            fx, fy, cx, cy = map(float, lens)
            K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
            R = rotation_from_quaternion(np.array(words[1:5], dtype=np.float64))
            found.append(Camera(words[9], int(width), int(height), K, R, np.array(words[5:8], dtype=np.float64)))
        return found
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(f"{name}: is not a COLMAP text model ({error}); export it again as text") from error


def quaternion_from_rotation(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """The unit quaternion w, x, y, z of a rotation, w >= 0: the eigenvector of Bar-Itzhack's matrix (2000)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    matrix = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    quaternion = np.linalg.eigh(matrix)[1][:, -1]
    return -quaternion if quaternion[0] < 0 else quaternion


def rotation_from_quaternion(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation of a quaternion w, x, y, z of any length above 0."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _lines(text: str) -> list[str]:
    """Lines of a model's file without the remarks; empty ones stay, as an image without points has one."""
    return [line for line in text.splitlines() if not line.startswith("#")]
