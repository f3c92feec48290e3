"""Where the mouse is filmed: the real six-camera rig, a bright round floor in a dark room, and the mouse's shadow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras.camera import Camera, intrinsics_from_pixel_centre
from mouse_facelift.capture.mouse.gait import ARENA_CENTRE
from mouse_facelift.capture.mouse.noise import smooth_noise

# Floor disc (mm) and colours (RGB, display values) after the recordings of `markerless_mouse_1`.
DISC_RADIUS = 150.0
RIM_WIDTH = 3.0
FLOOR_COLOUR = np.array([0.80, 0.80, 0.79])
RIM_COLOUR = np.array([0.20, 0.20, 0.20])
ROOM_COLOUR = np.array([0.075, 0.08, 0.07])
# Shadow map: half side and cell (mm).
SHADOW_EXTENT, SHADOW_CELL = 135.0, 1.5
# The floor is the same one in every recording.
FLOOR_SEED = 0
# A place on the floor for pixels that do not see it (mm).
OUT_OF_SIGHT = 1e6


@dataclass(frozen=True)
class ShadowLayer:
    """Occlusion by what is near the floor: weight falls with height over ``reach``, blurred by ``blur`` (both mm)."""

    reach: float
    blur: float
    strength: float


SHADOW_LAYERS = (ShadowLayer(4.0, 2.5, 0.55), ShadowLayer(25.0, 9.0, 0.40))


@cache
def _calibration() -> tuple[Camera, ...]:
    text = files("mouse_facelift.cameras").joinpath("data/markerless_mouse_1.json").read_text()
    record = json.loads(text)
    return tuple(
        Camera(
            str(entry["id"]),
            record["width"],
            record["height"],
            intrinsics_from_pixel_centre(np.array(entry["K_undist"])),
            np.array(entry["R"]),
            np.array(entry["t"]),
        )
        for entry in record["cameras"]
    )


def rig_size() -> tuple[int, int]:
    """(width, height) in pixels of the rig's own images."""
    first = _calibration()[0]
    return first.width, first.height


def rig_cameras(width: int | None = None, height: int | None = None) -> list[Camera]:
    """The six undistorted cameras of `markerless_mouse_1` for images of the given size (the rig's own by default).

    World in millimetres, z up, floor at z = 0. Another size shows the same picture, resampled.
    """
    own = rig_size()
    return [camera.resized(width or own[0], height or own[1]) for camera in _calibration()]


class Arena:
    """The empty arena as one camera sees it, and the light the mouse takes away from its floor.

    Everything that does not move is computed once.
    """

    def __init__(self, camera: Camera) -> None:
        x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        rays = camera.rays(np.stack([x, y], axis=-1))
        downwards = np.minimum(rays[..., 2], -1e-4)
        floor = camera.centre[:2] - rays[..., :2] * (camera.centre[2] / downwards)[..., None]
        floor[rays[..., 2] > -1e-4] = OUT_OF_SIGHT
        self.background: Float[np.ndarray, "h w 3"] = _empty_arena(floor, rays).astype(np.float32)
        cells = (floor - ARENA_CENTRE + SHADOW_EXTENT) / SHADOW_CELL - 0.5
        self._cells = np.clip(cells, -2, OUT_OF_SIGHT).astype(np.float32)

    def compose(
        self,
        premultiplied: Float[np.ndarray, "h w 3"],
        alpha: Float[np.ndarray, "h w"],
        shadow: Float[np.ndarray, "s s"],
    ) -> Float[np.ndarray, "h w 3"]:
        """The animal (colours already multiplied by alpha) over the shadowed floor."""
        light = 1 - cv2.remap(
            shadow, self._cells[..., 0], self._cells[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        return premultiplied + ((1 - alpha) * light)[..., None] * self.background


def shadow_map(points: Float[np.ndarray, "n 3"], area: Float[np.ndarray, " n"]) -> Float[np.ndarray, "s s"]:
    """How much light the animal takes from each cell of the floor, in [0, 1); row is y, column is x.

    Args:
        points: Points on the animal (mm), each standing for ``area`` mm^2 of its surface.
        area: See above.
    """
    side = int(2 * SHADOW_EXTENT / SHADOW_CELL)
    edges = np.linspace(-SHADOW_EXTENT, SHADOW_EXTENT, side + 1)
    x, y = points[:, 0] - ARENA_CENTRE[0], points[:, 1] - ARENA_CENTRE[1]
    light = np.ones((side, side))
    for layer in SHADOW_LAYERS:
        # Half of a closed surface faces the floor.
        weight = 0.5 * area * np.exp(-np.maximum(points[:, 2], 0) / layer.reach)
        density = np.histogram2d(y, x, bins=(edges, edges), weights=weight)[0] / SHADOW_CELL**2
        blurred = cv2.GaussianBlur(density, (0, 0), layer.blur / SHADOW_CELL)
        light *= 1 - layer.strength * (1 - np.exp(-3 * blurred))
    return (1 - light).astype(np.float32)


def _empty_arena(floor: Float[np.ndarray, "h w 2"], rays: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Floor, rim and room; edges are blended over the width of a pixel on the floor."""
    offset = floor - ARENA_CENTRE
    radius = np.linalg.norm(offset, axis=-1)
    vertical, horizontal = np.gradient(np.minimum(radius, 10 * DISC_RADIUS))
    pixel = np.maximum(np.hypot(vertical, horizontal), 1e-3)
    mottled = 1 + 0.02 * smooth_noise(offset, 25.0, np.random.default_rng(FLOOR_SEED))
    lamp = 1 - 0.18 * (np.minimum(radius, DISC_RADIUS) / DISC_RADIUS) ** 2
    image = ROOM_COLOUR * (1 + 0.5 * np.clip(-rays[..., 2:] / 0.4, -1, 1))
    for edge, colour in (
        (DISC_RADIUS + RIM_WIDTH, RIM_COLOUR),
        (DISC_RADIUS, FLOOR_COLOUR * (lamp * mottled)[..., None]),
    ):
        cover = np.clip(0.5 + (edge - radius) / pixel, 0, 1)[..., None]
        image = image + cover * (colour - image)
    return image
