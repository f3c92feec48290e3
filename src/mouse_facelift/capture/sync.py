"""Which frames of the views belong to one instant.

Recorders that trigger all cameras together number frames alike, and then the index is enough (the default). Cameras
that start late, or that drop frames, are put in step by time: time stamps beside the videos, or those inside them,
and a known offset per camera. A moment that some camera did not record is left out and counted, never filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.capture.video import frame_times
from mouse_facelift.errors import InputError

if TYPE_CHECKING:
    from mouse_facelift.capture.capture import Capture, View

TIMESTAMPS_FOLDER = "timestamps"
MISSING = -1


@dataclass(frozen=True)
class SyncConfig:
    """How the views of a recording are put in step."""

    by: Literal["index", "time"] = "index"
    """index: frame n of every view shows the same instant. time: the nearest frames do, by timestamps/NAME.csv (or
    .npy; seconds, one per frame) where the recording has them and by the videos' own time stamps otherwise."""
    offset_s: tuple[str, ...] = ()
    """Seconds by which a camera's clock is late, as NAME=SECONDS; added to its frames' times."""
    tolerance: float = 0.5
    """Largest distance in time of frames of one instant, in frame periods."""

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= 0.5:
            raise InputError(f"sync: tolerance {self.tolerance} must be above 0 and at most half a frame period")

    @property
    def trusts_index(self) -> bool:
        """Whether frames are taken as synchronised by number alone."""
        return self.by == "index" and not self.offset_s


def synchronise(capture: Capture, config: SyncConfig) -> Capture:
    """The capture with its views in step: its frames are then those of the first view that lie in every view's time.

    Raises:
        InputError: views of different lengths without a rule to align them, an unknown camera, unusable time stamps,
            or no common time.
    """
    counts = {view.name: view.frame_count for view in capture.views}
    if config.trusts_index:
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise InputError(
                f"{capture.path}: the views have different numbers of frames ({listed}); cut all videos to the frames "
                "that every view recorded, in step, or align them with --sync.by time or --sync.offset-s"
            )
        return capture
    offsets = _offsets(config.offset_s, list(counts), capture.path)
    times = []
    for view in capture.views:
        seconds = np.arange(view.frame_count) / capture.fps if config.by == "index" else _times(capture.path, view)
        times.append(seconds + offsets.get(view.name, 0.0))
    matched = match_times(times, config.tolerance / capture.fps)
    common = np.flatnonzero((matched != MISSING).all(axis=1))
    if not len(common):
        raise InputError(f"{capture.path}: the views share no time at all; check --sync.offset-s and the time stamps")
    kept = slice(common[0], common[-1] + 1)
    views = tuple(replace(view, sources=matched[kept, number]) for number, view in enumerate(capture.views))
    count = kept.stop - kept.start
    return replace(capture, views=views, frame_count=count, times=times[0][kept], segments=((0, count),))


def match_times(times: Sequence[Float[np.ndarray, " _"]], tolerance_s: float) -> Int[np.ndarray, "n v"]:
    """For every frame of the first view, the nearest frame of each view, or -1 where none is near enough.

    Args:
        times: per view, increasing times in seconds.
        tolerance_s: largest distance; a frame nearer to two instants serves the nearer one only.
    """
    first = times[0]
    matched = np.full((len(first), len(times)), MISSING, dtype=np.int64)
    for view, seconds in enumerate(times):
        right = np.clip(np.searchsorted(seconds, first), 1, max(len(seconds) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(seconds) - 1)
        nearest = np.where(first - seconds[left] <= seconds[right] - first, left, right)
        distance = np.abs(seconds[nearest] - first)
        # A nanosecond of slack: time stamps are ratios of whole numbers.
        near = distance <= tolerance_s + 1e-9
        for source in np.unique(nearest[near]):
            rivals = np.flatnonzero(near & (nearest == source))
            matched[rivals[distance[rivals].argmin()], view] = source
    return matched


def _offsets(entries: Sequence[str], names: Sequence[str], path: Path) -> dict[str, float]:
    found = {}
    for entry in entries:
        name, _, seconds = entry.partition("=")
        try:
            found[name] = float(seconds)
            if not np.isfinite(found[name]):
                raise ValueError("not finite")
        except ValueError as error:
            raise InputError(f"--sync.offset-s {entry}: expected NAME=SECONDS, such as 2=0.125") from error
        if name not in names:
            raise InputError(f"--sync.offset-s {entry}: {path} has no camera {name}, it has {', '.join(names)}")
    return found


def _times(path: Path, view: View) -> Float[np.ndarray, " n"]:
    for suffix in (".csv", ".npy"):
        file = path / TIMESTAMPS_FOLDER / f"{view.name}{suffix}"
        if file.exists():
            break
    else:
        return frame_times(view.video)
    try:
        seconds = np.load(file, allow_pickle=False) if suffix == ".npy" else np.loadtxt(file, delimiter=",", ndmin=1)
        seconds = np.asarray(seconds, dtype=np.float64).reshape(-1)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{file}: cannot be read as numbers ({error}); give one time in seconds per frame, and no heading"
        ) from error
    if len(seconds) != view.frame_count:
        raise InputError(
            f"{file}: holds {len(seconds)} times, and the view has {view.frame_count} frames; give one per frame"
        )
    if not np.isfinite(seconds).all():
        raise InputError(f"{file}: the time of frame {int(np.argmin(np.isfinite(seconds)))} is no number; correct it")
    if (np.diff(seconds) <= 0).any():
        frame = int(np.argmax(np.diff(seconds) <= 0)) + 1
        raise InputError(
            f"{file}: time does not go on at frame {frame} ({seconds[frame - 1]:g} s, then {seconds[frame]:g} s); "
            "times must increase from frame to frame"
        )
    return seconds
