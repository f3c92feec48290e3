"""Videos, frame-exact: what is in a file, its frames by number, and writing one.

Reading is sequential. One seek, to the keyframe before the first wanted frame, then frames nobody asked for are decoded
and dropped; seeking per frame costs 5 to 15 times more on the long groups of pictures that recorders write. Frame
numbers count in order of presentation, from 0. A frame that cannot be read is an error, never a black, repeated or
neighbouring frame: the container is indexed first, so each decoder's answer can be checked against it.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import cv2
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float, UInt8

from mouse_facelift.errors import InputError

Decoder = Literal["auto", "decord", "opencv"]
Image = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class EncodeOptions:
    """How a video is written.

    Attributes:
        crf: H.264 constant rate factor; 0 is lossless, 18 is visually so.
        preset: x264's speed preset; slower means smaller.
        keyframe_interval: Largest distance between keyframes, in frames; shorter makes seeking cheaper.
    """

    crf: int = 18
    preset: str = "medium"
    keyframe_interval: int = 50


class VideoWriter:
    """Writes RGB frames to an H.264 (yuv420p) MP4; the file appears under its name only when it is complete.

    Used as a context manager: leaving it normally closes the file and moves it into place, leaving it by an exception
    removes what was written.

    Raises:
        InputError: The size is odd (4:2:0 chroma needs even sides) or not positive, or no frame was written.
        ValueError: A frame of another size or type.
    """

    def __init__(
        self, path: str | Path, width: int, height: int, fps: float, options: EncodeOptions | None = None
    ) -> None:
        options = options or EncodeOptions()
        if width <= 0 or height <= 0 or width % 2 or height % 2:
            raise InputError(f"{path}: H.264 needs even sides, not {width}x{height}; crop or pad by one pixel")
        self._path, self._shape, self._count = Path(path), (height, width, 3), 0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(65535)
        encoder = {"crf": str(options.crf), "preset": options.preset, "g": str(options.keyframe_interval)}
        self._stream = self._container.add_stream("libx264", rate=rate, options=encoder)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        # One thread: the same frames give the same bytes on every machine, and parallelism belongs to the caller.
        self._stream.thread_count = 1

    def write(self, frame: Image) -> None:
        """Append one RGB frame."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"{self._path}: frame of {frame.dtype} {frame.shape}, expected uint8 {self._shape}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self._count += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._count == 0:
                raise InputError(f"{self._path}: a video needs at least one frame")
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class VideoInfo:
    """Size in pixels, frames per second and number of frames of a video."""

    width: int
    height: int
    fps: float
    frame_count: int


@dataclass(frozen=True, eq=False)
class _Index:
    """What a pass over the container says.

    Attributes:
        info: The facts.
        times: When each frame is shown, in seconds from the first; None where the container does not store it.
        open_groups: Some frames depend on a keyframe that is shown after them. decord lands up to a few frames too far
            when it seeks near such a keyframe, and does not say so.
    """

    info: VideoInfo
    times: Float[np.ndarray, " n"] | None
    open_groups: bool
    keyframes: tuple[int, ...] = (0,)
    """Numbers of the frames where decoding can begin; only the first where groups are open."""

    def keyframe_before(self, frame: int) -> int:
        """The last keyframe at or before a frame."""
        return self.keyframes[bisect.bisect_right(self.keyframes, frame) - 1]


_Read = Callable[[Path, _Index, Sequence[int]], Iterator[Image]]


class _DecodeError(Exception):
    """One decoder could not deliver one frame; another may."""


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames, from one pass over the container (nothing is decoded).

    Raises:
        InputError: No such file, not a video, or cut short (its header promises more frames than it holds).
    """
    return _index(Path(path)).info


def frame_times(path: str | Path) -> Float[np.ndarray, "n"]:
    """Seconds from the first frame to every frame, in order of presentation, as the container stamps them.

    Raises:
        InputError: As :func:`probe`, or the container keeps no times.
    """
    index = _index(Path(path))
    if index.times is None:
        raise InputError(f"{path}: the file keeps no time stamps; give them in timestamps/NAME.csv, or go by index")
    return index.times


def read_frames(path: str | Path, frames: Sequence[int], decoder: Decoder = "auto") -> Iterator[tuple[int, Image]]:
    """RGB frames by number.

    Args:
        path: The video.
        frames: Strictly increasing frame numbers, counted from 0 in order of presentation.
        decoder: "auto" reads with OpenCV and goes on with decord, where it is installed, from a frame that fails.

    Yields:
        (frame number, RGB image), in the order asked for. Arguments are checked before the first is asked for.

    Raises:
        InputError: The video cannot be opened, has no such frame, or a frame cannot be decoded.
    """
    path, wanted = Path(path), [int(f) for f in frames]
    index = _index(path)
    if any(b <= a for a, b in zip(wanted, wanted[1:], strict=False)):
        raise ValueError("frames must increase strictly: reading is sequential")
    outside = [f for f in wanted if not 0 <= f < index.info.frame_count]
    if outside:
        last = index.info.frame_count - 1
        raise InputError(f"{path}: there is no frame {outside[0]}; the video has frames 0 to {last}")
    return _read(path, index, wanted, _decoders(decoder))


def _read(path: Path, index: _Index, wanted: list[int], decoders: Sequence[_Read]) -> Iterator[tuple[int, Image]]:
    done, reasons = 0, []
    for decode in decoders:
        try:
            for image in decode(path, index, wanted[done:]) if done < len(wanted) else ():
                if image.shape != (index.info.height, index.info.width, 3):
                    raise _DecodeError(f"its size changes to {image.shape[1]}x{image.shape[0]}")
                yield wanted[done], image
                done += 1
        except _DecodeError as error:
            reasons.append(str(error))
    if done < len(wanted):
        raise InputError(
            f"{path}: frame {wanted[done]} cannot be decoded ({'; '.join(reasons)}); "
            "copy the file again from its source, or leave the frame out"
        )


def _index(path: Path) -> _Index:
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return _index_container(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _index_container(path: str, size: int, modified_ns: int) -> _Index:
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
        return _Index(info, None, open_groups=True)
    stamps = np.sort([pts for pts, _ in shown])
    times = (stamps - stamps[0]) * float(unit)
    if _has_open_groups(shown):
        return _Index(info, times, open_groups=True)
    keys = np.searchsorted(stamps, [pts for pts, is_key in shown if is_key])
    return _Index(info, times, False, tuple(sorted({0, *keys.tolist()})))


def _has_open_groups(shown: Sequence[tuple[int, bool]]) -> bool:
    """Whether a frame follows a keyframe in the file (time of presentation, keyframe) and precedes it on the screen."""
    key = shown[0][0]
    for time, is_key in shown:
        if time < key:
            return True
        key = time if is_key else key
    return False


def _read_decord(path: Path, index: _Index, wanted: Sequence[int]) -> Iterator[Image]:
    import decord  # Here: it has no wheels for some platforms, and OpenCV then does the work alone.

    try:
        # More threads only help one reader; frames are read by as many processes as there are cores.
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != index.info.frame_count:
            raise _DecodeError(f"decord counts {len(reader)} frames, the container {index.info.frame_count}")
        position = 0
        for frame in wanted:
            start = index.keyframe_before(frame)
            if start > position:
                reader.seek(start)
                position = start
            while position < frame:
                reader.next()
                position += 1
            image = reader.next().asnumpy()
            position = frame + 1
            yield image
    except (decord.DECORDError, StopIteration) as error:
        raise _DecodeError("decord stops at it") from error


def _read_opencv(path: Path, index: _Index, wanted: Sequence[int]) -> Iterator[Image]:
    capture = _open_opencv(path)
    try:
        position = 0
        # Without time stamps there is no telling where a seek has landed; then every frame is decoded.
        if wanted[0] and index.times is not None:
            capture.set(cv2.CAP_PROP_POS_FRAMES, wanted[0])
            if _grab(capture, index, wanted[0]):
                position = wanted[0] + 1
            else:
                capture.release()
                capture = _open_opencv(path)
        for frame in wanted:
            while position <= frame:
                if not _grab(capture, index, position):
                    raise _DecodeError(f"OpenCV delivers no frame {position}")
                position += 1
            ok, image = capture.retrieve()
            if not ok or image is None:
                raise _DecodeError(f"OpenCV cannot convert frame {frame}")
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _open_opencv(path: Path) -> cv2.VideoCapture:
    # One thread, as for decord: parallelism belongs to the caller.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise _DecodeError("OpenCV cannot open it")
    # A calibration describes the pixels as stored; players' rotation hints are not for us.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def _grab(capture: cv2.VideoCapture, index: _Index, frame: int) -> bool:
    """Decode the next frame; False unless it is ``frame``, by its time of presentation."""
    if not capture.grab():
        return False
    if index.times is None:
        return True
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return int(np.abs(index.times - seconds).argmin()) == frame


def _decoders(decoder: Decoder) -> list[_Read]:
    """Readers in the order in which they are tried.

    OpenCV goes first: over strided frames of five 1328x1048 views with 250 frames between keyframes it took a fifth of
    decord's time and 0.2 GB against 2.9 GB - decord keeps every frame of a group of pictures that it passes.
    """
    if decoder == "opencv":
        return [_read_opencv]
    if decoder == "decord":
        return [_read_decord]
    with suppress(ImportError):
        import decord  # noqa: F401

        return [_read_opencv, _read_decord]
    return [_read_opencv]
