"""Decoded pictures that are converted to colour only where somebody looks.

An animal covers a few percent of a frame, and a mask needs no colour at all: converting whole frames costs half as much
as decoding them. What is converted is the same, to the bit, as the same part of the whole picture converted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache

import av
import cv2
import numpy as np
from jaxtyping import UInt8

Image = UInt8[np.ndarray, "h w 3"]
Plane = UInt8[np.ndarray, "h w"]
WHOLE = slice(None)
# Formats of 8 bits whose chroma planes have half the sides.
_HALVED_CHROMA = ("yuv420p", "yuvj420p")
# The chroma of grey.
_NEUTRAL = 128


class Picture(ABC):
    """One frame of a video."""

    width: int
    height: int

    @abstractmethod
    def rgb(self, rows: slice = WHOLE, columns: slice = WHOLE) -> Image:
        """The picture, or a rectangle of it, in RGB; slices without steps."""

    @abstractmethod
    def bright(self, level: int) -> Plane:
        """255 where red, green or blue is above ``level``, 0 elsewhere."""


class RgbPicture(Picture):
    """A picture that came in RGB."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.height, self.width = image.shape[:2]

    def rgb(self, rows: slice = WHOLE, columns: slice = WHOLE) -> Image:
        return self._image[rows, columns]

    def bright(self, level: int) -> Plane:
        # One pass over the pixels: dark means dark in every channel.
        return cv2.bitwise_not(cv2.inRange(self._image, np.zeros(3), np.full(3, float(level)))).astype(
            np.uint8, copy=False
        )


class PlanarPicture(Picture):
    """A picture as codecs store it: luma and, at half the sides, chroma."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame = frame
        self.height, self.width = frame.height, frame.width
        self._halved = frame.format.name in _HALVED_CHROMA

    def rgb(self, rows: slice = WHOLE, columns: slice = WHOLE) -> Image:
        top, bottom, _ = rows.indices(self.height)
        left, right, _ = columns.indices(self.width)
        if not self._halved or (bottom - top, right - left) == (self.height, self.width):
            return self._frame.to_ndarray(format="rgb24")[rows, columns]
        # A pixel of chroma belongs to 2 x 2 pixels.
        upper, lower = top // 2, -(-bottom // 2)
        first, last = left // 2, -(-right // 2)
        part = _blank(self._frame, 2 * (last - first), 2 * (lower - upper))
        for target, source, size in zip(_planes(part), _planes(self._frame), (2, 1, 1), strict=True):
            cut = source[size * upper : size * lower, size * first : size * last]
            target[: cut.shape[0], : cut.shape[1]] = cut
        return part.to_ndarray(format="rgb24")[top % 2 :, left % 2 :][: bottom - top, : right - left]

    def bright(self, level: int) -> Plane:
        if self._halved:
            luma, *chroma = _planes(self._frame)
            if all((plane == _NEUTRAL).all() for plane in chroma):
                shades = _shades(self._frame.format.name, int(self._frame.color_range), int(self._frame.colorspace))
                darkest = int(np.searchsorted(shades, level, side="right"))
                return cv2.threshold(luma, darkest - 1, 255, cv2.THRESH_BINARY)[1].astype(np.uint8, copy=False)
        return RgbPicture(self.rgb()).bright(level)


def _planes(frame: av.VideoFrame) -> list[Plane]:
    """A frame's planes as arrays that share its memory."""
    found = []
    for plane in frame.planes:
        data = np.frombuffer(memoryview(plane), np.uint8)  # pyright: ignore[reportArgumentType] (a buffer unknown to stubs)
        found.append(data.reshape(plane.height, plane.line_size)[:, : plane.width])
    return found


def _blank(like: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A frame that is converted to RGB in the way of another."""
    frame = av.VideoFrame(width, height, like.format.name)
    frame.color_range, frame.colorspace = like.color_range, like.colorspace
    return frame


@lru_cache(maxsize=16)
def _shades(format_name: str, color_range: int, colorspace: int) -> UInt8[np.ndarray, "256"]:
    """What the conversion to RGB makes of each luma without chroma: the same in all channels, never falling."""
    ramp = av.VideoFrame(256, 2, format_name)
    ramp.color_range, ramp.colorspace = color_range, colorspace
    luma, *chroma = _planes(ramp)
    luma[:] = np.arange(256, dtype=np.uint8)
    for plane in chroma:
        plane[:] = _NEUTRAL
    return ramp.to_ndarray(format="rgb24")[0, :, 0]
