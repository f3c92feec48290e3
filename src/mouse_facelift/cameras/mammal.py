"""MAMMAL's calibration, ``new_cam.pkl``: one {K, R, T} per view, of undistorted videos.

Column convention ``x ~ K (R X + T)``, R world-to-camera, T in millimetres. The file is a list, or a dict keyed by the
view's number (int or str). K is OpenCV's (first pixel's centre at 0), so the readers add the half pixel.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mouse_facelift.cameras.camera import Camera, intrinsics_from_pixel_centre, intrinsics_to_pixel_centre
from mouse_facelift.cameras.entries import read_matrices
from mouse_facelift.cameras.safe_pickle import load_pickle
from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store

Size = tuple[int, int]
_SHAPES = {"K": ((3, 3),), "R": ((3, 3),), "T": ((3,), (3, 1), (1, 3))}


def read_mammal(path: str | Path, sizes: Size | Mapping[str, Size]) -> list[Camera]:
    """Cameras of a ``new_cam.pkl``, in the order of their numbers.

    Args:
        path: The pickle; it is read without running anything in it.
        sizes: (width, height) in pixels of the views' images: one for all, or one per camera name.

    Returns:
        Cameras named "0", "1", ... (or by the dict's keys), world in millimetres, corner-origin pixels.

    Raises:
        InputError: Not such a file, or a camera in it is not one, or has no size.
    """
    path = Path(path)
    entries = _entries(path, load_pickle(path))
    cameras = []
    for name, entry in entries.items():
        if isinstance(sizes, Mapping) and name not in sizes:
            raise InputError(f"{path}: camera {name} has no view to belong to; views: {', '.join(sizes) or 'none'}")
        width, height = sizes[name] if isinstance(sizes, Mapping) else sizes
        K, R, T = read_matrices(path, name, entry, _SHAPES).values()
        try:
            cameras.append(Camera(name, width, height, intrinsics_from_pixel_centre(K), R, T.reshape(3)))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return cameras


def mammal_names(path: str | Path) -> list[str]:
    """Names of the cameras in a ``new_cam.pkl``, in the order of their numbers; for checks before videos are opened."""
    return list(_entries(Path(path), load_pickle(path)))


def write_mammal(path: str | Path, cameras: Sequence[Camera]) -> None:
    """Write ``new_cam.pkl``: the list of {'K', 'R', 'T'}, T of shape (3, 1) as in MAMMAL's own file.

    Raises:
        InputError: A camera is distorted; the format describes undistorted videos only.
    """
    path = Path(path)
    for camera in cameras:
        if camera.distortion is not None:
            raise InputError(f"{path}: camera {camera.name} is distorted, which this format cannot hold; undistort it")
    entries = [
        {"K": intrinsics_to_pixel_centre(c.K), "R": np.array(c.R), "T": np.array(c.t).reshape(3, 1)} for c in cameras
    ]
    # Protocol 2 is what every Python since 2.3 reads.
    Store.at(path.parent).write(path.name, pickle.dumps(entries, protocol=2))


def _entries(path: Path, content: Any) -> dict[str, Mapping[str, Any]]:
    if isinstance(content, (list, tuple)):
        named = {str(i): entry for i, entry in enumerate(content)}
    elif isinstance(content, Mapping):
        named = {str(key): entry for key, entry in content.items()}
        if not all(name.isdigit() for name in named):
            raise InputError(f"{path}: cameras are keyed {', '.join(named)}; expected view numbers 0, 1, ...")
        named = {name: named[name] for name in sorted(named, key=int)}
    else:
        raise InputError(f"{path}: holds a {type(content).__name__}; expected a list or dict of {{K, R, T}} per view")
    if not named:
        raise InputError(f"{path}: holds no camera; expected {{K, R, T}} per view")
    entries = {}
    for name, entry in named.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"{path}: camera {name} is a {type(entry).__name__}; expected a dict of K, R and T")
        entries[name] = {str(key).upper(): value for key, value in entry.items()}
    return entries
