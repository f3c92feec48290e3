"""Units of work: a few dozen frames of one capture, decoded together and written as one file.

A unit never crosses a segment or a split, and its name follows from what it holds, so that a run that was killed finds
what it had finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig, assign_splits


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of each capture are used; the default is all of them."""

    stride: int = 1
    """Use every N-th frame."""
    num_samples: int | None = None
    """Use this many frames, evenly spread over the recording (instead of a stride)."""
    cuts: tuple[int, ...] = ()
    """First frames after known cuts of the recording; nothing is smoothed or paired across a cut."""

    def __post_init__(self) -> None:
        if self.stride < 1 or (self.num_samples is not None and self.num_samples < 1):
            raise InputError(f"stride ({self.stride}) and num-samples ({self.num_samples}) must be at least 1")
        if self.stride > 1 and self.num_samples is not None:
            raise InputError("give either --stride or --num-samples, not both")


@dataclass(frozen=True)
class Unit:
    """Frames of one capture, one segment and one split, that are processed and written together."""

    capture: int
    segment: int
    split: str
    frames: tuple[int, ...]
    name: str

    @property
    def shard(self) -> str:
        """The unit's Parquet file, relative to the dataset."""
        return f"split={self.split}/{self.name}.parquet"


def plan_units(
    captures: Sequence[Capture], selection: FrameSelection, splits: SplitConfig, unit_frames: int
) -> tuple[list[Unit], int]:
    """All units of a run in order, and the number of frames that the gaps between splits leave out."""
    units, gap_frames = [], 0
    for number, capture in enumerate(captures):
        for segment, frames in enumerate(_segment_frames(capture, selection)):
            assigned = np.array(assign_splits(frames / capture.fps, splits))
            gap_frames += int((assigned == "gap").sum())
            for split in ("train", "val"):
                chosen = frames[assigned == split]
                for start in range(0, len(chosen), unit_frames):
                    part = tuple(int(f) for f in chosen[start : start + unit_frames])
                    name = f"{capture.name}-s{segment}-f{part[0]:06d}-{part[-1]:06d}"
                    units.append(Unit(number, segment, split, part, name))
    return units, gap_frames


def _segment_frames(capture: Capture, selection: FrameSelection) -> list[np.ndarray]:
    """Selected frame numbers of each segment, cuts applied."""
    outside = [c for c in selection.cuts if not 0 < c < capture.frame_count]
    if outside:
        raise InputError(f"{capture.path}: cuts {outside} lie outside its {capture.frame_count} frames")
    frames = np.arange(0, capture.frame_count, selection.stride)
    if selection.num_samples is not None:
        if selection.num_samples > capture.frame_count:
            raise InputError(f"{capture.path}: has {capture.frame_count} frames, not {selection.num_samples}")
        frames = np.unique(np.linspace(0, capture.frame_count - 1, selection.num_samples).round().astype(int))
    starts = sorted({start for start, _ in capture.segments} | set(selection.cuts))
    groups = np.split(frames, np.searchsorted(frames, starts[1:]))
    return [group for group in groups if len(group)]
