"""Which splats touch which tile, front to back: a radix sort by depth, then a counting sort by tile.

Everything is an integer permutation, so the order does not depend on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, Int32, Int64
from numba import prange
from numpy import ndarray

from mouse_facelift.gaussians.tiled_compile import compiled
from mouse_facelift.gaussians.tiled_projection import CENTRE_X, CENTRE_Y, DEPTH, EXTENT_X, EXTENT_Y

TILE_SIZES = (8, 16, 32)
"""Sides of a tile in pixels. Small tiles waste fewer pixels, large ones need fewer entries; see `bin_splats`."""

_MOST_ENTRIES = 1 << 25
"""Entries (splat, tile) above which the next larger tile is taken: bounds memory when splats cover much of a large
image (4 bytes an entry to draw, 36 more to differentiate)."""

_RADIX_BITS = 11
_CHUNKS = 16
"""The depth order is cut into this many runs, which are sorted into tiles in parallel."""


class Bins(NamedTuple):
    """Entry e with `starts[t] <= e < starts[t + 1]` puts splat `splats[e]` in tile t (row-major), front to back.

    `boxes` are the tiles a splat's extent touches (left, top, right, bottom, the latter two exclusive), and
    `first_entries` counts them: splat n owns rows `first_entries[n] : first_entries[n + 1]` of a table with one row
    for each entry, row-major over its box.
    """

    tile: int
    tiles_x: int
    tiles_y: int
    starts: Int64[ndarray, " t+1"]
    splats: Int32[ndarray, " e"]
    boxes: Int16[ndarray, "n 4"]
    first_entries: Int64[ndarray, " n+1"]


@compiled()
def _tile_box(record: Float32[ndarray, " 12"], tile: int, tiles_x: int, tiles_y: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom tile that an extent touches, the latter two exclusive; 0 for a splat not drawn."""
    if record[EXTENT_X] < np.float32(0):
        return 0, 0, 0, 0
    side = np.float32(tile)
    left = max(np.floor((record[CENTRE_X] - record[EXTENT_X]) / side), np.float32(0))
    top = max(np.floor((record[CENTRE_Y] - record[EXTENT_Y]) / side), np.float32(0))
    right = min(np.floor((record[CENTRE_X] + record[EXTENT_X]) / side) + np.float32(1), np.float32(tiles_x))
    bottom = min(np.floor((record[CENTRE_Y] + record[EXTENT_Y]) / side) + np.float32(1), np.float32(tiles_y))
    return int(left), int(top), int(right), int(bottom)


@compiled()
def _depth_order(records: Float32[ndarray, "n 12"]) -> Int32[ndarray, " m"]:
    """Drawn splats, nearest first, ties by index: least-significant-digit radix sort of the depths' bits.

    Depths are positive, and the bits of positive floats sort like the floats.
    """
    drawn = 0
    for n in range(records.shape[0]):
        drawn += records[n, EXTENT_X] >= np.float32(0)
    order, other = np.empty(drawn, np.int32), np.empty(drawn, np.int32)
    keys, other_keys = np.empty(drawn, np.uint32), np.empty(drawn, np.uint32)
    m = 0
    for n in range(records.shape[0]):
        if records[n, EXTENT_X] >= np.float32(0):
            order[m] = n
            keys[m] = np.float32(records[n, DEPTH]).view(np.uint32)
            m += 1
    mask = np.uint32((1 << _RADIX_BITS) - 1)
    for shift in range(0, 32, _RADIX_BITS):
        places = np.zeros((1 << _RADIX_BITS) + 1, np.int64)
        for m in range(drawn):
            places[((keys[m] >> np.uint32(shift)) & mask) + 1] += 1
        for digit in range(1 << _RADIX_BITS):
            places[digit + 1] += places[digit]
        for m in range(drawn):
            digit = (keys[m] >> np.uint32(shift)) & mask
            place = places[digit]
            places[digit] = place + 1
            other[place] = order[m]
            other_keys[place] = keys[m]
        order, other = other, order
        keys, other_keys = other_keys, keys
    return order


@compiled()
def _boxes(
    records: Float32[ndarray, "n 12"], tile: int, tiles_x: int, tiles_y: int
) -> tuple[Int16[ndarray, "n 4"], Int64[ndarray, " n+1"]]:
    """`Bins.boxes` and `Bins.first_entries`. Apart from the records: sorting visits them in random order."""
    boxes = np.zeros((records.shape[0], 4), np.int16)
    first = np.zeros(records.shape[0] + 1, np.int64)
    for n in range(records.shape[0]):
        left, top, right, bottom = _tile_box(records[n], tile, tiles_x, tiles_y)
        boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = left, top, right, bottom
        first[n + 1] = first[n] + (right - left) * (bottom - top)
    return boxes, first


@compiled(parallel=True)
def _sort_into_tiles(
    boxes: Int16[ndarray, "n 4"], order: Int32[ndarray, " m"], tiles_x: int, tiles_y: int
) -> tuple[Int64[ndarray, " t+1"], Int32[ndarray, " e"]]:
    tiles = tiles_x * tiles_y
    places = np.zeros((_CHUNKS, tiles), np.int64)
    for chunk in prange(_CHUNKS):
        for m in range(order.size * chunk // _CHUNKS, order.size * (chunk + 1) // _CHUNKS):
            box = boxes[order[m]]
            for row in range(box[1], box[3]):
                for column in range(box[0], box[2]):
                    places[chunk, row * tiles_x + column] += 1
    starts = np.empty(tiles + 1, np.int64)
    total = 0
    for t in range(tiles):
        starts[t] = total
        for chunk in range(_CHUNKS):
            count = places[chunk, t]
            places[chunk, t] = total
            total += count
    starts[tiles] = total
    splats = np.empty(total, np.int32)
    for chunk in prange(_CHUNKS):
        for m in range(order.size * chunk // _CHUNKS, order.size * (chunk + 1) // _CHUNKS):
            box = boxes[order[m]]
            for row in range(box[1], box[3]):
                for column in range(box[0], box[2]):
                    place = places[chunk, row * tiles_x + column]
                    places[chunk, row * tiles_x + column] = place + 1
                    splats[place] = order[m]
    return starts, splats


def bin_splats(records: Float32[ndarray, "n 12"], width: int, height: int) -> Bins:
    """Sorts one view's splats into tiles, the smallest that keep the number of entries in bounds."""
    order = _depth_order(records)
    tile = TILE_SIZES[0]
    while True:
        tiles_x, tiles_y = -(-width // tile), -(-height // tile)
        boxes, first_entries = _boxes(records, tile, tiles_x, tiles_y)
        if first_entries[-1] <= _MOST_ENTRIES or tile == TILE_SIZES[-1]:
            break
        tile = TILE_SIZES[TILE_SIZES.index(tile) + 1]
    starts, splats = _sort_into_tiles(boxes, order, tiles_x, tiles_y)
    return Bins(tile, tiles_x, tiles_y, starts, splats, boxes, first_entries)
