"""Pictures of the scene as a browser's camera sees it, drawn on this machine."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import viser
from jaxtyping import Float, UInt8

from mouse_facelift.cameras.exchange import rotation_from_quaternion
from mouse_facelift.cameras.poses import look_at_rotation
from mouse_facelift.evaluation.images import as_uint8
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import render

# Compiled code comes from the disk in a second; on a machine that has drawn nothing yet it is compiled first.
_PATIENCE_S = 2.0


@dataclass(frozen=True, eq=False)
class Sight:
    """A browser's camera. viser's cameras have OpenCV's axes, square pixels and the optical axis in the middle."""

    w2c: Float[np.ndarray, "4 4"]
    fov: float
    """Vertical, radians."""
    width: int
    height: int
    """Of the browser's canvas, pixels."""

    @staticmethod
    def of(camera: viser.CameraHandle) -> Sight:
        """What a browser says its camera is now."""
        return Sight._from(rotation_from_quaternion(np.asarray(camera.wxyz)).T, camera.position, camera)

    @staticmethod
    def opening(server: viser.ViserServer, camera: viser.CameraHandle) -> Sight:
        """What a browser's camera will be once the page is complete; until then it tells of viser's own."""
        start = server.initial_camera
        return Sight._from(
            look_at_rotation(np.asarray(start.position), np.asarray(start.look_at)), start.position, camera
        )

    @staticmethod
    def _from(
        rotation: Float[np.ndarray, "3 3"], position: Float[np.ndarray, "3"], camera: viser.CameraHandle
    ) -> Sight:
        w2c = np.eye(4)
        w2c[:3, :3] = rotation
        w2c[:3, 3] = -rotation @ np.asarray(position)
        return Sight(w2c, float(camera.fov), max(1, int(camera.image_width)), max(1, int(camera.image_height)))

    def pixels(self, longest: int) -> tuple[int, int]:
        """Width and height of a picture of the canvas, with a longest side."""
        share = min(1.0, longest / max(self.width, self.height))
        return max(1, round(self.width * share)), max(1, round(self.height * share))

    def fxfycxcy(self, width: int, height: int) -> Float[np.ndarray, "4"]:
        """Intrinsics of a picture of that size, which the browser stretches over its canvas."""
        focal = self.height / (2 * math.tan(self.fov / 2))
        return np.array([focal * width / self.width, focal * height / self.height, width / 2, height / 2])


class Painter:
    """Draws for all browsers of a viewer, one picture at a time: the compiled renderer's threads are the process's."""

    def __init__(self) -> None:
        self._drawing = threading.Lock()
        self._ready = threading.Event()
        threading.Thread(target=self._warm_up, name="compiled renderer", daemon=True).start()

    def ready(self) -> bool:
        """Whether a picture comes at once; waits a moment for it."""
        return self._ready.wait(_PATIENCE_S)

    def draw(self, scene: Sequence[Gaussians], sight: Sight, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """All Gaussians of a scene together on white, the picture's longest side ``longest`` px at most."""
        width, height = sight.pixels(longest)
        together = Gaussians.concatenate([Gaussians.empty(), *scene])
        w2c, fxfycxcy = torch.from_numpy(sight.w2c).float(), torch.from_numpy(sight.fxfycxcy(width, height)).float()
        with self._drawing, torch.no_grad():
            drawn = render(together, w2c[None], fxfycxcy[None], width, height, background=torch.ones(3))
        return as_uint8(drawn.rgb[0].numpy())

    def _warm_up(self) -> None:
        one = Gaussians(torch.zeros(1, 3), torch.ones(1, 3), torch.eye(4)[:1], torch.ones(1), torch.ones(1, 3))
        away = np.eye(4)
        away[2, 3] = 5.0
        self.draw([one], Sight(away, 1.0, 8, 8), 8)
        self._ready.set()
