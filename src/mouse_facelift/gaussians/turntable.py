"""A turntable: the Gaussians seen from a camera that walks once around them, as a video that browsers play."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from mouse_facelift.cameras import poses, stack_cameras
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render


@dataclass(frozen=True)
class TurntableConfig:
    """The defaults are FaceLift's turntable: 150 views at 30 per second, 512 px, radius 2.7, elevation 0, 50 degrees.

    Raises:
        InputError: a size or a rate that no video can have.
    """

    views: int = 150
    """Frames of one full turn."""
    fps: float = 30.0
    """Frames per second."""
    size: int = 512
    """Side of the square video in pixels; even, as H.264 stores colour at half resolution."""
    radius: float = poses.FACELIFT_RADIUS
    """Distance of the camera from the world's origin, world units (normalised ones unless told otherwise)."""
    elevation_degrees: float = 0.0
    """Height of the camera above the horizon of the origin."""
    hfov_degrees: float = poses.FACELIFT_HFOV_DEGREES
    """Horizontal field of view."""

    def __post_init__(self) -> None:
        if self.views < 1 or not self.fps > 0 or self.size < 2 or self.size % 2:
            raise InputError(
                f"turntable: {self.views} views of {self.size} px at {self.fps} per second; "
                "give at least one view, an even size and a positive rate"
            )
        if not (self.radius > 0 and 0 < self.hfov_degrees < 180 and abs(self.elevation_degrees) <= 90):
            raise InputError(
                f"turntable: radius {self.radius}, field of view {self.hfov_degrees} and elevation "
                f"{self.elevation_degrees} degrees do not describe a camera; give radius > 0, 0 < field of view < 180"
            )


GRADIO_TURNTABLE = TurntableConfig(views=180)
"""The turntable of FaceLift's web demo."""


def turntable_frames(
    gaussians: Gaussians, config: TurntableConfig, backend: Backend = "auto"
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """Frames on white, drawn one at a time; the first camera stands at azimuth 270 degrees (FaceLift's front)."""
    cameras = poses.turntable(config.views, config.size, config.radius, config.elevation_degrees, config.hfov_degrees)
    w2c, fxfycxcy = (torch.from_numpy(a).float().to(gaussians.device) for a in stack_cameras(cameras))
    for i in range(config.views):
        with torch.no_grad():
            view = render(gaussians, w2c[i : i + 1], fxfycxcy[i : i + 1], config.size, config.size, backend=backend)
        yield (view.rgb[0].clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_turntable(
    path: Path | str,
    gaussians: Gaussians,
    config: TurntableConfig | None = None,
    *,
    backend: Backend = "auto",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes the turntable as H.264 MP4 (whole or not at all).

    Args:
        path: the file to write.
        gaussians: in the world whose origin the camera circles.
        config: sizes and camera; FaceLift's when None.
        backend: who draws.
        progress: called with the number of frames written so far.
    """
    from mouse_facelift.capture.video import VideoWriter

    config = config or TurntableConfig()
    path = Path(path)
    with VideoWriter(path, fps=config.fps, width=config.size, height=config.size) as writer:
        for done, frame in enumerate(turntable_frames(gaussians, config, backend), start=1):
            writer.write(frame)
            if progress is not None:
                progress(done)
    return path
