"""A recording on disk: which files make it up, and whether they belong together.

Two layouts are known by what lies in the folder:

* MAMMAL: ``new_cam.pkl``, ``videos_undist/N.mp4`` and, optionally, mask videos ``simpleclick_undist/N.mp4``.
* DANNCE: ``NAME_params.mat`` per camera, or one ``label3d_dannce.mat`` (``*dannce.mat``) for all; the videos are
  ``NAME.mp4`` beside it, or ``videos/NAME/0.mp4`` (any one file in that folder). Distorted lenses, no masks.

Everything that can be wrong with the set of files is found here, before any frame is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from mouse_facelift.capture.video import VideoInfo, probe
from mouse_facelift.errors import InputError

Layout = Literal["mammal", "dannce"]
MaskSource = Literal["video", "estimated"]
MAMMAL_CALIBRATION, MAMMAL_VIDEOS, MAMMAL_MASKS = "new_cam.pkl", "videos_undist", "simpleclick_undist"
DANNCE_VIDEOS = "videos"
# Recorders round the rate they write; views that differ by more than this do not show the same times.
FPS_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class View:
    """One camera of a recording, its video and, where there is one, the video of its masks."""

    name: str
    camera: Camera
    video: Path
    mask_video: Path | None = None


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
    """

    name: str
    path: Path
    layout: Layout
    views: tuple[View, ...]
    frame_count: int
    fps: float
    segments: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.segments:
            object.__setattr__(self, "segments", ((0, self.frame_count),))

    @property
    def mask_source(self) -> MaskSource:
        """Where the silhouettes of the recording come from: its mask videos, or an estimate where there are none."""
        return "video" if all(view.mask_video for view in self.views) else "estimated"


def open_capture(path: str | Path) -> Capture:
    """Recognise a recording's layout and check that its files belong together.

    Raises:
        InputError: No layout is recognised; a video is missing, superfluous or unreadable; the calibration has
            another number of cameras than there are videos; or views differ in frame count or rate, or a mask video
            in size or frame count from its view.
    """
    path = Path(path).absolute()
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
    views = tuple(View(name, cameras[name], videos[name], masks.get(name)) for name in names)
    info = infos[names[0]]
    return Capture(path.name, path, layout, views, info.frame_count, info.fps)


def _check_counts(path: Path, infos: Mapping[str, VideoInfo], masks: Mapping[str, VideoInfo]) -> None:
    if len({info.frame_count for info in [*infos.values(), *masks.values()]}) > 1:
        counts = ", ".join(
            f"{name}: {info.frame_count}" + (f" and {masks[name].frame_count} masks" if name in masks else "")
            for name, info in infos.items()
        )
        raise InputError(
            f"{path}: the views have different numbers of frames ({counts}); "
            "cut all videos to the frames that every view recorded, in step"
        )
    rates = {name: info.fps for name, info in infos.items()}
    if max(rates.values()) > (1 + FPS_TOLERANCE) * min(rates.values()):
        listed = ", ".join(f"{name}: {rate:g}" for name, rate in rates.items())
        raise InputError(
            f"{path}: the views have different frame rates ({listed}); encode them again at the rate of the recording"
        )
