"""Films: Gaussians that change over time, or do not, seen by a camera that moves along a path, or does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render


def film_frames(
    moments: Iterable[Gaussians],
    cameras: Iterable[Camera],
    *,
    background: Float[Tensor, " 3"] | None = None,
    backend: Backend = "auto",
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """One picture per moment, through that moment's camera, drawn one at a time.

    Args:
        moments: The Gaussians of each picture, in one world with the cameras.
        cameras: As many as there are moments.
        background: Behind them; white when None.
        backend: Who draws.

    Raises:
        ValueError: fewer or more cameras than moments.
    """
    for gaussians, camera in zip(moments, cameras, strict=True):
        w2c, fxfycxcy = (torch.from_numpy(a).float().to(gaussians.device) for a in stack_cameras([camera]))
        with torch.no_grad():
            view = render(gaussians, w2c, fxfycxcy, camera.width, camera.height, background=background, backend=backend)
        yield (view.rgb[0].clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_film(
    path: Path | str,
    moments: Iterable[Gaussians],
    cameras: list[Camera],
    fps: float,
    *,
    backend: Backend = "auto",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes the film as H.264 MP4 that browsers play (whole or not at all).

    Raises:
        InputError: no cameras, cameras of different sizes, odd sizes, or a rate that is not positive.
    """
    from mouse_facelift.capture.video import VideoWriter

    path = Path(path)
    if not cameras or any((a.width, a.height) != (b.width, b.height) for a, b in pairwise(cameras)) or not fps > 0:
        raise InputError(f"{path}: a film needs cameras of one size and a positive rate, not {fps} per second")
    with VideoWriter(path, fps=fps, width=cameras[0].width, height=cameras[0].height) as writer:
        for done, frame in enumerate(film_frames(moments, cameras, backend=backend), start=1):
            writer.write(frame)
            if progress is not None:
                progress(done)
    return path
