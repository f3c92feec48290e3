"""What a video file holds, from one pass over its container: size, rate, frames, their times and the keyframes.

Nothing is decoded. Every decoder's answer is checked against this index.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float, Int

from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class VideoInfo:
    """Size in pixels, frames per second and number of frames of a video."""

    width: int
    height: int
    fps: float
    frame_count: int


@dataclass(frozen=True, eq=False)
class Index:
    """What a pass over the container says.

    Attributes:
        info: The facts.
        stamps: When each frame is shown, in the container's own ticks, increasing; None where it does not store that.
        tick_s: Seconds per tick.
        keyframes: Numbers of the frames where decoding can begin, from 0.
        open_groups: Some frames depend on a keyframe that is shown after them. decord lands up to a few frames too far
            when it seeks near such a keyframe, and does not say so.
    """

    info: VideoInfo
    stamps: Int[np.ndarray, " n"] | None = None
    tick_s: float = 0.0
    keyframes: tuple[int, ...] = (0,)
    open_groups: bool = True

    @cached_property
    def times(self) -> Float[np.ndarray, " n"] | None:
        """When each frame is shown, in seconds from the first."""
        return None if self.stamps is None else (self.stamps - self.stamps[0]) * self.tick_s

    def keyframe_before(self, frame: int) -> int:
        """The last keyframe at or before a frame."""
        return self.keyframes[bisect.bisect_right(self.keyframes, frame) - 1]


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames, from one pass over the container (nothing is decoded).

    Raises:
        InputError: No such file, not a video, or cut short (its header promises more frames than it holds).
    """
    return index_video(Path(path)).info


def frame_times(path: str | Path) -> Float[np.ndarray, " n"]:
    """Seconds from the first frame to every frame, in order of presentation, as the container stamps them.

    Raises:
        InputError: As :func:`probe`, or the container keeps no times.
    """
    index = index_video(Path(path))
    if index.times is None:
        raise InputError(f"{path}: the file keeps no time stamps; give them in timestamps/NAME.csv, or go by index")
    return index.times


def index_video(path: Path) -> Index:
    """The index of a video, made once per process and state of the file.

    Raises:
        InputError: As :func:`probe`.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return _index_container(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _index_container(path: str, size: int, modified_ns: int) -> Index:
    """Index one state of one file; size and time of change are the cache's key to that state."""
    if size == 0:
        raise InputError(f"{path}: the file is empty; copy it again from its source")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise InputError(f"{path}: holds no video stream; give a video file")
            stream = container.streams.video[0]
            # Packets marked "discard" lie before the start of the recording's edit list: no decoder shows them.
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            promised, rate, unit = stream.frames, stream.average_rate or stream.guessed_rate, stream.time_base
            width, height = stream.width, stream.height
            # Others, AVI above all, number packets as they are stored; such a time says nothing about a frame.
            timed = any(name in container.format.name for name in ("mp4", "matroska"))
    except FFmpegError as error:
        raise InputError(
            f"{path}: is not a readable video ({error.strerror}); copy it again from its source"
        ) from error
    if len(packets) < promised or any(p.is_corrupt for p in packets):
        whole = sum(not p.is_corrupt for p in packets)
        raise InputError(
            f"{path}: the file is cut short: its header promises {promised} frames and {whole} are there; "
            "copy it again from its source"
        )
    if not packets or not rate or not width or not height:
        raise InputError(f"{path}: the video has no frames, rate or size; record or encode it again")
    info = VideoInfo(width, height, float(rate), len(packets))
    shown = [(p.pts, p.is_keyframe) for p in packets if p.pts is not None]
    if not timed or unit is None or len(shown) < len(packets):
        return Index(info)
    stamps = np.sort([pts for pts, _ in shown])
    keys = np.searchsorted(stamps, [pts for pts, is_key in shown if is_key])
    return Index(info, stamps, float(unit), tuple(sorted({0, *keys.tolist()})), _has_open_groups(shown))


def _has_open_groups(shown: Sequence[tuple[int, bool]]) -> bool:
    """Whether a frame follows a keyframe in the file (time of presentation, keyframe) and precedes it on the screen."""
    key = shown[0][0]
    for time, is_key in shown:
        if time < key:
            return True
        key = time if is_key else key
    return False
