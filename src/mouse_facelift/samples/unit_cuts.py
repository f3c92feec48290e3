"""Where a recording is cut into units of work.

Every unit begins with a seek, which decodes from the keyframe before its first frame on. Recorders put keyframes where
they like, so the cuts go where the views together have least to decode that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.container import Index, index_video

# Many enough for a cluster, for the last of them not to be waited for; long enough for their seeks not to count; short
# enough for the memory of a task (its rows, 15 MB at 256 frames of six views at 512 px) and what a lost node costs.
_UNITS_PER_RECORDING = 64
_SHORTEST, _LONGEST = 32, 256


def longest_unit(capture: Capture, frames: Int[np.ndarray, " n"]) -> int:
    """Frames of the longest unit of a recording of which ``frames`` are used, where nobody said otherwise.

    Depends on the recording and the frames alone, never on the machine: units are what a run that was stopped is
    continued by. Twice the distance between keyframes leaves a cut the choice of one.
    """
    if not len(frames):
        return _SHORTEST
    spacings = [len(index.times) / len(index.keyframes) for _, index in _indexed(capture) if index.times is not None]
    used = len(frames) / (int(frames[-1]) - int(frames[0]) + 1)
    wanted = max(len(frames) / _UNITS_PER_RECORDING, 2 * used * float(np.mean(spacings or [0])))
    return int(np.clip(round(wanted), _SHORTEST, _LONGEST))


def cheapest_cuts(capture: Capture, frames: Int[np.ndarray, " n"], longest: int) -> list[Int[np.ndarray, " k"]]:
    """``frames`` (increasing) in stretches of at most ``longest`` and, but for the last, at least half as many."""
    extra, parts, start = _extra_decoding(capture, frames), [], 0
    while len(frames) - start > longest:
        first = start + max(1, longest // 2)
        window = extra[first : start + longest + 1]
        # The last of the cheapest.
        stop = first + len(window) - 1 - int(np.argmin(window[::-1]))
        parts.append(frames[start:stop])
        start = stop
    return [*parts, frames[start:]] if len(frames) > start else parts


def _extra_decoding(capture: Capture, frames: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Frames, over all videos, that are decoded once more if a unit begins at a frame and not before it."""
    extra = np.zeros(len(frames), np.int64)
    for sources, index in _indexed(capture):
        own = frames if sources is None else sources[frames]
        keys = np.asarray(index.keyframes)
        before = keys[np.maximum(np.searchsorted(keys, own, side="right") - 1, 0)]
        extra[1:] += np.maximum(own[:-1] + 1 - before[1:], 0)
    return extra


def _indexed(capture: Capture) -> Iterator[tuple[Int[np.ndarray, " n"] | None, Index]]:
    """Every video of the recording whose keyframes are known, with the numbers of its frames (see :class:`.View`)."""
    for view in capture.views:
        for video in (view.video, view.mask_video):
            if video is not None:
                index = index_video(Path(video))
                if index.times is not None:
                    yield view.sources, index
