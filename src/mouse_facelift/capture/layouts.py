"""Which files make up a recording, by what lies in its folder; nothing is opened but calibrations, for their names.

Two layouts are known:

* MAMMAL: ``new_cam.pkl``, ``videos_undist/N.mp4`` and, optionally, mask videos ``simpleclick_undist/N.mp4``.
* DANNCE: ``NAME_params.mat`` per camera, or one ``label3d_dannce.mat`` (``*dannce.mat``) for all; the videos are
  ``NAME.mp4`` beside it, or ``videos/NAME/0.mp4`` (any one file in that folder). Distorted lenses, no mask videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from mouse_facelift.errors import InputError

Layout = Literal["mammal", "dannce"]
MAMMAL_CALIBRATION, MAMMAL_VIDEOS, MAMMAL_MASKS = "new_cam.pkl", "videos_undist", "simpleclick_undist"
DANNCE_VIDEOS = "videos"
ReadCameras = Callable[[Mapping[str, tuple[int, int]]], list[Camera]]


@dataclass(frozen=True)
class RecordingFiles:
    """The files of a recording.

    Attributes:
        layout: How they are laid out.
        names: Of the views, in order.
        videos, masks: Files by view; no masks where there are no mask videos.
        read_cameras: Cameras of the views, given the (width, height) of each in pixels.
    """

    layout: Layout
    names: tuple[str, ...]
    videos: Mapping[str, Path]
    read_cameras: ReadCameras
    masks: Mapping[str, Path] = field(default_factory=dict)


def find_files(path: Path) -> RecordingFiles:
    """Recognise a recording's layout, and check that there is one video for each of its cameras.

    Raises:
        InputError: No layout is recognised, or a video is missing or superfluous.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give the folder of a recording")
    label3d = sorted(path.glob(LABEL3D_PATTERN))
    if (path / MAMMAL_CALIBRATION).exists():
        return _mammal_files(path)
    if params_files(path):
        names = list(params_files(path))
        return _dannce_files(path, names, f"*{PARAMS_SUFFIX}", lambda sizes: read_dannce_params(path, sizes))
    if len(label3d) > 1:
        files = ", ".join(file.name for file in label3d)
        raise InputError(f"{path}: holds several calibrations ({files}); leave the one that belongs to the videos")
    if label3d:
        file = label3d[0]
        return _dannce_files(path, label3d_names(file), file.name, lambda sizes: read_label3d(file, sizes))
    raise InputError(
        f"{path}: holds no recording; expected {MAMMAL_CALIBRATION} with {MAMMAL_VIDEOS}/N.mp4 (MAMMAL), or "
        f"NAME{PARAMS_SUFFIX} or label3d_dannce.mat with NAME.mp4 or {DANNCE_VIDEOS}/NAME/0.mp4 (DANNCE)"
    )


def _mammal_files(path: Path) -> RecordingFiles:
    calibration = path / MAMMAL_CALIBRATION
    names = mammal_names(calibration)
    videos = _numbered_videos(path / MAMMAL_VIDEOS)
    _match(path, MAMMAL_CALIBRATION, names, videos, MAMMAL_VIDEOS)
    masks = _numbered_videos(path / MAMMAL_MASKS)
    if masks:
        _match(path, MAMMAL_CALIBRATION, names, masks, MAMMAL_MASKS)
    return RecordingFiles("mammal", tuple(names), videos, lambda sizes: read_mammal(calibration, sizes), masks)


def _dannce_files(path: Path, names: Sequence[str], source: str, read: ReadCameras) -> RecordingFiles:
    names = sorted(names, key=camera_order)
    flat = {file.stem: file for file in path.glob("*.mp4")}
    folder = path / DANNCE_VIDEOS
    if any(name in flat for name in names) or not folder.is_dir():
        _match(path, source, names, flat, path.name)
        return RecordingFiles("dannce", tuple(names), flat, read)
    nested = {sub.name: file for sub in folder.iterdir() if sub.is_dir() and (file := _only_video(sub)) is not None}
    nested |= {file.stem: file for file in folder.glob("*.mp4")}
    _match(path, source, names, nested, DANNCE_VIDEOS)
    return RecordingFiles("dannce", tuple(names), nested, read)


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
