"""The decoders behind :mod:`mouse_facelift.capture.video`, each checked against the container's index.

Every reader takes a path, its index and increasing frame numbers, and yields one picture per number or raises
:class:`DecodeError`. All use one thread: parallelism belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from av.error import FFmpegError

from mouse_facelift.capture.container import Index
from mouse_facelift.capture.pictures import Picture, PlanarPicture, RgbPicture

Decoder = Literal["auto", "pyav", "opencv", "decord"]
Read = Callable[[Path, Index, Sequence[int]], Iterator[Picture]]


class DecodeError(Exception):
    """One decoder could not deliver one frame; another may."""


def readers(decoder: Decoder) -> list[Read]:
    """Readers in the order in which they are tried.

    PyAV goes first: it decodes as fast as OpenCV, begins at the very keyframe where OpenCV's seek feels its way back
    through the file, and hands out frames before they are converted. decord goes last: over strided frames of five
    1328x1048 views with 250 frames between keyframes it took five times OpenCV's time, and 2.9 GB against 0.2 GB - it
    keeps every frame of a group of pictures that it passes.
    """
    if decoder != "auto":
        return [{"pyav": read_pyav, "opencv": read_opencv, "decord": read_decord}[decoder]]
    with suppress(ImportError):
        import decord  # noqa: F401

        return [read_pyav, read_opencv, read_decord]
    return [read_pyav, read_opencv]


def read_pyav(path: Path, index: Index, wanted: Sequence[int]) -> Iterator[Picture]:
    """Frames by PyAV, told apart by their time stamps."""
    if index.stamps is None:
        raise DecodeError("PyAV cannot tell frames without time stamps apart")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            shown, position = container.decode(stream), 0
            for frame in wanted:
                start = index.keyframe_before(frame)
                if start > position:
                    container.seek(int(index.stamps[start]), stream=stream)
                    shown = container.decode(stream)
                stamp, position = int(index.stamps[frame]), frame + 1
                picture = next((p for p in shown if p.pts is not None and p.pts >= stamp), None)
                if picture is None or picture.pts != stamp or picture.is_corrupt:
                    raise DecodeError(f"PyAV delivers no whole frame {frame}")
                yield PlanarPicture(picture)
    except FFmpegError as error:
        raise DecodeError(f"PyAV stops at it: {error.strerror}") from error


def read_opencv(path: Path, index: Index, wanted: Sequence[int]) -> Iterator[Picture]:
    """Frames by OpenCV, after one seek."""
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
                    raise DecodeError(f"OpenCV delivers no frame {position}")
                position += 1
            ok, image = capture.retrieve()
            if not ok or image is None:
                raise DecodeError(f"OpenCV cannot convert frame {frame}")
            yield RgbPicture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
    finally:
        capture.release()


def _open_opencv(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise DecodeError("OpenCV cannot open it")
    # A calibration describes the pixels as stored; players' rotation hints are not for us.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def _grab(capture: cv2.VideoCapture, index: Index, frame: int) -> bool:
    """Decode the next frame; False unless it is ``frame``, by its time of presentation."""
    if not capture.grab():
        return False
    if index.times is None:
        return True
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return int(np.abs(index.times - seconds).argmin()) == frame


def read_decord(path: Path, index: Index, wanted: Sequence[int]) -> Iterator[Picture]:
    """Frames by decord; it has no wheels for some platforms."""
    import decord

    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != index.info.frame_count:
            raise DecodeError(f"decord counts {len(reader)} frames, the container {index.info.frame_count}")
        position = 0
        for frame in wanted:
            start = 0 if index.open_groups else index.keyframe_before(frame)
            if start > position:
                reader.seek(start)
                position = start
            while position < frame:
                reader.next()
                position += 1
            image = reader.next().asnumpy()
            position = frame + 1
            yield RgbPicture(image)
    except (decord.DECORDError, StopIteration) as error:
        raise DecodeError("decord stops at it") from error
