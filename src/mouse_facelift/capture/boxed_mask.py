"""A silhouette as the rectangle it lies in: an animal covers a few percent of a frame, nobody need visit the rest."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Mask = Bool[np.ndarray, "h w"]
# Bounds of the box in a packed silhouette: top, bottom, left, right.
_BOX = np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class BoxedMask:
    """One view's silhouette.

    Attributes:
        inside: The silhouette in its bounding box; 0 x 0 where it is empty.
        top, left: First row and column of the box.
        height, width: Size of the frame, in pixels.
    """

    inside: Bool[np.ndarray, "a b"]
    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def of(mask: Mask | UInt8[np.ndarray, "h w"]) -> BoxedMask:
        """The silhouette of a mask as large as the frame."""
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        inside = np.ascontiguousarray(mask[top : top + height, left : left + width]).astype(bool, copy=False)
        return BoxedMask(inside, top, left, *mask.shape[:2])

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return self.inside.size > 0

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.inside.shape[0])

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.inside.shape[1])

    def full(self) -> Mask:
        """The silhouette as a mask as large as the frame."""
        mask = np.zeros((self.height, self.width), bool)
        mask[self.rows, self.columns] = self.inside
        return mask

    def within(self, rows: slice, columns: slice) -> Mask:
        """The part of :meth:`full` in a rectangle that holds the box."""
        part = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        top, left = self.top - rows.start, self.left - columns.start
        part[top : top + self.inside.shape[0], left : left + self.inside.shape[1]] = self.inside
        return part

    def moved(self, top: int, left: int, height: int, width: int) -> BoxedMask:
        """The same silhouette in a larger frame, in which its own frame begins at (top, left)."""
        return replace(self, top=self.top + top, left=self.left + left, height=height, width=width)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self._rows[:, 2].sum())

    @cached_property
    def centroid(self) -> Float[np.ndarray, "2"]:
        """Mean of the silhouette's pixels, (x, y) in the frame with a corner origin; nan where it is empty."""
        if not self:
            return np.full(2, np.nan)
        counts, sums = self._rows[:, 2], self._rows[:, 3]
        return np.array([sums.sum(), counts @ np.arange(len(counts))]) / self.area + 0.5 + [self.left, self.top]

    def edges(self) -> Int[np.ndarray, "n 2"]:
        """(column, row) in the frame of the first and the last pixel of every row of the silhouette."""
        rows = np.flatnonzero(self._rows[:, 2])
        first, last = self._rows[rows, :2].T
        return np.stack([np.append(first, last) + self.left, np.append(rows, rows) + self.top], axis=-1)

    @cached_property
    def _rows(self) -> Int[np.ndarray, "a 4"]:
        return _rows(self.inside)

    def pack(self) -> bytes:
        """A few hundred bytes: the box and the compressed bits inside."""
        box = (self.rows.start, self.rows.stop, self.columns.start, self.columns.stop) if self else (0, 0, 0, 0)
        return np.array(box, _BOX).tobytes() + zlib.compress(np.packbits(self.inside).tobytes(), 1)

    @staticmethod
    def unpack(data: bytes, height: int, width: int) -> BoxedMask:
        """The inverse of :meth:`pack`, for a frame of this size."""
        size = 4 * _BOX.itemsize
        top, bottom, left, right = np.frombuffer(data[:size], _BOX).tolist()
        bits = np.frombuffer(zlib.decompress(data[size:]), np.uint8)
        shape = bottom - top, right - left
        inside = np.unpackbits(bits, count=shape[0] * shape[1]).view(bool).reshape(shape)
        return BoxedMask(inside, top, left, height, width)


@numba.njit(cache=True, nogil=True)
def _rows(inside: Bool[np.ndarray, "a b"]) -> Int[np.ndarray, "a 4"]:  # pragma: no cover - compiled
    """First and last pixel, number of pixels and sum of their columns, of every row."""
    found = np.zeros((inside.shape[0], 4), np.int64)
    for row in range(inside.shape[0]):
        first, last, count, total = -1, -1, 0, 0
        for column in range(inside.shape[1]):
            if inside[row, column]:
                if first < 0:
                    first = column
                last = column
                count += 1
                total += column
        found[row] = first, last, count, total
    return found
