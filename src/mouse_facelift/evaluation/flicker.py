"""Flicker: how much pictures that follow one another differ beyond what motion explains.

For consecutive pictures a, b of one camera: dense optical flow from b to a (DIS, Kroeger et al. 2016) says where in a
every pixel of b was; a is warped there, and the *residual* is the mean absolute difference of b and the warped a over
the channels and over the pixels that count. Those are the pixels that show the animal in b and whose origin shows it
in a, and whose flow to a and back ends within a pixel of where it began: what was uncovered has no past to compare
with. (The temporal warping error of Lai et al. 2018, as an absolute difference.) The *difference* is the same without
the warp: what a viewer sees change, motion included. Both in [0, 1] of the pictures' range.

A recording's own pictures have a residual, too - noise, light, wrong flow: a rendering's is judged beside that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# A forward-backward error beyond this (pixels) marks a pixel that has no counterpart.
_FLOW_TOLERANCE = 1.0
# With fewer pixels in common, a pair says nothing.
_LEAST_PIXELS = 16
# DIS finds no flow in pictures smaller than its coarsest patch.
_SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Flicker:
    """Means over pairs of pictures; nan where no pair could be compared."""

    residual: float
    """Mean absolute difference after motion compensation."""
    difference: float
    """Mean absolute difference over the same pixels, without it."""
    worst: float
    """The largest residual of one pair."""
    worst_pair: int
    """Which pair that is: it begins with this picture; -1 where there is none."""
    pairs: int
    """Pairs that were compared."""


class FlickerMeter:
    """Measures flicker while the pictures pass by, in order of time; the last one alone is kept."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._pairs: list[tuple[float, float]] = []
        self._starts: list[int] = []
        self._count = 0

    def add(self, picture: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], follows: bool = True) -> None:
        """The next picture.

        Args:
            picture: RGB, of the size of all others, at least 16 px a side.
            mask: Where it shows the animal.
            follows: Whether it is compared with the one before; not across a cut or a gap.

        Raises:
            ValueError: a picture that differs in size or is too small, or a mask of another size.
        """
        number, before = self._count, self._before
        if mask.shape != picture.shape[:2] or min(mask.shape) < _SMALLEST_SIDE:
            raise ValueError(f"picture {number} of shape {picture.shape} needs a mask of its size and 16 px a side")
        if before is not None and before[0].shape != picture.shape:
            raise ValueError(f"picture {number} has shape {picture.shape}, the one before it {before[0].shape}")
        if before is not None and follows:
            pair = pair_flicker(before[0], picture, before[1], mask)
            if pair is not None:
                self._pairs.append(pair)
                self._starts.append(number - 1)
        self._before, self._count = (picture, mask), number + 1

    def result(self) -> Flicker:
        """Of the pictures so far."""
        if not self._pairs:
            return Flicker(np.nan, np.nan, np.nan, -1, 0)
        residuals, differences = zip(*self._pairs, strict=True)
        worst = int(np.argmax(residuals))
        means = float(np.mean(residuals)), float(np.mean(differences))
        return Flicker(*means, residuals[worst], self._starts[worst], len(residuals))


def flicker(
    pictures: Iterable[UInt8[np.ndarray, "h w 3"]],
    masks: Iterable[Bool[np.ndarray, "h w"]] | None = None,
    breaks: frozenset[int] = frozenset(),
) -> Flicker:
    """Flicker of one camera's pictures, in order of time; two are held in memory.

    Args:
        pictures: RGB, all of one size, at least 16 px a side.
        masks: Where each shows the animal; everywhere when None.
        breaks: Numbers of the pictures that do not follow the one before them: a cut, a gap.

    Raises:
        ValueError: pictures that differ in size or are too small, or fewer masks than pictures.
    """
    meter = FlickerMeter()
    everywhere = iter(masks) if masks is not None else None
    for number, picture in enumerate(pictures):
        mask = np.ones(picture.shape[:2], bool) if everywhere is None else next(everywhere, None)
        if mask is None:
            raise ValueError(f"picture {number} has no mask; give each one")
        meter.add(picture, mask, number not in breaks)
    return meter.result()


def pair_flicker(
    a: UInt8[np.ndarray, "h w 3"],
    b: UInt8[np.ndarray, "h w 3"],
    mask_a: Bool[np.ndarray, "h w"],
    mask_b: Bool[np.ndarray, "h w"],
) -> tuple[float, float] | None:
    """(residual, difference) of one pair; None where too few pixels can be compared."""
    back, forth = _flow(b, a), _flow(a, b)
    height, width = mask_a.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + back[..., 0], rows + back[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    round_trip = np.linalg.norm(back + _sampled(forth, x, y), axis=-1)
    from_animal = _sampled(mask_a.astype(np.float32), x, y) > 0.5
    counted = inside & (round_trip < _FLOW_TOLERANCE) & from_animal & mask_b
    if counted.sum() < _LEAST_PIXELS:
        return None
    first, second = a.astype(np.float32) / 255, b.astype(np.float32) / 255
    residual = np.abs(second - _sampled(first, x, y)).mean(-1)[counted].mean()
    return float(residual), float(np.abs(second - first).mean(-1)[counted].mean())


def _flow(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """Where each pixel of a went in b, in pixels (x, y)."""
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in (a, b))
    return engine.calc(first, second, np.zeros((*a.shape[:2], 2), np.float32))


def _sampled(image: np.ndarray, x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> np.ndarray:
    """Bilinear values at positions that count pixel centres from 0."""
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
