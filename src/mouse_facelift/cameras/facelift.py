"""FaceLift's ``opencv_cameras.json``: undistorted cameras of one sample, pixels already with a corner origin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mouse_facelift.cameras.camera import ROTATION_TOLERANCE, Camera
from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store

FILE_NAME = "opencv_cameras.json"
# What PNG and every decoder of it can hold with room to spare; beyond it the number is a mistake.
_MAX_SIDE = 65_535


def read_facelift(path: str | Path) -> tuple[list[Camera], list[str]]:
    """Cameras of an ``opencv_cameras.json`` and the images they belong to.

    Returns:
        cameras: Named by their image's file name without suffix ("cam_000"), or "0", "1", ... where there is none.
        images: Each frame's ``file_path``, relative to the JSON's folder ("" where the file names none).

    Raises:
        InputError: Not such a file, or a frame in it is not a camera.
    """
    return cameras_from_content(path, read_content(path))


def read_content(path: str | Path) -> Mapping[str, Any]:
    """The whole of an ``opencv_cameras.json`` as plain values, its ``frames`` a list that is not empty.

    Raises:
        InputError: Not such a file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); write it again") from error
    frames = content.get("frames") if isinstance(content, Mapping) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: has no list 'frames' of cameras; expected FaceLift's {FILE_NAME}")
    return content


def cameras_from_content(path: str | Path, content: Mapping[str, Any]) -> tuple[list[Camera], list[str]]:
    """What :func:`read_facelift` returns, from the content of the file at ``path``."""
    path, frames = Path(path), content["frames"]
    images = [str(frame.get("file_path", "")) if isinstance(frame, Mapping) else "" for frame in frames]
    return [_camera(path, i, frame, image) for i, (frame, image) in enumerate(zip(frames, images, strict=True))], images


def write_facelift(
    path: str | Path,
    sample_id: str,
    cameras: Sequence[Camera],
    images: Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the ``opencv_cameras.json`` of a sample.

    Args:
        path: Where to: a local path or a URI.
        sample_id: The file's ``id``.
        cameras: Without skew and distortion, which the format cannot hold.
        images: Each camera's image, relative to the JSON's folder.
        extra: Further top-level entries, plain values; FaceLift ignores what it does not know.
    """
    frames = []
    for number, (camera, image) in enumerate(zip(cameras, images, strict=True)):
        fx, fy, cx, cy = (float(v) for v in camera.fxfycxcy)
        size = {"w": camera.width, "h": camera.height}
        intrinsics = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
        frames.append({**size, **intrinsics, "w2c": camera.w2c.tolist(), "file_path": image, "view_id": number})
    text = json.dumps({"id": sample_id, "frames": frames, **(extra or {})}, indent=2, allow_nan=False) + "\n"
    folder, _, name = str(path).rpartition("/")
    Store.at(folder or ".").write(name, text.encode())


def _camera(path: Path, number: int, frame: Any, image: str) -> Camera:
    try:
        size = int(frame["w"]), int(frame["h"])
        fx, fy, cx, cy = (float(frame[key]) for key in ("fx", "fy", "cx", "cy"))
        w2c = np.array(frame["w2c"], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: frame {number} is not a camera ({error}); expected w, h, fx, fy, cx, cy, w2c"
        ) from error
    if w2c.shape != (4, 4):
        raise InputError(f"{path}: frame {number}: w2c has shape {w2c.shape}, expected (4, 4)")
    if not 0 < min(size) <= max(size) <= _MAX_SIDE:
        raise InputError(f"{path}: frame {number}: w and h must be from 1 to {_MAX_SIDE} pixels; write the file again")
    if np.abs(w2c[3] - [0, 0, 0, 1]).max() > ROTATION_TOLERANCE:
        raise InputError(f"{path}: frame {number}: the last row of w2c is {w2c[3].tolist()}, expected [0, 0, 0, 1]")
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    try:
        return Camera(Path(image).stem or str(number), *size, K, w2c[:3, :3], w2c[:3, 3])
    except InputError as error:
        raise InputError(f"{path}: frame {number}: {error}") from error
