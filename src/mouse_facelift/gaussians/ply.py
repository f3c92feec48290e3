"""Gaussians as `.ply` files that the usual splat viewers open.

Written as FaceLift writes them: binary little-endian, 239 bytes a vertex, an 8-bit preview colour that mesh viewers
show, 45 spherical-harmonic coefficients that are 0 (viewers expect them; our colours do not depend on direction),
opacity as a logit, scales as logarithms, quaternions as they are. Read from any order of properties.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians

SH_CONSTANT = 0.28209479177387814
"""The zeroth spherical harmonic, 1 / (2 sqrt(pi)): colour = SH_CONSTANT * f_dc + 0.5."""

_POSITION = ("x", "y", "z")
_COLOUR = tuple(f"f_dc_{k}" for k in range(3))
_SCALES = tuple(f"scale_{k}" for k in range(3))
_ROTATION = tuple(f"rot_{k}" for k in range(4))
_WRITTEN = np.dtype(
    [(name, "<f4") for name in _POSITION]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [(name, "<f4") for name in (*_COLOUR, *(f"f_rest_{k}" for k in range(45)), "opacity", *_SCALES, *_ROTATION)]
)
_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
# Opacities of exactly 0 and 1 have no finite logit; these limits give them back after rounding to single precision.
_LEAST_OPACITY, _MOST_OPACITY = 1e-30, 1 - 2.0**-26
_LONGEST_HEADER = 1 << 16


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Writes the file whole or not at all; an existing one is replaced. Raises InputError as `encode_ply` does."""
    path = Path(path)
    data = encode_ply(gaussians, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_ply(path: str | Path) -> Gaussians:
    """Float32 Gaussians on the CPU, as `decode_ply` finds them. Raises InputError when the file cannot be used."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a Gaussian .ply file") from error
    return decode_ply(data, str(path))


def encode_ply(gaussians: Gaussians, name: str = "gaussians.ply") -> bytes:
    """The bytes of the file. Raises InputError (naming `name`) for non-finite values and for scales not above 0."""
    arrays = [tensor.detach().cpu().double().numpy() for tensor in gaussians.tensors()]
    means, scales, rotations, opacities, colours = arrays
    broken = int((~gaussians.finite()).sum())
    if broken:
        raise InputError(
            f"{name}: {broken} of {len(gaussians)} Gaussians are not finite, so nothing was written; "
            "the model that made them has diverged, use an earlier checkpoint"
        )
    if not (scales > 0).all():
        raise InputError(
            f"{name}: Gaussians need scales above 0, the smallest is {scales.min():g}; give activated values"
        )
    table = np.zeros(len(means), _WRITTEN)
    _put(table, _POSITION, means)
    _put(table, ("red", "green", "blue"), np.clip(colours * 255, 0, 255))
    _put(table, _COLOUR, (colours - 0.5) / SH_CONSTANT)
    opacities = np.clip(opacities, _LEAST_OPACITY, _MOST_OPACITY)
    table["opacity"] = np.log(opacities) - np.log1p(-opacities)
    _put(table, _SCALES, np.log(scales))
    _put(table, _ROTATION, rotations)
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [
        f"property {'uchar' if _WRITTEN[column] == np.uint8 else 'float'} {column}" for column in _WRITTEN.names or ()
    ]
    return "\n".join([*lines, "end_header", ""]).encode("ascii") + table.tobytes()


def decode_ply(data: bytes, name: str = "gaussians.ply") -> Gaussians:
    """Gaussians from a splat file's bytes; colours are what is seen without direction-dependent terms, at least 0.

    Raises InputError (naming `name`) for anything but a binary little-endian splat file with finite values.
    """
    dtype, count, start = _read_header(data, name)
    missing = [
        column
        for column in (*_POSITION, *_COLOUR, "opacity", *_SCALES, *_ROTATION)
        if column not in (dtype.names or ())
    ]
    if missing:
        raise InputError(f"{name}: has no property {', '.join(missing)}; this is not a Gaussian splat file")
    if len(data) - start < count * dtype.itemsize:
        raise InputError(f"{name}: ends before its {count} Gaussians do; copy or write the file again")
    table = np.frombuffer(data, dtype, count, start)
    logit = table["opacity"].astype(np.float64)
    # Overflow to infinity is caught below, with the file's name.
    with np.errstate(over="ignore"):
        values = (
            _take(table, _POSITION),
            np.exp(_take(table, _SCALES)),
            _take(table, _ROTATION),
            1 / (1 + np.exp(-logit)),
            np.maximum(_take(table, _COLOUR) * SH_CONSTANT + 0.5, 0.0),
        )
        gaussians = Gaussians(*(torch.from_numpy(array.astype(np.float32)) for array in values))
    broken = int((~gaussians.finite()).sum())
    if broken:
        raise InputError(f"{name}: {broken} of {count} Gaussians are not finite; make the file again")
    return gaussians


def _read_header(data: bytes, name: str) -> tuple[np.dtype, int, int]:
    """Layout of a vertex, number of vertices, and where they start."""
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    newline = data.find(b"\n", end)
    if not data.startswith(b"ply") or end < 0 or newline < 0:
        raise InputError(f"{name}: is not a .ply file")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()[1:]]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise InputError(f"{name}: is not binary little-endian; convert it (any splat editor exports that form)")
    elements = [index for index, words in enumerate(lines) if words[0] == "element"]
    if not elements or lines[elements[0]][1:2] != ["vertex"] or len(lines[elements[0]]) != 3:
        raise InputError(f"{name}: its first element must be `vertex`; export it as a Gaussian splat file")
    until = elements[1] if len(elements) > 1 else len(lines)
    columns = [words[1:] for words in lines[elements[0] + 1 : until] if words[0] == "property"]
    if any(len(words) != 2 or words[0] not in _PLY_TYPES for words in columns):
        raise InputError(
            f"{name}: has vertex properties that are not plain numbers; export it as a Gaussian splat file"
        )
    try:
        dtype = np.dtype([(column, _PLY_TYPES[kind]) for kind, column in columns])
        count = int(lines[elements[0]][2])
        if count < 0:
            raise ValueError(f"{count} vertices")
        return dtype, count, newline + 1
    except ValueError as error:
        raise InputError(f"{name}: has a header that contradicts itself ({error}); write the file again") from error


def _put(table: ndarray, names: tuple[str, ...], values: ndarray) -> None:
    for column, name in enumerate(names):
        table[name] = values[:, column]


def _take(table: ndarray, names: tuple[str, ...]) -> ndarray:
    return np.stack([table[name].astype(np.float64) for name in names], axis=-1)
