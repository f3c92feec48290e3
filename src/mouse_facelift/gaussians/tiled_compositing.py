"""Front-to-back compositing of splats, tile by tile, and its derivative, compiled.

A tile's pixels lie in one flat buffer, and the inner loops run over whole pixel rows of it without branches, so that
the compiler turns them into vector instructions; that is why a pixel that is finished keeps a negative transmittance
instead of leaving the loop, and why the exponential is spelt out. Tiles share nothing, and the backward pass writes
one row per (splat, tile), so neither needs locks and both give the same bits on any number of threads.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32
from numba import prange
from numpy import ndarray

from mouse_facelift.gaussians.conventions import Conventions
from mouse_facelift.gaussians.tiled_binning import TILE_SIZES, Bins
from mouse_facelift.gaussians.tiled_compile import Scalar, compiled
from mouse_facelift.gaussians.tiled_gradient import (
    D_BLUE,
    D_GREEN,
    D_RED,
    GRADIENT_SIZE,
    SUM_Q,
    SUM_QX,
    SUM_QXX,
    SUM_QXY,
    SUM_QY,
    SUM_QYY,
)
from mouse_facelift.gaussians.tiled_projection import (
    BLUE,
    CENTRE_X,
    CENTRE_Y,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    EXTENT_Y,
    GREEN,
    OPACITY,
    RED,
)

# Planes of a tile's buffer. One buffer with constant distances: the compiler then knows that they do not overlap.
# The odd 16 keeps the planes from falling into the same cache sets.
_PLANE = max(TILE_SIZES) ** 2 + 16
_X, _Y, _T, _R, _G, _B, _BEHIND = (np.uint64(plane * _PLANE) for plane in range(7))
_BUFFER_SIZE = 7 * _PLANE

_SPLATS_BETWEEN_CHECKS = 8
"""How often a tile looks whether all of its pixels are finished."""

_VECTOR = 16
"""Single-precision numbers in the widest vector registers there are (AVX-512); divides every tile's area."""

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first exact in few bits, so that x - n ln 2 loses nothing (Cody and Waite, 1980).
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_TAYLOR = tuple(np.float32(1 / factorial) for factorial in (2, 6, 24, 120, 720, 5040))


@compiled()
def _exp(x: Scalar) -> Scalar:
    """e^x for x <= 0 to about one unit in the last place: 2^n times the Taylor series of the rest, |rest| < 0.35."""
    x = max(x, np.float32(-80))
    n = np.floor(x * _LOG2_E + _HALF)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    series = _TAYLOR[4] + r * _TAYLOR[5]
    series = _TAYLOR[3] + r * series
    series = _TAYLOR[2] + r * series
    series = _TAYLOR[1] + r * series
    series = _TAYLOR[0] + r * series
    series = _ONE + r * (_ONE + r * series)
    return series * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled()
def _sigma(dx: Scalar, dy: Scalar, xx: Scalar, xy: Scalar, yy: Scalar) -> Scalar:
    return _HALF * (xx * dx * dx + yy * dy * dy) + xy * dx * dy


@compiled()
def _rows(record: Float32[ndarray, " 12"], top: int, tile: int) -> tuple[int, int]:
    """The part of a tile's buffer that a splat's extent reaches, as first and past-the-last pixel.

    Whole pixel rows, rounded outwards to whole vectors: a remainder would run one pixel at a time.
    """
    first = np.floor(record[CENTRE_Y] - record[EXTENT_Y] - np.float32(top))
    last = np.floor(record[CENTRE_Y] + record[EXTENT_Y] - np.float32(top)) + _ONE
    start, end = int(max(first, _ZERO)) * tile, int(min(last, np.float32(tile))) * tile
    return start // _VECTOR * _VECTOR, (end + _VECTOR - 1) // _VECTOR * _VECTOR


@compiled()
def _place_pixels(buffer: Float32[ndarray, " b"], left: int, top: int, tile: int) -> None:
    for pixel in range(tile * tile):
        buffer[_X + np.uint64(pixel)] = np.float32(left + pixel % tile) + _HALF
        buffer[_Y + np.uint64(pixel)] = np.float32(top + pixel // tile) + _HALF


@compiled()
def _add_splat(
    buffer: Float32[ndarray, " b"],
    last: Int32[ndarray, " p"],
    first_pixel: int,
    end_pixel: int,
    record: Float32[ndarray, " 12"],
    position: int,
    max_alpha: Scalar,
    min_alpha: Scalar,
    min_transmittance: Scalar,
) -> None:
    """Adds one splat to the pixels; `last` remembers its position in the tile where it shows."""
    x, y, opacity = record[CENTRE_X], record[CENTRE_Y], record[OPACITY]
    xx, xy, yy = record[CONIC_XX], record[CONIC_XY], record[CONIC_YY]
    red, green, blue = record[RED], record[GREEN], record[BLUE]
    mark = np.int32(position)
    for p in range(np.uint64(first_pixel), np.uint64(end_pixel)):
        sigma = _sigma(buffer[_X + p] - x, buffer[_Y + p] - y, xx, xy, yy)
        alpha = min(opacity * _exp(-sigma), max_alpha)
        t = buffer[_T + p]
        shows = (sigma >= _ZERO) & (alpha >= min_alpha) & (t > _ZERO)
        alpha = alpha if shows else _ZERO
        after = t * (_ONE - alpha)
        finished = shows & (after <= min_transmittance)
        weight = _ZERO if finished else alpha * t
        buffer[_R + p] += weight * red
        buffer[_G + p] += weight * green
        buffer[_B + p] += weight * blue
        buffer[_T + p] = -t if finished else after
        last[p] = mark if shows & (not finished) else last[p]


@compiled()
def _all_finished(buffer: Float32[ndarray, " b"], pixels: int) -> bool:
    left = 0
    for p in range(np.uint64(pixels)):
        left += np.int64(buffer[_T + p] > _ZERO)
    return left == 0


@compiled(parallel=True)
def composite(
    records: Float32[ndarray, "n 12"],
    bins: Bins,
    turns: Int32[ndarray, " t"],
    width: int,
    height: int,
    rules: Conventions,
) -> tuple[Float32[ndarray, "h w 3"], Float32[ndarray, "h w"], Int32[ndarray, "h w"]]:
    """Colour times alpha, transmittance, and one past the position in its tile of each pixel's last splat.

    `turns` is the order in which tiles are worked on; it has no influence on the result.
    """
    colour = np.empty((height, width, 3), np.float32)
    transmittance = np.empty((height, width), np.float32)
    ends = np.empty((height, width), np.int32)
    tile, pixels = bins.tile, bins.tile * bins.tile
    max_alpha, min_alpha = np.float32(rules.max_alpha), np.float32(rules.min_alpha)
    min_transmittance = np.float32(rules.min_transmittance)
    for turn in prange(turns.size):
        t = turns[turn]
        left, top = (t % bins.tiles_x) * tile, (t // bins.tiles_x) * tile
        buffer, last = np.zeros(_BUFFER_SIZE, np.float32), np.zeros(pixels, np.int32)
        _place_pixels(buffer, left, top, tile)
        buffer[_T : _T + np.uint64(pixels)] = _ONE
        # Pixels beyond the image's edge count as finished.
        for pixel in range(pixels):
            if left + pixel % tile >= width or top + pixel // tile >= height:
                buffer[_T + np.uint64(pixel)] = -_ONE
        first = bins.starts[t]
        for entry in range(first, bins.starts[t + 1]):
            record = records[bins.splats[entry]]
            a, b = _rows(record, top, tile)
            _add_splat(buffer, last, a, b, record, entry - first + 1, max_alpha, min_alpha, min_transmittance)
            if (entry - first) % _SPLATS_BETWEEN_CHECKS == 0 and _all_finished(buffer, pixels):
                break
        for v in range(top, min(top + tile, height)):
            for u in range(left, min(left + tile, width)):
                p = np.uint64((v - top) * tile + u - left)
                colour[v, u, 0], colour[v, u, 1], colour[v, u, 2] = buffer[_R + p], buffer[_G + p], buffer[_B + p]
                transmittance[v, u] = abs(buffer[_T + p])
                ends[v, u] = last[p]
    return colour, transmittance, ends


@compiled(fastmath={"reassoc", "nsz"})
def _take_splat(
    buffer: Float32[ndarray, " b"],
    last: Int32[ndarray, " p"],
    first_pixel: int,
    end_pixel: int,
    record: Float32[ndarray, " 12"],
    position: int,
    max_alpha: Scalar,
    min_alpha: Scalar,
    sums: Float32[ndarray, " 9"],
) -> None:
    """Undoes `_add_splat`, back to front, and sums what the loss says about this splat.

    Planes R, G, B hold dL/d(pixel colour), T the transmittance behind this splat and BEHIND the share of the loss's
    derivative that comes from everything behind it. Sums may be reassociated; alpha may not, it must repeat exactly.
    """
    x, y, opacity = record[CENTRE_X], record[CENTRE_Y], record[OPACITY]
    xx, xy, yy = record[CONIC_XX], record[CONIC_XY], record[CONIC_YY]
    red, green, blue = record[RED], record[GREEN], record[BLUE]
    mark = np.int32(position)
    d_red = d_green = d_blue = s = sx = sy = sxx = sxy = syy = _ZERO
    for p in range(np.uint64(first_pixel), np.uint64(end_pixel)):
        dx, dy = buffer[_X + p] - x, buffer[_Y + p] - y
        sigma = _sigma(dx, dy, xx, xy, yy)
        weight = _exp(-sigma)
        free = opacity * weight
        alpha = min(free, max_alpha)
        shows = (sigma >= _ZERO) & (alpha >= min_alpha) & (mark <= last[p])
        alpha = alpha if shows else _ZERO
        through = _ONE / (_ONE - alpha)
        before = buffer[_T + p] * through
        towards = buffer[_R + p] * red + buffer[_G + p] * green + buffer[_B + p] * blue
        visible = alpha * before
        d_red += visible * buffer[_R + p]
        d_green += visible * buffer[_G + p]
        d_blue += visible * buffer[_B + p]
        q = weight * (before * towards - buffer[_BEHIND + p] * through)
        q = q if shows & (free <= max_alpha) else _ZERO
        buffer[_BEHIND + p] += visible * towards
        buffer[_T + p] = before
        s += q
        sx += q * dx
        sy += q * dy
        sxx += q * dx * dx
        sxy += q * dx * dy
        syy += q * dy * dy
    sums[D_RED], sums[D_GREEN], sums[D_BLUE] = d_red, d_green, d_blue
    sums[SUM_Q], sums[SUM_QX], sums[SUM_QY] = s, sx, sy
    sums[SUM_QXX], sums[SUM_QXY], sums[SUM_QYY] = sxx, sxy, syy


@compiled(parallel=True)
def composite_backward(
    records: Float32[ndarray, "n 12"],
    bins: Bins,
    turns: Int32[ndarray, " t"],
    rules: Conventions,
    transmittance: Float32[ndarray, "h w"],
    ends: Int32[ndarray, "h w"],
    d_colour: Float32[ndarray, "h w 3"],
    d_alpha: Float32[ndarray, "h w"],
) -> Float32[ndarray, "e 9"]:
    """One row per (splat, tile) of sums over the tile's pixels, in the order `Bins.first_entries` describes."""
    per_entry = np.zeros((bins.splats.size, GRADIENT_SIZE), np.float32)
    height, width = transmittance.shape
    tile, pixels = bins.tile, bins.tile * bins.tile
    max_alpha, min_alpha = np.float32(rules.max_alpha), np.float32(rules.min_alpha)
    for turn in prange(turns.size):
        t = turns[turn]
        left, top = (t % bins.tiles_x) * tile, (t // bins.tiles_x) * tile
        buffer, last = np.zeros(_BUFFER_SIZE, np.float32), np.zeros(pixels, np.int32)
        _place_pixels(buffer, left, top, tile)
        end = 0
        for v in range(top, min(top + tile, height)):
            for u in range(left, min(left + tile, width)):
                p = np.uint64((v - top) * tile + u - left)
                buffer[_R + p], buffer[_G + p], buffer[_B + p] = d_colour[v, u, 0], d_colour[v, u, 1], d_colour[v, u, 2]
                buffer[_T + p] = transmittance[v, u]
                # alpha = 1 - T: what is left of the light behaves like a last splat of "colour" -d_alpha.
                buffer[_BEHIND + p] = -d_alpha[v, u] * transmittance[v, u]
                last[p] = ends[v, u]
                end = max(end, ends[v, u])
        for position in range(end, 0, -1):
            n = bins.splats[bins.starts[t] + position - 1]
            box = bins.boxes[n]
            row, column = t // bins.tiles_x - box[1], t % bins.tiles_x - box[0]
            entry = bins.first_entries[n] + row * (box[2] - box[0]) + column
            a, b = _rows(records[n], top, tile)
            _take_splat(buffer, last, a, b, records[n], position, max_alpha, min_alpha, per_entry[entry])
    return per_entry
