"""Units of work: a few dozen frames of one capture, decoded together and written as one file.

A plan is a million units for a thousand hours: each holds what it is, not a list of its frames.

A unit never crosses a segment or a split, and its name follows from what it holds, so that a run that was killed finds
what it had finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig, assign_splits, check_captures, describe_splits
from mouse_facelift.samples.unit_cuts import cheapest_cuts, longest_unit


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of each capture are used; the default is all of them."""

    frames: tuple[str, ...] = ()
    """Use only these frames: numbers, or START:STOP ranges (stop left out). Empty for all."""
    stride: int = 1
    """Use every N-th of them."""
    num_samples: int | None = None
    """Use this many of them, evenly spread (instead of a stride)."""
    cuts: tuple[int, ...] = ()
    """First frames after known cuts of the recording; nothing is smoothed or paired across a cut."""

    def __post_init__(self) -> None:
        if self.stride < 1 or (self.num_samples is not None and self.num_samples < 1):
            raise InputError(f"stride ({self.stride}) and num-samples ({self.num_samples}) must be at least 1")
        if self.stride > 1 and self.num_samples is not None:
            raise InputError("give either --stride or --num-samples, not both")


@dataclass(frozen=True, slots=True)
class Unit:
    """Frames of one capture, one segment and one split, that are processed and written together.

    Attributes:
        capture: Number of the capture in the run.
        segment: Number of the segment in the capture.
        split: "train" or "val".
        frames: Increasing; a range where they are evenly spaced.
        name: Unique in the run.
    """

    capture: int
    segment: int
    split: str
    frames: Sequence[int]
    name: str

    @property
    def shard(self) -> str:
        """The unit's Parquet file, relative to the dataset."""
        return f"split={self.split}/{self.name}.parquet"


def plan_units(
    captures: Sequence[Capture], selection: FrameSelection, splits: SplitConfig, unit_frames: int | None = None
) -> tuple[list[Unit], int]:
    """All units of a run in order, and the number of frames that the gaps between splits leave out.

    Args:
        captures: The recordings.
        selection: Which of their frames are used.
        splits: What is held out.
        unit_frames: Frames of every unit but the last of a stretch. None for units that suit each recording and
            begin where seeking is cheap (see :mod:`mouse_facelift.samples.unit_cuts`).
    """
    check_captures([capture.name for capture in captures], splits)
    units, gap_frames = [], 0
    for number, capture in enumerate(captures):
        groups = _segment_frames(capture, selection)
        used = np.concatenate([np.zeros(0, np.int64), *(frames for _, frames in groups)])
        segments = np.repeat([segment for segment, _ in groups], [len(frames) for _, frames in groups])
        assigned = np.array(assign_splits(capture.times_s(used), splits, segments, capture.name))
        gap_frames += int((assigned == "gap").sum())
        longest = longest_unit(capture, used) if unit_frames is None else unit_frames
        for segment, frames in groups:
            for split in ("train", "val"):
                chosen = frames[assigned[segments == segment] == split]
                if unit_frames is None:
                    parts = cheapest_cuts(capture, chosen, longest)
                else:
                    parts = [chosen[start : start + longest] for start in range(0, len(chosen), longest)]
                for part in parts:
                    name = f"{capture.name}-s{segment}-f{part[0]:06d}-{part[-1]:06d}"
                    units.append(Unit(number, segment, split, compact(part), name))
    return units, gap_frames


def compact(frames: Int[np.ndarray, " n"]) -> Sequence[int]:
    """Increasing frame numbers as a range where they are evenly spaced, and one by one otherwise."""
    steps = np.diff(frames)
    if len(steps) and (steps != steps[0]).any():
        return tuple(frames.tolist())
    return range(int(frames[0]), int(frames[-1]) + 1, int(steps[0]) if len(steps) else 1)


def describe_plan(captures: Sequence[Capture], units: Sequence[Unit], splits: SplitConfig) -> dict[str, Any]:
    """The split of a plan for the dataset's manifest, with its gap measured (see :func:`.splits.describe_splits`)."""
    described = describe_splits(splits, {})
    by_capture: dict[int, list[Unit]] = {number: [] for number in range(len(captures))}
    for unit in units:
        by_capture[unit.capture].append(unit)
    # One recording at a time: the times of all frames of all of them are gigabytes where there are thousands of hours.
    for number, capture in enumerate(captures):
        times = {
            split: np.concatenate(
                [np.zeros(0), *(capture.times_s(np.array(u.frames)) for u in by_capture[number] if u.split == split)]
            ).tolist()
            for split in ("train", "val")
        }
        described["captures"] |= describe_splits(splits, {capture.name: times})["captures"]
    return described


def _segment_frames(capture: Capture, selection: FrameSelection) -> list[tuple[int, np.ndarray]]:
    """(segment number, selected frame numbers) of each segment that has any, cuts applied."""
    outside = [c for c in selection.cuts if not 0 < c < capture.frame_count]
    if outside:
        raise InputError(f"{capture.path}: cuts {outside} lie outside its {capture.frame_count} frames")
    frames = _named_frames(capture, selection.frames)[:: selection.stride]
    if selection.num_samples is not None:
        if selection.num_samples > len(frames):
            raise InputError(f"{capture.path}: has {len(frames)} frames to choose from, not {selection.num_samples}")
        frames = frames[np.unique(np.linspace(0, len(frames) - 1, selection.num_samples).round().astype(int))]
    starts = sorted({start for start, _ in capture.segments} | set(selection.cuts))
    groups = np.split(frames, np.searchsorted(frames, starts[1:]))
    return [(segment, group) for segment, group in enumerate(groups) if len(group)]


def _named_frames(capture: Capture, entries: Sequence[str]) -> np.ndarray:
    """The frames that ``entries`` name, increasing; all of them when there are none."""
    if not entries:
        return np.arange(capture.frame_count)
    chosen: set[int] = set()
    for entry in entries:
        start, colon, stop = entry.partition(":")
        try:
            first = int(start or 0)
            last = (int(stop) if stop else capture.frame_count) if colon else first + 1
        except ValueError as error:
            raise InputError(f"--frames {entry}: expected a frame number or START:STOP") from error
        if not 0 <= first < last <= capture.frame_count:
            raise InputError(f"--frames {entry}: {capture.path} has frames 0 to {capture.frame_count - 1}")
        chosen.update(range(first, last))
    return np.array(sorted(chosen))
