"""Pictures as people have them: files and folders of photos, and folders that hold all six views of one animal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.errors import InputError
from mouse_facelift.samples.png_check import is_damaged_png

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_SIDE = 2048
"""Photos are averaged down to this (pixels): four times the largest model's input."""

_FIRST_SLOT = "cam_000.png"


@dataclass(frozen=True)
class Found:
    """One animal to reconstruct: a photo, or a folder of its views.

    Attributes:
        name: Unique among what was found, and fit to be a folder's name.
        path: The photo or the folder.
    """

    name: str
    path: Path

    @property
    def has_views(self) -> bool:
        """Whether all views are given."""
        return self.path.is_dir()


def find_pictures(paths: Sequence[Path]) -> list[Found]:
    """Photos and folders of views, in the order given; photos of a folder by name.

    A folder with ``opencv_cameras.json`` or ``cam_000.png`` holds the views of one animal; any other one holds photos.

    Raises:
        InputError: A path does not exist, is no picture, or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not _holds_views(path):
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path}: holds no pictures ({', '.join(SUFFIXES)}) and no six views; give another")
            found += inside
        elif path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
            found.append(path)
        elif path.is_file():
            raise InputError(f"{path}: is no picture that can be read ({', '.join(SUFFIXES)}); convert it first")
        else:
            raise InputError(f"{path}: no such picture or folder; check the path")
    unique = list(dict.fromkeys(path.absolute() for path in found))
    stems = Counter(path.stem for path in unique)
    return [Found(path.stem if stems[path.stem] == 1 else _long_name(path), path) for path in unique]


def read_picture(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """RGB, or RGBA with straight alpha where the file has it, turned upright as its EXIF says.

    Raises:
        InputError: It cannot be read as a picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    raw = colours = None
    if data and not _damaged(data):
        encoded = np.frombuffer(data, np.uint8)
        # Twice: a picture is turned upright only as eight bits and three channels, and has its alpha only unchanged.
        raw, colours = (cv2.imdecode(encoded, flag) for flag in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_COLOR))
    if raw is None or colours is None:
        raise InputError(f"{path}: is not a picture, or is damaged; export it again as PNG or JPEG")
    if raw.ndim == 3 and raw.shape[2] == 4:
        if raw.dtype == np.uint16:
            raw = np.rint(raw / 257).astype(np.uint8)
        picture = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA)
    else:
        picture = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    return _reduced(picture)


def _reduced(picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    factor = MAX_SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    if picture.shape[2] == 3:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    values = picture.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    values[..., :3] *= 255 / np.maximum(values[..., 3:], 1e-3)
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _holds_views(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file() or (folder / _FIRST_SLOT).is_file()


def _damaged(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and is_damaged_png(data)


def _long_name(path: Path) -> str:
    """A name for files of one stem: with the folder and the suffix."""
    return f"{path.parent.name}-{path.stem}-{path.suffix.lstrip('.')}".removesuffix("-")
