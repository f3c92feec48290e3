"""A small world whose silhouettes are known exactly: a ball seen by a ring of cameras, and recordings of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.mammal import write_mammal
from mouse_facelift.cameras.poses import look_at
from mouse_facelift.capture.video import EncodeOptions, VideoWriter

BARREL = np.array([-0.25, 0.12, 1e-3, -2e-3, 0.02])
MIDDLE = np.array([50.0, 60.0, 20.0])


def make_ring(count: int = 5, distortion: np.ndarray | None = None, size: tuple[int, int] = (320, 256)) -> list[Camera]:
    """Cameras some 300 mm from the middle of the world, none of which looks exactly at it."""
    focal = 1.3 * size[0]
    K = np.array([[focal, 0, size[0] / 2 + 7], [0, 1.02 * focal, size[1] / 2 - 5], [0, 0, 1]])
    cameras = []
    for i in range(count):
        azimuth, height = 2 * np.pi * i / count + 0.3, 60.0 + 50 * (i % 2)
        position = MIDDLE + [290 * np.cos(azimuth), 290 * np.sin(azimuth), height]
        aim = MIDDLE + [6 * np.cos(i), 9 * np.sin(2 * i), 4.0]
        cameras.append(replace(look_at(str(i), position, aim, K, *size), distortion=distortion))
    return cameras


def ball_mask(camera: Camera, centre: np.ndarray, radius: float) -> np.ndarray:
    """The exact silhouette of a ball: pixels whose ray passes within ``radius`` of ``centre``."""
    grid = np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)
    miss = np.linalg.norm(np.cross(camera.rays(grid), centre - camera.centre), axis=-1)
    return miss < radius


def ball_centre(frame: int) -> np.ndarray:
    """Where the ball of a recording is: it rolls along a curve."""
    return MIDDLE + [12 * np.sin(frame / 9), 10 * np.cos(frame / 7), 0.0]


def write_ball_recording(
    folder: Path, frames: int = 24, views: int = 4, empty: tuple[int, ...] = (), size: tuple[int, int] = (160, 128)
) -> Path:
    """A recording in the MAMMAL layout; in the frames ``empty`` the masks show nothing."""
    cameras = make_ring(views, size=size)
    options = EncodeOptions(crf=12, preset="ultrafast", keyframe_interval=8)
    for camera in cameras:
        paths = [folder / kind / f"{camera.name}.mp4" for kind in ("videos_undist", "simpleclick_undist")]
        with VideoWriter(paths[0], *size, 25, options) as video, VideoWriter(paths[1], *size, 25, options) as masks:
            for frame in range(frames):
                mask = ball_mask(camera, ball_centre(frame), 18.0)
                image = np.full((size[1], size[0], 3), 210, np.uint8)
                image[mask] = (90, 60, 40 + 3 * frame % 216)
                video.write(image)
                shown = mask & (frame not in empty)
                masks.write(np.repeat(np.where(shown, 255, 0).astype(np.uint8)[..., None], 3, axis=-1))
    write_mammal(folder / "new_cam.pkl", cameras)
    return folder
