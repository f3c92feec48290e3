"""Jitter: how much a reconstruction trembles, in millimetres, apart from how the animal moves.

A position that is measured with independent errors of standard deviation s (per axis) along a smooth path has third
differences `-p0 + 3 p1 - 3 p2 + p3` whose variance per axis is 20 s^2, while motion of constant acceleration leaves
them at 0. So the jitter, `sqrt(mean |third difference|^2 / 20)`, estimates the length of the error vector (the root of
the sum of the three axes' variances). What the animal really does within four frames counts as well: a difference
between two reconstructions of the same frames is theirs, the value itself is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.gaussians.sequence_row import FrameIndex

# Four frames in a row whose spacing differs by more than this share are not evenly spaced.
_UNEVEN = 0.01


def jitter(
    positions: Float[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"],
    segments: Int[np.ndarray, " n"] | Sequence[int] | None = None,
) -> float:
    """Jitter of a track, in the units of the positions; nan where no four frames follow one another evenly.

    Args:
        positions: Of consecutive moments.
        times: Increasing inside a segment, seconds.
        segments: The stretch of the recording each belongs to; nothing is compared across a cut. One when None.

    Raises:
        ValueError: arrays that do not fit together.
    """
    positions, times = np.asarray(positions, np.float64), np.asarray(times, np.float64)
    segment_of = np.zeros(len(times), int) if segments is None else np.asarray(segments)
    if positions.shape != (len(times), 3) or segment_of.shape != times.shape:
        raise ValueError(f"positions {positions.shape}, times {times.shape} and segments {segment_of.shape} differ")
    if len(times) < 4:
        return float("nan")
    steps = np.diff(times)
    spacing = np.stack([steps[:-2], steps[1:-1], steps[2:]])
    even = (np.ptp(spacing, axis=0) <= _UNEVEN * spacing.mean(0)) & (spacing.min(0) > 0)
    even &= (segment_of[:-3] == segment_of[1:-2]) & (segment_of[1:-2] == segment_of[2:-1])
    even &= segment_of[2:-1] == segment_of[3:]
    third = np.diff(positions, n=3, axis=0)[even]
    return float(np.sqrt((third**2).sum(-1).mean() / 20)) if len(third) else float("nan")


@dataclass(frozen=True)
class Steadiness:
    """What steadying did to a sequence; millimetres, nan where nothing could be measured."""

    jitter_before: float
    jitter_after: float
    mean_shift: float
    """Mean length of the frames' shifts."""
    largest_shift: float


def steadiness(
    centres: Float[np.ndarray, "n 3"], shifts: Float[np.ndarray, "n 3"], index: Sequence[FrameIndex]
) -> Steadiness:
    """Jitter of the centres before and after shifts that `gaussians.steadying` gave."""
    seen = np.isfinite(centres).all(-1)
    times = np.array([moment.time_s for moment in index])[seen]
    # Two recordings are as far apart as two segments.
    stretches = {key: number for number, key in enumerate(dict.fromkeys((m.capture, m.segment) for m in index))}
    segments = np.array([stretches[(moment.capture, moment.segment)] for moment in index], int)[seen]
    lengths = np.linalg.norm(shifts, axis=-1)
    return Steadiness(
        jitter(centres[seen], times, segments),
        jitter((centres + shifts)[seen], times, segments),
        float(lengths.mean()) if len(lengths) else math.nan,
        float(lengths.max(initial=0.0)),
    )
