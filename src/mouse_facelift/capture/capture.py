"""A recording on disk: which files make it up, and whether they belong together.

Two layouts are known by what lies in the folder:

* MAMMAL: ``new_cam.pkl``, ``videos_undist/N.mp4`` and, optionally, mask videos ``simpleclick_undist/N.mp4``.
* DANNCE: ``NAME_params.mat`` per camera, or one ``label3d_dannce.mat`` (``*dannce.mat``) for all; the videos are
  ``NAME.mp4`` beside it, or ``videos/NAME/0.mp4`` (any one file in that folder). Distorted lenses, no mask videos.

Either may have mask images instead, ``masks/NAME/000123.png`` for frame 123 of view NAME: bright, or opaque, where the
animal is. A view may have fewer images than frames; frames without are refused one by one.

Everything that can be wrong with the set of files is found here, before any frame is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.dannce import (
    LABEL3D_PATTERN,
    PARAMS_SUFFIX,
    camera_order,
    label3d_names,
    params_files,
    read_dannce_params,
    read_label3d,
)
from mouse_facelift.cameras.mammal import mammal_names, read_mammal
from mouse_facelift.capture.fetch import local_recording
from mouse_facelift.capture.sync import SyncConfig, synchronise
from mouse_facelift.capture.video import VideoInfo, probe
from mouse_facelift.errors import InputError

Layout = Literal["mammal", "dannce"]
MaskSource = Literal["video", "images", "estimated"]
MAMMAL_CALIBRATION, MAMMAL_VIDEOS, MAMMAL_MASKS = "new_cam.pkl", "videos_undist", "simpleclick_undist"
DANNCE_VIDEOS, MASK_IMAGES = "videos", "masks"
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
    sources: Int[np.ndarray, "n"] | None = None
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
    times: Float[np.ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        if not self.segments:
            object.__setattr__(self, "segments", ((0, self.frame_count),))

    def time_s(self, frame: int) -> float:
        """When a frame was taken, in seconds."""
        return float(frame / self.fps if self.times is None else self.times[frame])

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
    return synchronise(_recognise(local_recording(path)), sync or SyncConfig())


def _recognise(path: Path) -> Capture:
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give the folder of a recording")
    label3d = sorted(path.glob(LABEL3D_PATTERN))
    if (path / MAMMAL_CALIBRATION).exists():
        return _open_mammal(path)
    if params_files(path):
        names = list(params_files(path))
        return _open_dannce(path, names, f"*{PARAMS_SUFFIX}", lambda sizes: read_dannce_params(path, sizes))
    if len(label3d) > 1:
        files = ", ".join(file.name for file in label3d)
        raise InputError(f"{path}: holds several calibrations ({files}); leave the one that belongs to the videos")
    if label3d:
        file = label3d[0]
        return _open_dannce(path, label3d_names(file), file.name, lambda sizes: read_label3d(file, sizes))
    raise InputError(
        f"{path}: holds no recording; expected {MAMMAL_CALIBRATION} with {MAMMAL_VIDEOS}/N.mp4 (MAMMAL), or "
        f"NAME{PARAMS_SUFFIX} or label3d_dannce.mat with NAME.mp4 or {DANNCE_VIDEOS}/NAME/0.mp4 (DANNCE)"
    )


def _open_mammal(path: Path) -> Capture:
    calibration = path / MAMMAL_CALIBRATION
    names = mammal_names(calibration)
    videos = _numbered_videos(path / MAMMAL_VIDEOS)
    _match(path, MAMMAL_CALIBRATION, names, videos, MAMMAL_VIDEOS)
    masks = _numbered_videos(path / MAMMAL_MASKS)
    if masks:
        _match(path, MAMMAL_CALIBRATION, names, masks, MAMMAL_MASKS)
    return _assemble(path, "mammal", names, videos, masks, lambda sizes: read_mammal(calibration, sizes))


def _open_dannce(
    path: Path, names: Sequence[str], source: str, read: Callable[[Mapping[str, tuple[int, int]]], list[Camera]]
) -> Capture:
    names = sorted(names, key=camera_order)
    flat = {file.stem: file for file in path.glob("*.mp4")}
    folder = path / DANNCE_VIDEOS
    if any(name in flat for name in names) or not folder.is_dir():
        _match(path, source, names, flat, path.name)
        return _assemble(path, "dannce", names, flat, {}, read)
    nested = {sub.name: file for sub in folder.iterdir() if sub.is_dir() and (file := _only_video(sub)) is not None}
    nested |= {file.stem: file for file in folder.glob("*.mp4")}
    _match(path, source, names, nested, DANNCE_VIDEOS)
    return _assemble(path, "dannce", names, nested, {}, read)


def _numbered_videos(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in folder.glob("*.mp4") if file.stem.isdigit()}


def _only_video(folder: Path) -> Path | None:
    files = sorted(folder.glob("*.mp4"))
    if len(files) > 1:
        raise InputError(
            f"{folder}: holds {len(files)} videos ({', '.join(f.name for f in files)}); join them into one, 0.mp4"
        )
    return files[0] if files else None


def _match(path: Path, source: str, names: Sequence[str], videos: Mapping[str, Path], place: str) -> None:
    """Check that cameras and videos are the same set, and say which one is not."""
    missing = [name for name in names if name not in videos]
    surplus = [name for name in sorted(videos, key=camera_order) if name not in names]
    if not missing and not surplus:
        return
    found = ", ".join(sorted(videos, key=camera_order)) or "none"
    counts = (
        f"{source} calibrates {len(names)} cameras ({', '.join(names)}), {place} has {len(videos)} videos ({found})"
    )
    detail = [f"no video of view {', '.join(missing)}"] if missing else []
    detail += [f"no camera for video {', '.join(surplus)}"] if surplus else []
    raise InputError(f"{path}: {'; '.join(detail)}: {counts}; add what is missing, or take the view out of both")


def _assemble(
    path: Path,
    layout: Layout,
    names: Sequence[str],
    videos: Mapping[str, Path],
    masks: Mapping[str, Path],
    read: Callable[[Mapping[str, tuple[int, int]]], list[Camera]],
) -> Capture:
    if len(names) < 2:
        raise InputError(f"{path}: has {len(names)} view; reconstruction needs at least two calibrated views")
    infos = {name: probe(videos[name]) for name in names}
    cameras = {camera.name: camera for camera in read({name: (i.width, i.height) for name, i in infos.items()})}
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
    return Capture(path.name, path, layout, views, info.frame_count, info.fps)


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
