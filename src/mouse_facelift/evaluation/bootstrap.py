"""How sure a mean over frames is: bootstrap intervals (Efron 1979), for means and for paired differences.

Frames are what is drawn again with replacement, each with all its cameras: two cameras' scores of one moment are not
two observations. Neighbouring frames of one recording resemble each other still, so that an interval says what other
frames of these recordings would give, not what another animal would.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

ROUNDS = 2000
"""Resamples: percentiles of 2.5 % are then known to about 0.35 %."""

Frame = TypeVar("Frame", bound=Hashable)

LEVEL = 0.95
"""Share of the resamples' means that an interval holds."""


@dataclass(frozen=True)
class Interval:
    """A mean over frames and the percentile interval around it; nan where there is no frame, an interval where there is
    only one."""

    mean: float
    low: float
    high: float
    frames: int

    def plain(self) -> dict[str, float | int | None]:
        """For JSON: nan is None."""
        numbers = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: None if math.isnan(value) else value for name, value in numbers.items()} | {"frames": self.frames}


def mean_interval(values: Float[np.ndarray, " n"], rounds: int = ROUNDS, seed: int = 0) -> Interval:
    """Mean of one value per frame with its interval; frames without a value (nan) are left out.

    The same values give the same interval. A single frame has none: its own value would look like certainty.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(math.nan, math.nan, math.nan, 0)
    if len(values) == 1:
        return Interval(float(values[0]), math.nan, math.nan, 1)
    draws = np.random.default_rng(seed).integers(len(values), size=(rounds, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired_difference(
    ours: Mapping[Frame, float], theirs: Mapping[Frame, float], rounds: int = ROUNDS, seed: int = 0
) -> Interval:
    """Mean of ours minus theirs over the frames that both have a value for, with its interval.

    Much narrower than two intervals side by side: a hard frame is hard for both.

    Args:
        ours, theirs: a value per frame.
        rounds: resamples.
        seed: of the resampling.
    """
    common = [frame for frame in ours if frame in theirs]
    return mean_interval(np.array([ours[frame] - theirs[frame] for frame in common], dtype=float), rounds, seed)
