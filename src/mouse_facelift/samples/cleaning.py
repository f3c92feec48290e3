"""Cleaning silhouettes by each other: a pixel whose ray meets nothing that the other views see is not the animal.

Made for silhouettes that are estimated from a background. Along the ray of each of their pixels, the place is looked
for that the other views agree on, above the floor. That takes away what is only in one view (shadows, bedding, a hand)
and reflections in the floor, which all views agree on but which lie below it.

It must not take away what is right. Silhouettes count as a little wider than they are; from a certain number of views
on, one may miss a part (an ear before something dark) that all others show; and where a silhouette would lose much of
its area, all are left as they are, because then the views contradict each other, and that is for the gate to find, not
for this module to hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError

Mask = Bool[np.ndarray, "h w"]
# Share of the distance to a silhouette that a ray may advance at once: perspective and lens distortion bend distances.
STRIDE = 0.8


@dataclass(frozen=True)
class CleaningConfig:
    """How silhouettes are cleaned."""

    when: Literal["auto", "always", "never"] = "auto"
    """auto: only silhouettes that are estimated; those that come with a recording are taken at their word."""
    floor_z: float | None = 0.0
    """Height of the floor in world units; nothing below it is the animal. DANNCE's and MAMMAL's rigs are calibrated
    with the floor at 0. None where it is not known, or not level."""
    tolerance: float = 0.01
    """How far silhouettes may miss each other, as a share of the animal's extent in the image."""
    dissent_views: int = 5
    """From this many views on, one of the others may miss a part."""
    dissent_height: float = 0.2
    """Such a part is higher above the floor than this share of the animal's radius: reflections and shadows are not."""
    max_loss: float = 0.5
    """Where a silhouette would lose more than this share of its area, all of them stay as they are."""
    cells: int = 52
    """Cells along the longer side of a silhouette that are decided on as one."""

    def __post_init__(self) -> None:
        if not (0 <= self.tolerance < 1 and 0 <= self.max_loss <= 1 and self.cells >= 4 and self.dissent_views >= 4):
            raise InputError(
                "cleaning: tolerance must be in [0, 1), max-loss in [0, 1], cells and dissent-views at least 4"
            )

    def applies_to(self, mask_source: str) -> bool:
        """Whether silhouettes of this origin are cleaned."""
        return self.when == "always" or (self.when == "auto" and mask_source == "estimated")


@dataclass(frozen=True)
class _Window:
    """One view's silhouette around the animal at reduced resolution: cell (i, j) is pixel (left + j s, top + i s)."""

    left: int
    top: int
    step: int
    cells: UInt8[np.ndarray, "r c"]
    outside: Float32[np.ndarray, "r c"]


def clean_masks(
    masks: Sequence[Mask],
    cameras: Sequence[Camera],
    centre: Float[np.ndarray, "3"],
    radius: float,
    config: CleaningConfig | None = None,
) -> list[Mask]:
    """Silhouettes without what the other views or the floor rule out.

    Args:
        masks: One frame's silhouettes in the source frames; empty ones stay empty and have no say.
        cameras: Source cameras, lens distortion included.
        centre: Where the animal is, in world units.
        radius: Radius in world units of the ball about the centre that the animal lies in.
        config: See :class:`CleaningConfig`.

    Returns:
        Subsets of the masks; every one has only pixels of its mask.
    """
    config = config or CleaningConfig()
    seen = [i for i, mask in enumerate(masks) if mask.any()]
    cleaned = list(masks)
    if len(seen) < 3:
        # What two views agree on reaches far beyond the animal: it proves nothing.
        return cleaned
    windows = [_window(masks[i], config) for i in seen]
    fields, boxes = _stacked(windows)
    lenses = np.stack([_numbers(cameras[i]) for i in seen])
    floor = -np.inf if config.floor_z is None else config.floor_z
    dissent_floor = floor + config.dissent_height * radius if len(seen) >= config.dissent_views else np.inf
    for number, (i, window) in enumerate(zip(seen, windows, strict=True)):
        rows, columns = np.nonzero(window.cells)
        pixels = np.stack([columns, rows], axis=-1) * window.step + 0.5 * window.step + [window.left, window.top]
        camera = cameras[i]
        pitch = window.step * float(camera.depth(centre)) / float(camera.K[0, 0])
        found = _supported(
            fields,
            boxes,
            lenses,
            number,
            camera.centre,
            camera.rays(pixels),
            centre,
            radius,
            pitch,
            floor,
            dissent_floor,
        )
        kept = np.zeros(window.cells.shape, np.uint8)
        kept[rows, columns] = found
        result = _applied(masks[i], window, kept)
        if np.count_nonzero(result) < (1 - config.max_loss) * np.count_nonzero(masks[i]):
            return list(masks)
        cleaned[i] = result
    return cleaned


def _window(mask: Mask, config: CleaningConfig) -> _Window:
    """Reduce a silhouette: a cell is set where any pixel is; ``outside`` is how many cells the widened one is away."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    extent = max(width, height)
    step = max(1, round(extent / config.cells))
    # Cells are looked up by the place their centre projects to: half a cell more, so that none is lost to rounding.
    reach = int(np.ceil(config.tolerance * extent / step)) + 1
    left, top = left - reach * step, top - reach * step
    rows, columns = (-(-size // step) + 2 * reach for size in (height, width))
    image = _cut(mask, left, top, columns * step, rows * step)
    cells = image.reshape(rows, step, columns, step).max(axis=(1, 3))
    away = cv2.distanceTransform(1 - cells, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = np.maximum(away - reach, 0).astype(np.float32)
    return _Window(left, top, step, cells, outside)


def _cut(mask: Mask, left: int, top: int, width: int, height: int) -> UInt8[np.ndarray, "h w"]:
    """A rectangle of a mask that may reach beyond it, where it is 0."""
    cut = np.zeros((height, width), np.uint8)
    rows = slice(max(0, top), min(mask.shape[0], top + height))
    columns = slice(max(0, left), min(mask.shape[1], left + width))
    cut[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = mask[rows, columns]
    return cut


def _stacked(windows: Sequence[_Window]) -> tuple[Float32[np.ndarray, "v r c"], Float[np.ndarray, "v 5"]]:
    """All windows' distances in one array, and left, top, step, rows, columns of each."""
    shapes = np.array([window.outside.shape for window in windows])
    stack = np.zeros((len(windows), *shapes.max(axis=0)), np.float32)
    for number, window in enumerate(windows):
        stack[number, : window.outside.shape[0], : window.outside.shape[1]] = window.outside
    return stack, np.array([[w.left, w.top, w.step, *w.outside.shape] for w in windows], np.float64)


def _numbers(camera: Camera) -> Float[np.ndarray, "24"]:
    """A camera as one row: R (9), t (3), fx, skew, cx, fy, cy, distortion (5), width, height."""
    K = camera.K
    distortion = np.zeros(5) if camera.distortion is None else camera.distortion
    inner = [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]]
    return np.concatenate([camera.R.ravel(), camera.t, inner, distortion, [camera.width, camera.height]])


def _applied(mask: Mask, window: _Window, kept: UInt8[np.ndarray, "r c"]) -> Mask:
    """The mask where its cells are kept."""
    full = np.repeat(np.repeat(kept, window.step, axis=0), window.step, axis=1)
    result = np.zeros_like(mask)
    rows = slice(max(0, window.top), min(mask.shape[0], window.top + full.shape[0]))
    columns = slice(max(0, window.left), min(mask.shape[1], window.left + full.shape[1]))
    part = full[
        rows.start - window.top : rows.stop - window.top, columns.start - window.left : columns.stop - window.left
    ]
    result[rows, columns] = mask[rows, columns] & (part > 0)
    return result


@numba.njit(cache=True, nogil=True)
def _supported(
    fields: Float32[np.ndarray, "v r c"],
    boxes: Float[np.ndarray, "v 5"],
    lenses: Float[np.ndarray, "v 24"],
    view: int,
    origin: Float[np.ndarray, "3"],
    directions: Float[np.ndarray, "n 3"],
    centre: Float[np.ndarray, "3"],
    radius: float,
    pitch: float,
    floor: float,
    dissent_floor: float,
) -> Bool[np.ndarray, " n"]:  # pragma: no cover - compiled
    """Which rays pass a place above the floor, in the ball, that the other views see inside.

    From a place that some view sees outside, the ray goes on by the distance to that view's silhouette.
    """
    found = np.zeros(directions.shape[0], np.bool_)
    ox, oy, oz = origin[0] - centre[0], origin[1] - centre[1], origin[2] - centre[2]
    for ray in range(directions.shape[0]):
        dx, dy, dz = directions[ray]
        middle = -(ox * dx + oy * dy + oz * dz)
        half = radius * radius - (ox * ox + oy * oy + oz * oz - middle * middle)
        if half <= 0:
            continue
        half = np.sqrt(half)
        distance = middle - half
        while distance <= middle + half:
            x, y, z = origin[0] + distance * dx, origin[1] + distance * dy, origin[2] + distance * dz
            if z < floor:
                distance += pitch
                continue
            farthest, second = 0.0, 0.0
            for other in range(lenses.shape[0]):
                if other != view:
                    away = _outside_by(fields[other], boxes[other], lenses[other], x, y, z)
                    if away > farthest:
                        farthest, second = away, farthest
                    elif away > second:
                        second = away
            against = second if z >= dissent_floor else farthest
            if against == 0:
                found[ray] = True
                break
            distance += max(pitch, against)
    return found


@numba.njit(cache=True, nogil=True)
def _outside_by(
    field: Float32[np.ndarray, "r c"],
    box: Float[np.ndarray, "5"],
    lens: Float[np.ndarray, "24"],
    x: float,
    y: float,
    z: float,
) -> float:  # pragma: no cover - compiled
    """How far, in world units, a view sees a place outside the silhouette; 0 inside it and beyond the frame."""
    depth = lens[6] * x + lens[7] * y + lens[8] * z + lens[11]
    if depth <= 0:
        return 0.0
    a = (lens[0] * x + lens[1] * y + lens[2] * z + lens[9]) / depth
    b = (lens[3] * x + lens[4] * y + lens[5] * z + lens[10]) / depth
    r2 = a * a + b * b
    radial = 1 + r2 * (lens[17] + r2 * (lens[18] + r2 * lens[21]))
    p1, p2 = lens[19], lens[20]
    c = a * radial + 2 * p1 * a * b + p2 * (r2 + 2 * a * a)
    d = b * radial + p1 * (r2 + 2 * b * b) + 2 * p2 * a * b
    u = lens[12] * c + lens[13] * d + lens[14]
    v = lens[15] * d + lens[16]
    if u < 0 or v < 0 or u >= lens[22] or v >= lens[23]:
        return 0.0
    column, row = (u - box[0]) / box[2], (v - box[1]) / box[2]
    beyond = max(-column, column - box[4], -row, row - box[3])
    cells = beyond + 1 if beyond >= 0 else field[int(row), int(column)]
    return cells * box[2] * depth / max(lens[12], lens[15]) * STRIDE
