"""Where the animal is suddenly elsewhere: perhaps a cut of the recording that nobody told of.

A jump is one step between neighbouring frames that is long in three ways, all speeds being steps over the frames'
distance in time:

* beyond what this recording's animal usually does: many times its median speed;
* beyond what an animal that has sat still may do: a part of its body's length;
* alone: far faster than the steps just before and after it. An animal that darts off gets faster and slower over
  several frames, and on frames far apart its steps differ by chance; a cut is one step between two ordinary ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class JumpConfig:
    """From when on a step is a jump."""

    ratio: float = 8.0
    """Speed relative to the recording's median. Running is some five times the median of a mouse that explores."""
    shortest_mm: float = 15.0
    """Shorter steps are none; a sixth of a mouse's body."""
    isolation: float = 2.5
    """Speed relative to the fastest of the steps around it. A dash of 1.9 m/s reached 2.2 on selections of every
    frame to every eighth; cuts between two places reach 5 and more."""
    around: int = 2
    """How many steps before and after it that is; of two cuts nearer to each other neither may be found."""

    def __post_init__(self) -> None:
        # Comparisons with nan are false, so it is refused too.
        if not (self.ratio >= 1 and self.isolation >= 1 and self.shortest_mm >= 0 and self.around >= 1):
            raise InputError("jumps: ratio, isolation and around must be at least 1, and shortest-mm at least 0")


def find_jumps(
    frames: Int[np.ndarray, " n"], centres: Float[np.ndarray, "n 3"], fps: float, config: JumpConfig | None = None
) -> list[tuple[int, float]]:
    """Jumps of one segment.

    A single stray centre is not a jump: positions are medians of three neighbours first, which keep a step where it is.

    Args:
        frames: Increasing frame numbers.
        centres: Their centres before smoothing, in millimetres.
        fps: Frames per second.
        config: See :class:`JumpConfig`.

    Returns:
        (first frame after the jump, length of the jump in mm), in order.
    """
    config = config or JumpConfig()
    if len(frames) < 3:
        return []
    steady = centres.copy()
    steady[1:-1] = np.median([centres[:-2], centres[1:-1], centres[2:]], axis=0)
    steps = np.linalg.norm(np.diff(steady, axis=0), axis=-1)
    speeds = steps / (np.diff(np.asarray(frames)) / fps)
    long = (speeds > config.ratio * np.median(speeds)) & (steps > config.shortest_mm)
    return [
        (int(frames[i + 1]), float(steps[i]))
        for i in np.flatnonzero(long)
        if speeds[i] > config.isolation * _fastest_around(speeds, int(i), config.around)
    ]


def _fastest_around(speeds: Float[np.ndarray, " m"], step: int, reach: int) -> float:
    """The fastest of the steps next to one, itself left out."""
    near = np.concatenate([speeds[max(0, step - reach) : step], speeds[step + 1 : step + 1 + reach]])
    return float(near.max(initial=0.0))
