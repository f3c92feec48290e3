"""A recording on disk: its views, and whether their files belong together.

What the files are is for :mod:`mouse_facelift.capture.layouts` to say. Instead of mask videos there may be mask images,
``masks/NAME/000123.png`` for frame 123 of view NAME: bright, or opaque, where the animal is. A view may have fewer
images than frames; frames without are refused one by one.

Everything that can be wrong with the set of files is found here, before any frame is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.fetch import local_recording
from mouse_facelift.capture.layouts import Layout, RecordingFiles, find_files
from mouse_facelift.capture.sync import SyncConfig, synchronise
from mouse_facelift.capture.video import VideoInfo, probe
from mouse_facelift.errors import InputError

MaskSource = Literal["video", "images", "estimated"]
MASK_IMAGES = "masks"
Axis = Literal["x", "-x", "y", "-y", "z", "-z"]
# Rotations that take a calibration's up axis to z. Millimetres in a dataset are those of the turned world.
UPRIGHT: dict[Axis, Float[np.ndarray, "3 3"]] = {
    "z": np.eye(3),
    "-z": np.diag([1.0, -1.0, -1.0]),
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "x": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "-x": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
}
# Recorders round the rate they write; views that differ by more than this do not show the same times.
FPS_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class View:
    """One camera of a recording, its video and, where there is one, the video of its masks."""

    name: str
    camera: Camera
    video: Path
    mask_video: Path | None = None
    frame_count: int = 0
    """Frames of this view's own video."""
    sources: Int[np.ndarray, " n"] | None = None
    """For every frame of the recording, this video's frame of the same instant or -1; None where they are the same."""

    mask_images: Path | None = None
    """Folder of mask images, one per frame of this view's own video, where there is one."""
    mask_digits: int = 1
    """Digits, with leading zeros, in the names of the mask images."""

    @property
    def has_masks(self) -> bool:
        """Whether silhouettes come with the recording; they have to be estimated otherwise."""
        return self.mask_video is not None or self.mask_images is not None

    def mask_image(self, frame: int) -> Path:
        """The mask image of a frame of this view's own video; it need not exist."""
        if self.mask_images is None:
            raise ValueError(f"view {self.name} has no mask images")
        return self.mask_images / f"{frame:0{self.mask_digits}d}.png"

    def source_frames(self, frames: Sequence[int]) -> list[int]:
        """This video's own numbers of the recording's frames; -1 for those it has missed."""
        return list(frames) if self.sources is None else [int(self.sources[frame]) for frame in frames]


@dataclass(frozen=True, eq=False)
class Capture:
    """A recording of synchronised views. Holds paths and numbers only, so it travels to workers.

    Attributes:
        name: The folder's name.
        path: The folder, absolute.
        layout: How the folder is laid out.
        views: At least two, ordered by name (numbers numerically). Frame n of every view shows the same instant.
        frame_count: Frames of every view.
        fps: Frames per second.
        segments: Stretches [start, stop) recorded without a cut, in order; one whole stretch when not given.
        times: Seconds of every frame where cameras were put in step by time; otherwise frame / fps.
    """

    name: str
    path: Path
    layout: Layout
    views: tuple[View, ...]
    frame_count: int
    fps: float
    segments: tuple[tuple[int, int], ...] = ()
    times: Float[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        if not self.segments:
            object.__setattr__(self, "segments", ((0, self.frame_count),))

    def time_s(self, frame: int) -> float:
        """When a frame was taken, in seconds."""
        return float(frame / self.fps if self.times is None else self.times[frame])

    def times_s(self, frames: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """:meth:`time_s` of many frames."""
        return frames / self.fps if self.times is None else self.times[frames]

    def missed_by(self, frame: int) -> list[str]:
        """Names of the views that have no frame of that instant."""
        return [view.name for view in self.views if view.source_frames([frame])[0] < 0]

    def with_views(self, names: Sequence[str]) -> Capture:
        """The same recording seen by some of its cameras only, in the order of the recording.

        Raises:
            InputError: no such camera, or fewer than two.
        """
        known = [view.name for view in self.views]
        unknown = [name for name in names if name not in known]
        if unknown or len(set(names)) < 2:
            wrong = f"no camera {', '.join(unknown)}" if unknown else "at least two views are needed"
            raise InputError(f"{self.path}: {wrong}; it has {', '.join(known)}")
        return replace(self, views=tuple(view for view in self.views if view.name in names))

    def turned(self, up: Axis) -> Capture:
        """The same recording in a world whose z axis is what its calibration calls ``up``."""
        R = UPRIGHT[up]
        views = tuple(replace(view, camera=replace(view.camera, R=view.camera.R @ R.T)) for view in self.views)
        return replace(self, views=views)

    @property
    def mask_source(self) -> MaskSource:
        """Where the silhouettes of the recording come from: mask videos, mask images, or an estimate without either."""
        if all(view.mask_video for view in self.views):
            return "video"
        return "images" if all(view.has_masks for view in self.views) else "estimated"


def open_capture(path: str | Path, sync: SyncConfig | None = None) -> Capture:
    """Recognise a recording's layout, check that its files belong together, and put its views in step.

    Raises:
        InputError: No layout is recognised; a video is missing, superfluous or unreadable; the calibration has
            another number of cameras than there are videos; or views differ in frame count or rate, or a mask video
            in size or frame count from its view.
    """
    folder = local_recording(path)
    return synchronise(_assemble(folder, find_files(folder)), sync or SyncConfig())


def _assemble(path: Path, files: RecordingFiles) -> Capture:
    """Look into the files, and check that they fit each other."""
    names, videos, masks = files.names, files.videos, files.masks
    if len(names) < 2:
        raise InputError(f"{path}: has {len(names)} view; reconstruction needs at least two calibrated views")
    infos = {name: probe(videos[name]) for name in names}
    cameras = {
        camera.name: camera for camera in files.read_cameras({name: (i.width, i.height) for name, i in infos.items()})
    }
    mask_infos = {name: probe(masks[name]) for name in masks}
    _check_counts(path, infos, mask_infos)
    for name, found in mask_infos.items():
        if (found.width, found.height) != (infos[name].width, infos[name].height):
            raise InputError(
                f"{masks[name]}: the masks of view {name} are {found.width}x{found.height} and its video is "
                f"{infos[name].width}x{infos[name].height}; make the masks from that video"
            )
    views = tuple(View(name, cameras[name], videos[name], masks.get(name), infos[name].frame_count) for name in names)
    views = _with_mask_images(path, views)
    info = infos[names[0]]
    return Capture(path.name, path, files.layout, views, info.frame_count, info.fps)


def _with_mask_images(path: Path, views: tuple[View, ...]) -> tuple[View, ...]:
    """The views with their folders of mask images, where the recording has such."""
    root = path / MASK_IMAGES
    folders = {folder.name: folder for folder in root.iterdir() if folder.is_dir()} if root.is_dir() else {}
    if not any(view.name in folders for view in views):
        return views
    if any(view.mask_video for view in views):
        raise InputError(f"{path}: has mask videos and mask images ({root}); take away those that are not to be used")
    missing = [view.name for view in views if view.name not in folders]
    if missing:
        raise InputError(f"{root}: has no folder of mask images of view {', '.join(missing)}; add it")
    return tuple(
        replace(view, mask_images=folders[view.name], mask_digits=_mask_digits(folders[view.name], view.frame_count))
        for view in views
    )


def _mask_digits(folder: Path, frame_count: int) -> int:
    """How many digits the names of mask images have; numbers must be those of the video's frames, from 0."""
    names = [file.stem for file in folder.glob("*.png")]
    odd = [name for name in names if not name.isdecimal()]
    if not names or odd:
        found = f"{sorted(odd)[0]}.png" if odd else "none"
        raise InputError(f"{folder}: mask images must be named 000000.png, 000001.png, ... by frame; found {found}")
    digits = min(map(len, names))
    strange = [name for name in names if f"{int(name):0{digits}d}" != name]
    if strange:
        raise InputError(f"{folder}: the names of mask images differ in their leading zeros ({sorted(strange)[0]}.png)")
    last = max(map(int, names))
    if last >= frame_count:
        raise InputError(
            f"{folder}: has a mask of frame {last}, but the video's frames are 0 to {frame_count - 1}; "
            "number masks from 0"
        )
    return digits


def _check_counts(path: Path, infos: Mapping[str, VideoInfo], masks: Mapping[str, VideoInfo]) -> None:
    """Masks belong to their videos frame by frame, and all views run at one rate."""
    for name, found in masks.items():
        if found.frame_count != infos[name].frame_count:
            raise InputError(
                f"{path}: view {name} has different numbers of frames ({infos[name].frame_count} in its video and "
                f"{found.frame_count} masks); copy the shorter one again, or make the masks from that video"
            )
    rates = {name: info.fps for name, info in infos.items()}
    if max(rates.values()) > (1 + FPS_TOLERANCE) * min(rates.values()):
        listed = ", ".join(f"{name}: {rate:g}" for name, rate in rates.items())
        raise InputError(
            f"{path}: the views have different frame rates ({listed}); encode them again at the rate of the recording"
        )
