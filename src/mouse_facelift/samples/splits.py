"""The split rule: blocks of time with gaps, whole segments or whole recordings; never random neighbours.

Frames a tenth of a second apart are near-duplicates; a random split puts them on both sides and its validation says
nothing. Whatever is held out here, training frames that lie next to it in time belong to neither side, also across a
cut: a cut that is not one must not let them through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from mouse_facelift.errors import InputError

Split = Literal["train", "val", "gap"]

# Frame times are ratios and gaps are often whole numbers of frames: half a microsecond of slack.
_SLACK_S = 5e-7


@dataclass(frozen=True)
class SplitConfig:
    """What is held out for validation."""

    val_fraction: float = 0.1
    """Share of each segment's frames that is held out, in blocks of time; unused where segments or captures are."""
    gap_s: float = 0.1
    """Seconds between any training and any validation frame of a recording; frames inside are left out."""
    blocks: int = 1
    """Held-out blocks of time in each segment, evenly spread, the last at its end (at most one per held-out frame)."""
    val_segments: tuple[int, ...] = ()
    """Hold out these whole segments (numbered from 0 in every recording) instead of blocks of time."""
    val_captures: tuple[str, ...] = ()
    """Hold out these whole recordings, such as another animal, by name, instead of blocks of time."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1 or not 0 <= self.gap_s < float("inf"):
            raise InputError(f"split: val_fraction {self.val_fraction} must be in [0, 1) and gap_s {self.gap_s} >= 0")
        if self.blocks < 1:
            raise InputError(f"split: blocks ({self.blocks}) must be at least 1")
        if self.blocks > 1 and (self.val_segments or self.val_captures):
            raise InputError(
                "split: blocks divide segments; leave them out where whole segments or captures are held out"
            )

    @property
    def rule(self) -> str:
        """In words, what is held out."""
        if not self.val_segments and not self.val_captures:
            blocks = "the last part" if self.blocks == 1 else f"{self.blocks} blocks"
            return f"{blocks} of every segment ({self.val_fraction:g} of its frames)"
        segments = [f"segment {', '.join(map(str, self.val_segments))} of every recording"] if self.val_segments else []
        return " and ".join([f"recording {', '.join(self.val_captures)}"] * bool(self.val_captures) + segments)


def assign_splits(
    times: Float[np.ndarray, " n"],
    config: SplitConfig,
    segments: Int[np.ndarray, " n"] | None = None,
    capture: str = "",
) -> list[Split]:
    """The split of each selected frame of *one* recording.

    Args:
        times: Seconds, not decreasing.
        config: The rule.
        segments: Number of the segment of each frame, not decreasing; one segment when left out.
        capture: The recording's name.

    Raises:
        InputError: The rule names a segment that has no frames here.
    """
    segments = np.zeros(len(times), int) if segments is None else segments
    val = _held_out(segments, config, capture)
    gap = ~val & (_distance(times, times[val]) < config.gap_s - _SLACK_S)
    return ["val" if v else "gap" if g else "train" for v, g in zip(val, gap, strict=True)]


def check_captures(names: Sequence[str], config: SplitConfig) -> None:
    """Refuse a rule that holds out recordings nobody gave.

    Raises:
        InputError: With the names there are.
    """
    unknown = [name for name in config.val_captures if name not in names]
    if unknown:
        raise InputError(
            f"split: no recording is named {', '.join(unknown)} (--split.val-captures); there are {', '.join(names)}"
        )


def describe_splits(config: SplitConfig, times: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """The split as planned, as plain values: the rule and, per recording, counts and the smallest distance in time.

    Args:
        config: The rule.
        times: Seconds of the frames by recording, then split ("train", "val").

    Raises:
        RuntimeError: A training frame lies nearer to a validation frame than the gap (the plan is wrong).
    """
    captures = {}
    for name, by_split in times.items():
        train, val = (np.sort(np.asarray(by_split.get(split, ()), float)) for split in ("train", "val"))
        nearest = float(_distance(train, val).min(initial=np.inf))
        if nearest < config.gap_s - 2 * _SLACK_S:
            raise RuntimeError(
                f"{name}: training and validation frames {nearest:.6g} s apart, planned {config.gap_s} s"
            )
        measured = round(nearest, 6) if np.isfinite(nearest) else None
        captures[name] = {"train": len(train), "val": len(val), "gap_s": measured}
    return {"rule": config.rule, "gap_s": config.gap_s, "captures": captures}


def _held_out(segments: Int[np.ndarray, " n"], config: SplitConfig, capture: str) -> Bool[np.ndarray, " n"]:
    if capture in config.val_captures:
        return np.ones(len(segments), bool)
    present, counts = np.unique(segments, return_counts=True)
    absent = [segment for segment in config.val_segments if segment not in present]
    if absent:
        raise InputError(
            f"split: {capture or 'the recording'} has no selected frames in segment {', '.join(map(str, absent))} "
            f"(--split.val-segments); it has segments {', '.join(map(str, present))}"
        )
    if config.val_segments or config.val_captures:
        return np.isin(segments, config.val_segments)
    return np.concatenate([np.zeros(0, bool), *(_blocks(int(count), config) for count in counts)])


def _blocks(count: int, config: SplitConfig) -> Bool[np.ndarray, " n"]:
    """The held-out frames of one segment: the end of each of ``blocks`` equal parts."""
    held_out = np.zeros(count, bool)
    if config.val_fraction == 0:
        return held_out
    total = max(1, round(config.val_fraction * count))
    blocks = min(config.blocks, total)
    for block in range(blocks):
        stop, size = (block + 1) * count // blocks, (block + 1) * total // blocks - block * total // blocks
        held_out[stop - size : stop] = True
    return held_out


def _distance(times: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Seconds from each time to the nearest of ``others`` (increasing); infinite where there is none."""
    bounded = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(bounded, times)
    return np.minimum(bounded[after] - times, times - bounded[after - 1])
