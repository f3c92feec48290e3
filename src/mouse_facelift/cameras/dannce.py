"""DANNCE's calibrations: one ``NAME_params.mat`` per camera, or one ``label3d_dannce.mat`` for all.

MATLAB writes row-vector matrices, so the usual ones are their transposes: ``K.T``, ``r.T``, and t as a column. With
them ``x = K distort((R X + t) / z)`` reproduces the labels stored beside such calibrations to rounding error. World in
millimetres, OpenCV axes; distortion [k1, k2, p1, p2, k3] from RDistort (2 or 3 terms) and TDistort (2 terms).

Pixel origin: MATLAB counts pixels from 1, but whether a file's principal point does is not documented. It is read as
counting from 0 at the first pixel's centre, like OpenCV's, which is what the known conversion of such a calibration
to ``new_cam.pkl`` did; if it does count from 1, every camera is off by one pixel towards the lower right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mouse_facelift.cameras.camera import Camera, intrinsics_from_pixel_centre
from mouse_facelift.cameras.entries import read_matrices
from mouse_facelift.errors import InputError

PARAMS_SUFFIX = "_params.mat"
LABEL3D_PATTERN = "*dannce.mat"
Size = tuple[int, int]
# How MATLAB begins a v7.3 file; scipy reads the older formats only.
_HDF5_HEADER = b"MATLAB 7.3"
_SHAPES = {
    "K": ((3, 3),),
    "r": ((3, 3),),
    "t": ((1, 3), (3, 1)),
    "RDistort": ((1, 2), (2, 1), (1, 3), (3, 1)),
    "TDistort": ((1, 2), (2, 1)),
}


def params_files(folder: str | Path) -> dict[str, Path]:
    """The ``NAME_params.mat`` files of a folder by camera name, names in numerical, then alphabetical order."""
    files = {path.name.removesuffix(PARAMS_SUFFIX): path for path in Path(folder).glob(f"*{PARAMS_SUFFIX}")}
    return {name: files[name] for name in sorted(files, key=camera_order)}


def camera_order(name: str) -> tuple[int, int, str]:
    """Sort key that puts "2" before "10" and "Camera2" before "Camera10", numbers before other names."""
    digits = name[len(name.rstrip("0123456789")) :]
    return (0, int(digits), name) if digits else (1, 0, name)


def read_dannce_params(folder: str | Path, sizes: Mapping[str, Size]) -> list[Camera]:
    """Cameras of a folder of ``NAME_params.mat`` files.

    Args:
        folder: Where the files are.
        sizes: (width, height) in pixels of each camera's video, by name.

    Raises:
        InputError: No such files, a file that is not one, or a camera without a size.
    """
    files = params_files(folder)
    if not files:
        raise InputError(f"{folder}: holds no NAME{PARAMS_SUFFIX} file; give a folder with one per camera")
    return [_camera(path, name, load_mat(path), sizes) for name, path in files.items()]


def label3d_names(path: str | Path) -> list[str]:
    """Names of the cameras in a ``label3d_dannce.mat``: its ``camnames``, or Camera1, Camera2, ... without them."""
    return list(_label3d_entries(Path(path)))


def read_label3d(path: str | Path, sizes: Mapping[str, Size]) -> list[Camera]:
    """Cameras of a ``label3d_dannce.mat`` (or ``*_dannce.mat``), in the file's order.

    Raises:
        InputError: Not such a file (MATLAB's v7.3 format included), or a camera in it is not one or has no size.
    """
    path = Path(path)
    return [_camera(path, name, entry, sizes) for name, entry in _label3d_entries(path).items()]


def _label3d_entries(path: Path) -> dict[str, Mapping[str, Any]]:
    content = load_mat(path)
    if "params" not in content:
        raise InputError(f"{path}: has no variable 'params'; expected a cell array of K, RDistort, TDistort, r and t")
    entries = [_fields(path, cell) for cell in np.asarray(content["params"], dtype=object).ravel()]
    if "camnames" in content:
        names = [_text(name) for name in np.asarray(content["camnames"]).ravel()]
    else:
        names = [f"Camera{i + 1}" for i in range(len(entries))]
    if len(set(names)) != len(names) or len(names) != len(entries):
        raise InputError(
            f"{path}: camnames ({', '.join(names)}) do not name its {len(entries)} cameras one by one; correct them"
        )
    return dict(zip(names, entries, strict=True))


def load_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file.

    Raises:
        InputError: Not a readable one, or in the v7.3 format.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5_HEADER)) == _HDF5_HEADER:
                raise InputError(f"{path}: is in MATLAB's v7.3 (HDF5) format; save it again with -v7")
        return loadmat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    except (MatReadError, ValueError, TypeError, EOFError, KeyError) as error:
        raise InputError(f"{path}: is not a readable MATLAB file ({error}); copy it again from its source") from error


def _fields(path: Path, cell: Any) -> dict[str, Any]:
    """The fields of a struct as loadmat gives one: a structured array of one element."""
    struct = np.asarray(cell)
    if struct.dtype.names is None or struct.size != 1:
        raise InputError(f"{path}: 'params' is not a cell array of structs; expected K, RDistort, TDistort, r and t")
    record = struct.ravel()[0]
    return {name: record[name] for name in struct.dtype.names}


def _text(value: Any) -> str:
    """A string as loadmat gives one: an array of one string, at some depth of cells."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return str(value).strip()


def _camera(path: Path, name: str, entry: Mapping[str, Any], sizes: Mapping[str, Size]) -> Camera:
    if name not in sizes:
        raise InputError(f"{path}: camera {name} has no video; videos: {', '.join(sizes) or 'none'}")
    values = read_matrices(path, name, entry, _SHAPES)
    radial, tangential = values["RDistort"].ravel(), values["TDistort"].ravel()
    distortion = np.array([*radial[:2], *tangential, radial[2] if radial.size == 3 else 0.0])
    K, R, t = intrinsics_from_pixel_centre(values["K"].T), values["r"].T, values["t"].ravel()
    width, height = sizes[name]
    try:
        return Camera(name, width, height, K, R, t, distortion if distortion.any() else None)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
