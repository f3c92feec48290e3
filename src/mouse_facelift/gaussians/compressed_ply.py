"""Gaussians as compressed PLY, the form that SuperSplat and the PlayCanvas engine read: 16 bytes each.

A binary little-endian PLY with an element `chunk` (18 floats: least and greatest position, logarithm of scale, and
colour of 256 Gaussians) and an element `vertex` (four 32-bit words a Gaussian): position and scale at 11, 10 and 11
bits between the chunk's ends, rotation at 2 + 3 x 10 bits, colour and opacity at 8 bits each; high bits first.
Layout: https://blog.playcanvas.com/compressing-gaussian-splats, and the readers of SuperSplat 2, Babylon.js and
GaussianSplats3D, which agree.

Gaussians are put in Morton order, so that the 256 of a chunk are neighbours and share a small box.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt32
from numpy import ndarray

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.quantising import from_levels, pack_rotations, to_levels, unpack_rotations
from mouse_facelift.gaussians.splat import require_finite

CHUNK = 256
"""Gaussians that share one box."""
_ENDS = tuple(
    f"{end}_{name}"
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    for end in ("min", "max")
    for name in names
)
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_BITS = (11, 10, 11)
# Readers of the format take no logarithm of a scale beyond these.
_LOG_SCALES = (-20.0, 20.0)
# So fine that neighbours along the curve are neighbours in space, in 63 bits of a key.
_MORTON_BITS = 21


def encode_compressed_ply(gaussians: Gaussians, name: str = "gaussians.compressed.ply") -> bytes:
    """The bytes of the file.

    Raises:
        InputError: values that are not finite, or scales not above 0 (naming `name`).
    """
    require_finite(gaussians, name)
    means, scales, rotations, opacities, colours = (
        tensor.detach().cpu().double().numpy() for tensor in gaussians.tensors()
    )
    if not (scales > 0).all():
        raise InputError(f"{name}: Gaussians need scales above 0, the smallest is {scales.min():g}")
    order = morton_order(means)
    logs = np.clip(np.log(scales), *_LOG_SCALES)
    columns = [values[order] for values in (means, logs, colours)]
    starts = np.arange(0, len(means), CHUNK)
    chunk_of = np.arange(len(means)) // CHUNK
    ends, levels = [], []
    for values, bits in zip(columns, (_BITS, _BITS, (8, 8, 8)), strict=True):
        # Single precision as in the file, so that packing and unpacking use the same ends.
        lower = np.minimum.reduceat(values, starts).astype(np.float32) if len(values) else np.zeros((0, 3), np.float32)
        upper = np.maximum.reduceat(values, starts).astype(np.float32) if len(values) else np.zeros((0, 3), np.float32)
        ends += [lower, upper]
        low, high = lower.astype(np.float64)[chunk_of], upper.astype(np.float64)[chunk_of]
        levels.append([to_levels(values[:, k], low[:, k], high[:, k], bits[k]) for k in range(3)])
    (x, y, z), (u, v, w), (r, g, b) = levels
    alpha = to_levels(opacities[order], 0.0, 1.0, 8)
    words = [_packed((x, y, z), _BITS), pack_rotations(rotations[order]), _packed((u, v, w), _BITS)]
    words.append(_packed((r, g, b, alpha), (8, 8, 8, 8)))
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(starts)}"]
    lines += [f"property float {end}" for end in _ENDS]
    lines += [f"element vertex {len(means)}", *(f"property uint {word}" for word in _WORDS), "end_header", ""]
    header = "\n".join(lines).encode("ascii")
    boxes = np.concatenate(ends, axis=-1).astype("<f4").tobytes()
    return header + boxes + np.stack(words, axis=-1).astype("<u4").tobytes()


def decode_compressed_ply(data: bytes, name: str = "gaussians.compressed.ply") -> Gaussians:
    """Float32 Gaussians on the CPU, in the file's order.

    Raises:
        InputError: not such a file as this module writes, cut short, or not finite (naming `name`).
    """
    count, start = _read_header(data, name)
    chunks = -(-count // CHUNK)
    wanted = start + 4 * len(_ENDS) * chunks + 4 * len(_WORDS) * count
    if len(data) < wanted:
        raise InputError(f"{name}: ends before its {count} Gaussians do; copy or write the file again")
    boxes = np.frombuffer(data, "<f4", len(_ENDS) * chunks, start).reshape(chunks, len(_ENDS)).astype(np.float64)
    offset = start + boxes.size * 4
    words = np.frombuffer(data, "<u4", len(_WORDS) * count, offset).reshape(count, len(_WORDS))
    ends = boxes[np.arange(count) // CHUNK].reshape(count, 3, 2, 3)

    def between(word: int, which: int, bits: tuple[int, ...]) -> Float[ndarray, "n 3"]:
        levels = _unpacked(words[:, word], bits)
        low, high = ends[:, which, 0], ends[:, which, 1]
        return np.stack([from_levels(levels[k], low[:, k], high[:, k], bits[k]) for k in range(3)], axis=-1)

    alpha = from_levels(_unpacked(words[:, 3], (8, 8, 8, 8))[3], 0.0, 1.0, 8)
    arrays = (
        between(0, 0, _BITS),
        np.exp(between(2, 1, _BITS)),
        unpack_rotations(words[:, 1]),
        alpha,
        np.maximum(between(3, 2, (8, 8, 8, 8)), 0.0),
    )
    gaussians = Gaussians(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))
    require_finite(gaussians, name)
    return gaussians


def morton_order(points: Float[ndarray, "n 3"]) -> Int64[ndarray, " n"]:
    """The order in which a Z-order curve through the points' box meets them."""
    if not len(points):
        return np.zeros(0, np.int64)
    cells = to_levels(points, points.min(0), points.max(0), _MORTON_BITS).astype(np.uint64)
    key = np.zeros(len(points), np.uint64)
    for bit in range(_MORTON_BITS):
        for axis in range(3):
            key |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(key, kind="stable")


def _packed(levels: tuple[ndarray, ...], bits: tuple[int, ...]) -> UInt32[ndarray, " n"]:
    word = np.zeros(len(levels[0]), np.uint32)
    for level, width in zip(levels, bits, strict=True):
        word = word << np.uint32(width) | level.astype(np.uint32)
    return word


def _unpacked(word: UInt32[ndarray, " n"], bits: tuple[int, ...]) -> list[UInt32[ndarray, " n"]]:
    levels, shift = [], sum(bits)
    for width in bits:
        shift -= width
        levels.append(word >> np.uint32(shift) & np.uint32(2**width - 1))
    return levels


def _read_header(data: bytes, name: str) -> tuple[int, int]:
    """Number of Gaussians, and where the chunks start."""
    end = data.find(b"end_header\n", 0, 1 << 16)
    lines = [line for line in data[: max(end, 0)].decode("ascii", "replace").splitlines() if line[:7] != "comment"]
    wanted = [*(f"property float {e}" for e in _ENDS)], [*(f"property uint {w}" for w in _WORDS)]
    elements = [number for number, line in enumerate(lines) if line.startswith("element ")]
    if lines[:2] != ["ply", "format binary_little_endian 1.0"] or len(elements) < 2:
        raise InputError(f"{name}: is not a compressed PLY; export it again")
    chunk, vertex = (lines[number].split() for number in elements[:2])
    until = elements[2] if len(elements) > 2 else len(lines)
    found = lines[elements[0] + 1 : elements[1]], lines[elements[1] + 1 : until]
    counts = [words[2] for words in (chunk, vertex) if len(words) == 3 and words[2].isdigit()]
    if found != wanted or [chunk[1], vertex[1]] != ["chunk", "vertex"] or len(counts) != 2:
        raise InputError(f"{name}: is not a compressed PLY as SuperSplat 2 writes it; export it again with that")
    if int(counts[0]) != -(-int(counts[1]) // CHUNK):
        raise InputError(f"{name}: has {counts[0]} chunks for {counts[1]} Gaussians; write the file again")
    return int(counts[1]), end + len(b"end_header\n")
