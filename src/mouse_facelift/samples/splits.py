"""The split rule: blocks of time with gaps, never random neighbours.

Frames a tenth of a second apart are near-duplicates; a random split puts them on both sides and its validation says
nothing. Here the last part of every segment is held out and the frames next to it belong to neither side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mouse_facelift.errors import InputError

Split = Literal["train", "val", "gap"]


@dataclass(frozen=True)
class SplitConfig:
    """How a segment's frames are divided."""

    val_fraction: float = 0.1
    """Share of each segment's duration, at its end, that is held out for validation."""
    gap_s: float = 0.1
    """Seconds between the last training frame and the first validation frame; frames inside are left out."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1 or self.gap_s < 0:
            raise InputError(f"split: val_fraction {self.val_fraction} must be in [0, 1) and gap_s {self.gap_s} >= 0")


def assign_splits(times: Float[np.ndarray, "n"], config: SplitConfig) -> list[Split]:
    """The split of each frame of *one* segment, given its sorted times in seconds."""
    if not len(times) or config.val_fraction == 0:
        return ["train"] * len(times)
    held_out = max(1, round(config.val_fraction * len(times)))
    boundary = times[len(times) - held_out]
    # Half a microsecond of slack: frame times are ratios and gaps are often whole numbers of frames.
    splits: list[Split] = [
        "val" if time >= boundary else "gap" if time > boundary - config.gap_s - 5e-7 and config.gap_s else "train"
        for time in times
    ]
    return splits
