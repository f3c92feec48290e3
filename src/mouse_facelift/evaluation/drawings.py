"""Drawings as inline SVG for report pages: a camera rig in space, and which frames went where over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras import Camera
from mouse_facelift.evaluation.charts import PALETTE

# The eye of a rig's drawing, degrees; parallel projection.
_AZIMUTH, _ELEVATION = -60.0, 28.0
_SIZE, _MARGIN = 640, 30
_WIDTH, _ROW = 900, 46


@dataclass(frozen=True)
class Drawing:
    """A finished ``<svg>`` element and the words under it."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Stretch:
    """Frames ``first`` to ``last`` (both included) of one kind on a timeline."""

    kind: str
    first: int
    last: int


def rig_svg(cameras: Sequence[Camera], points: Float[np.ndarray, "n 3"], floor_z: float | None = 0.0) -> str:
    """Cameras as small pyramids (their real fields of view), the animal's places as dots, in parallel projection.

    Args:
        cameras: At least one; any world unit, z up.
        points: Where the animal was; at least one.
        floor_z: Height of the grid and of the feet of the cameras' plumb lines; None for neither.
    """
    centres = np.stack([camera.centre for camera in cameras])
    reach = float(np.linalg.norm(centres - points.mean(axis=0), axis=-1).mean())
    pyramids = [_pyramid(camera, 0.16 * reach) for camera in cameras]
    grid = np.zeros((0, 2, 3)) if floor_z is None else _grid(centres, points, floor_z)
    feet = centres.copy()
    feet[:, 2] = centres[:, 2] if floor_z is None else floor_z
    place = _Placement(np.concatenate([*pyramids, feet, points, grid.reshape(-1, 3)]))

    box = f"0 0 {place.width} {place.height}"
    parts = [f'<svg viewBox="{box}" role="img" aria-label="cameras and animal in space">']
    parts += [_line(place(ends), "#e2e2e2", 1) for ends in grid]
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{PALETTE[1]}"/>' for x, y in place(points)]
    for camera, corners, foot in zip(cameras, pyramids, feet, strict=True):
        at = place(corners)
        parts.append(_line(place(np.stack([corners[0], foot])), "#bbbbbb", 1, dashes=True))
        parts += [_line(at[[0, i]], PALETTE[0], 1.2) for i in range(1, 5)]
        parts += [_line(at[[i, i % 4 + 1]], PALETTE[0], 1.2) for i in range(1, 5)]
        x, y = at[0]
        parts.append(
            f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle" class="title">{escape(camera.name)}</text>'
        )
    return "".join(parts) + "</svg>"


def timeline_svg(rows: Mapping[str, Sequence[Stretch]], lengths: Mapping[str, int]) -> str:
    """One bar per recording, coloured by what became of its frames; white is what was not used.

    Args:
        rows: Recording -> its stretches.
        lengths: Recording -> number of frames.
    """
    kinds = list(dict.fromkeys(stretch.kind for stretches in rows.values() for stretch in stretches))
    colours = {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(kinds)}
    height = 24 + _ROW * len(rows)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="frames by split over time">']
    x = 0
    for kind, colour in colours.items():
        parts.append(f'<rect x="{x}" y="4" width="12" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="13">{escape(kind)}</text>')
        x += 40 + 7 * len(kind)
    for number, (name, stretches) in enumerate(rows.items()):
        top, scale = 24 + _ROW * number, _WIDTH / max(lengths[name], 1)
        parts.append(f'<text x="0" y="{top + 11}">{escape(name)}, {lengths[name]} frames</text>')
        parts.append(f'<rect x="0" y="{top + 16}" width="{_WIDTH}" height="16" fill="none" stroke="#dddddd"/>')
        for s in stretches:
            # A single frame of a long recording would be invisible.
            width = max((s.last + 1 - s.first) * scale, 1.2)
            place = f'x="{s.first * scale:.2f}" y="{top + 16}" width="{width:.2f}" height="16"'
            parts.append(f'<rect {place} fill="{colours[s.kind]}"/>')
    return "".join(parts) + "</svg>"


def stretches(frames: Mapping[str, Sequence[int]]) -> list[Stretch]:
    """Frame numbers by kind -> uninterrupted stretches; the smallest step between used frames counts as none."""
    labelled = sorted((frame, kind) for kind, numbers in frames.items() for frame in numbers)
    numbers = np.array([frame for frame, _ in labelled])
    step = int(np.diff(numbers).min()) if len(numbers) > 1 and np.diff(numbers).min() > 0 else 1
    found: list[Stretch] = []
    for frame, kind in labelled:
        if found and found[-1].kind == kind and frame - found[-1].last <= step:
            found[-1] = Stretch(kind, found[-1].first, frame)
        else:
            found.append(Stretch(kind, frame, frame))
    return found


def _pyramid(camera: Camera, depth: float) -> Float[np.ndarray, "5 3"]:
    """The camera's position and the corners of its image ``depth`` in front of it."""
    corners = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], np.float64)
    # Without the lens's distortion: its polynomial need not hold in the corners.
    plane = (corners - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    ahead = np.concatenate([plane, np.ones((4, 1))], axis=1) * depth
    return np.concatenate([camera.centre[None], camera.centre + ahead @ camera.R])


def _grid(centres: Float[np.ndarray, "v 3"], points: Float[np.ndarray, "n 3"], z: float) -> Float[np.ndarray, "m 2 3"]:
    """Lines of a square floor under everything."""
    middle = points[:, :2].mean(axis=0)
    half = float(np.abs(centres[:, :2] - middle).max())
    lines = []
    for along in np.linspace(-half, half, 9):
        lines.append([[*(middle + [along, -half]), z], [*(middle + [along, half]), z]])
        lines.append([[*(middle + [-half, along]), z], [*(middle + [half, along]), z]])
    return np.array(lines)


class _Placement:
    """World points to places on the drawing, such that ``everything`` fits."""

    def __init__(self, everything: Float[np.ndarray, "n 3"]) -> None:
        azimuth, elevation = np.radians([_AZIMUTH, _ELEVATION])
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        towards = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        self.axes = np.stack([right, -np.cross(towards, right)], axis=1)
        flat = everything @ self.axes
        low, high = flat.min(axis=0), flat.max(axis=0)
        self.scale = (_SIZE - 2 * _MARGIN) / max(float((high - low).max()), 1e-9)
        self.shift = _MARGIN - self.scale * low
        self.width, self.height = np.ceil(self.scale * (high - low) + 2 * _MARGIN).astype(int)

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        return points @ self.axes * self.scale + self.shift


def _line(ends: Float[np.ndarray, "2 2"], colour: str, width: float, dashes: bool = False) -> str:
    (x1, y1), (x2, y2) = ends
    dashed = ' stroke-dasharray="3 3"' if dashes else ""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"{dashed}/>'
