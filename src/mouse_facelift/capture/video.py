"""Videos, frame-exact: the frames of a file by number, and writing one.

Reading is sequential. One seek, to the keyframe before the first wanted frame, then frames nobody asked for are decoded
and dropped; seeking per frame costs 5 to 15 times more on the long groups of pictures that recorders write. Frame
numbers count in order of presentation, from 0. A frame that cannot be read is an error, never a black, repeated or
neighbouring frame: the container is indexed first, so each decoder's answer can be checked against it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from mouse_facelift.capture.container import Index, VideoInfo, frame_times, index_video, probe
from mouse_facelift.capture.decoders import DecodeError, Decoder, Read, readers
from mouse_facelift.capture.pictures import Image, Picture
from mouse_facelift.errors import InputError

__all__ = [
    "Decoder",
    "EncodeOptions",
    "VideoInfo",
    "VideoWriter",
    "frame_times",
    "probe",
    "read_frames",
    "read_pictures",
]


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


def read_frames(path: str | Path, frames: Sequence[int], decoder: Decoder = "auto") -> Iterator[tuple[int, Image]]:
    """RGB frames by number: :func:`read_pictures`, converted as a whole.

    Yields:
        (frame number, RGB image), in the order asked for.
    """
    pictures = read_pictures(path, frames, decoder)
    return ((number, picture.rgb()) for number, picture in pictures)


def read_pictures(path: str | Path, frames: Sequence[int], decoder: Decoder = "auto") -> Iterator[tuple[int, Picture]]:
    """Frames by number, not yet converted to colour.

    Args:
        path: The video.
        frames: Strictly increasing frame numbers, counted from 0 in order of presentation.
        decoder: "auto" reads with PyAV and goes on with OpenCV, then with decord where it is installed, from a frame
            that fails.

    Yields:
        (frame number, picture), in the order asked for. Arguments are checked before the first is asked for.

    Raises:
        InputError: The video cannot be opened, has no such frame, or a frame cannot be decoded.
    """
    path, wanted = Path(path), [int(f) for f in frames]
    index = index_video(path)
    if any(b <= a for a, b in zip(wanted, wanted[1:], strict=False)):
        raise ValueError("frames must increase strictly: reading is sequential")
    outside = [f for f in wanted if not 0 <= f < index.info.frame_count]
    if outside:
        last = index.info.frame_count - 1
        raise InputError(f"{path}: there is no frame {outside[0]}; the video has frames 0 to {last}")
    return _read(path, index, wanted, readers(decoder))


def _read(path: Path, index: Index, wanted: list[int], decoders: Sequence[Read]) -> Iterator[tuple[int, Picture]]:
    done, reasons = 0, []
    for decode in decoders:
        try:
            for picture in decode(path, index, wanted[done:]) if done < len(wanted) else ():
                if (picture.width, picture.height) != (index.info.width, index.info.height):
                    raise DecodeError(f"its size changes to {picture.width}x{picture.height}")
                yield wanted[done], picture
                done += 1
        except DecodeError as error:
            reasons.append(str(error))
    if done < len(wanted):
        raise InputError(
            f"{path}: frame {wanted[done]} cannot be decoded ({'; '.join(reasons)}); "
            "copy the file again from its source, or leave the frame out"
        )
