"""The mouse's outline: tubes of elliptical section round the bones, and points spread evenly over them.

Measures are of the standing animal in millimetres (see ``skeleton``); they were set by eye against photographs and
the lengths known of the real animals. A tube is written in the axes of its part; where a part bends (trunk, tail) it
runs along a chain of bones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from mouse_facelift.capture.mouse.skeleton import (
    HEAD,
    HIND_LEG,
    LEGS,
    SPINE,
    SPINE_JOINTS,
    TAIL,
    TAIL_BONE_LENGTH,
    TAIL_BONES,
    LegShape,
    direction_frame,
    leg_bones,
    leg_shape,
)

# Steps of the golden-section sequence in two dimensions (Roberts 2018, "R2"): points of even spread at any count.
R2_STEPS = np.array([0.7548776662466927, 0.5698402909980532])
PROFILE_SAMPLES = 800


@dataclass(frozen=True)
class Surface:
    """Points on a tube with their frames, in the part's chain axes (mm)."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    along: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Tube:
    """A tube along x with elliptical sections and rounded ends.

    Attributes:
        x: Places at which the section is given, increasing (mm).
        width, height: Half axes of the section along y and z (mm).
        rise: z of the section's centre (mm).
        caps: Length of the rounding at either end (mm).
        rotation, origin: Places the tube's axes in those of its chain of bones.
    """

    x: tuple[float, ...]
    width: tuple[float, ...]
    height: tuple[float, ...]
    rise: tuple[float, ...]
    caps: tuple[float, float]
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def area(self) -> float:
        """Surface in mm^2."""
        return float(self._area_by_x()[1][-1])

    def spread(self, count: int, shift: Float[np.ndarray, " 2"]) -> Surface:
        """``count`` points of even density; ``shift`` in [0, 1)^2 moves the pattern."""
        unit = (np.arange(count)[:, None] * R2_STEPS + shift) % 1.0
        x_grid, area = self._area_by_x()
        x = np.interp(unit[:, 0] * area[-1], area, x_grid)
        angle = 2 * np.pi * unit[:, 1]
        step = 1e-4 * (self.x[-1] - self.x[0])
        x = np.clip(x, self.x[0] + 2 * step, self.x[-1] - 2 * step)
        along = self._point(x + step, angle) - self._point(x - step, angle)
        around = self._point(x, angle + 1e-4) - self._point(x, angle - 1e-4)
        normals = np.cross(around, along)
        points = self._point(x, angle)
        return Surface(
            points @ self.rotation.T + self.origin,
            _unit(normals) @ self.rotation.T,
            _unit(along) @ self.rotation.T,
        )

    def _section(self, x: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(half width, half height, rise) at x: smooth between the given places, elliptically rounded at the ends."""
        inset = np.minimum((x - self.x[0]) / self.caps[0], (self.x[-1] - x) / self.caps[1])
        cap = np.sqrt(np.clip(1 - (1 - np.clip(inset, 0, 1)) ** 2, 0, 1))
        width, height, rise = (PchipInterpolator(self.x, v)(x) for v in (self.width, self.height, self.rise))
        return width * cap, height * cap, rise

    def _point(self, x: Float[np.ndarray, " n"], angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        width, height, rise = self._section(x)
        return np.stack([x, width * np.cos(angle), rise + height * np.sin(angle)], axis=1)

    def _area_by_x(self) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """(x, surface up to x), with Ramanujan's circumference of an ellipse. Denser towards the rounded ends."""
        t = np.linspace(-1, 1, PROFILE_SAMPLES)
        x = self.x[0] + (self.x[-1] - self.x[0]) * (np.sin(np.pi / 2 * t) + 1) / 2
        a, b, rise = self._section(x)
        h = ((a - b) / np.maximum(a + b, 1e-9)) ** 2
        around = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
        slant = np.sqrt(np.diff(x) ** 2 + np.diff((a + b) / 2) ** 2)
        return x, np.concatenate([[0.0], np.cumsum(slant * (around[1:] + around[:-1]) / 2)])


@dataclass(frozen=True)
class Part:
    """A tube, the bones that carry it, and what it is covered with.

    Attributes:
        name: What it is, for people.
        tube: Its shape, in axes parallel to those of its first bone.
        bones: The chain that carries it, in order.
        joints: Where those bones begin, in the tube's chain axes (mm).
        cover: Which palette of ``coat`` colours it.
        detail: Density of Gaussians relative to the trunk's.
    """

    name: str
    tube: Tube
    bones: tuple[int, ...]
    joints: Float[np.ndarray, "k 3"]
    cover: str
    detail: float = 1.0


def mouse_parts() -> list[Part]:
    """All parts of the animal."""
    at_origin = np.zeros((1, 3))
    parts = [Part("trunk", TRUNK, tuple(SPINE), SPINE_JOINTS, "fur")]
    tail_joints = np.stack([TAIL_BONE_LENGTH * np.arange(TAIL_BONES), np.zeros(TAIL_BONES), np.zeros(TAIL_BONES)], 1)
    parts.append(Part("tail", TAIL_TUBE, tuple(TAIL), tail_joints, "tail", 1.6))
    head = SPINE_JOINTS[HEAD][None]
    parts.append(Part("nose", NOSE, (HEAD,), head, "nose", 4.0))
    for side in (1.0, -1.0):
        parts.append(Part("ear", _ear(side), (HEAD,), head, "ear", 1.6))
        eye = replace(EYE, origin=(28.2, side * 6.0, 18.6))
        parts.append(Part("eye", eye, (HEAD,), head, "eye", 4.0))
    for leg in LEGS:
        shape, side = leg_shape(leg)
        hind = shape is HIND_LEG
        upper, lower, foot = leg_bones(leg)
        tubes = HIND_TUBES if hind else FORE_TUBES
        parts.append(Part("upper leg", tubes[0], (upper,), at_origin, "fur"))
        parts.append(Part("lower leg", tubes[1], (lower,), at_origin, "fur", 1.5))
        parts.append(Part("foot", tubes[2], (foot,), at_origin, "skin", 2.5))
        parts += [Part("toe", t, (foot,), at_origin, "skin", 4.0) for t in _toes(shape, side)]
    return parts


TRUNK = Tube(
    x=(-40.0, -37.0, -32.0, -26.0, -18.0, -8.0, 2.0, 10.0, 16.0, 21.0, 26.0, 30.0, 34.0, 37.0, 39.0),
    width=(3.2, 4.6, 8.6, 11.8, 13.4, 13.2, 11.4, 9.4, 8.3, 8.6, 8.0, 6.4, 4.5, 3.0, 2.2),
    height=(3.0, 4.4, 8.2, 11.0, 12.6, 12.4, 11.0, 9.6, 8.6, 8.6, 7.8, 6.2, 4.5, 3.1, 2.2),
    rise=(16.0, 16.2, 16.4, 16.6, 17.2, 17.4, 16.6, 16.2, 16.6, 17.0, 16.2, 15.0, 13.4, 12.2, 11.6),
    caps=(3.0, 2.4),
)
TAIL_TUBE = Tube(
    x=(-3.0, 2.0, 12.0, 30.0, 48.0, 60.0),
    width=(3.2, 2.5, 1.9, 1.4, 0.9, 0.4),
    height=(3.2, 2.5, 1.9, 1.4, 0.9, 0.4),
    rise=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    caps=(1.0, 1.0),
)
NOSE = Tube((36.9, 38.3, 39.6), (1.8, 1.7, 1.3), (1.5, 1.4, 1.1), (12.3, 12.1, 11.9), (1.0, 1.2))
EYE = Tube((-1.9, 0.0, 1.9), (1.9, 1.9, 1.9), (1.9, 1.9, 1.9), (0.0, 0.0, 0.0), (1.9, 1.9))
HIND_TUBES = (
    Tube((-4.0, 3.5, 11.5, 14.0), (5.0, 6.0, 4.4, 3.2), (7.5, 7.5, 4.8, 3.2), (0.0,) * 4, (4.0, 3.0)),
    Tube((-3.0, 3.0, 9.0, 13.0), (3.4, 3.2, 2.2, 1.6), (3.8, 3.6, 2.3, 1.6), (0.0,) * 4, (3.0, 1.5)),
    Tube((-1.8, 2.0, 7.0, 11.5), (1.6, 1.9, 2.2, 2.7), (1.5, 1.4, 1.2, 1.0), (0.0, 0.0, 0.0, 0.0), (1.5, 1.5)),
)
FORE_TUBES = (
    Tube((-4.0, 3.0, 9.5, 12.0), (4.2, 4.4, 3.4, 2.4), (5.5, 5.0, 3.6, 2.4), (0.0,) * 4, (4.0, 2.4)),
    Tube((-2.4, 3.0, 8.0, 11.8), (2.7, 2.4, 1.8, 1.4), (2.9, 2.6, 1.8, 1.4), (0.0,) * 4, (2.4, 1.4)),
    Tube((-1.6, 1.5, 4.0, 6.0), (1.4, 1.6, 2.0, 1.9), (1.3, 1.3, 1.1, 0.9), (0.0,) * 4, (1.4, 1.2)),
)


def _ear(side: float) -> Tube:
    """A thin round leaf that stands up and out from the back of the head; its local z is the inner, forward face."""
    stalk = direction_frame(side * 2.0, 0.85)
    # Turn about the stalk so that the inner face looks forwards and outwards.
    wanted = np.array([0.8, side * 0.55, 0.0])
    face = wanted - stalk[:, 0] * (stalk[:, 0] @ wanted)
    face /= np.linalg.norm(face)
    rotation = np.stack([stalk[:, 0], np.cross(face, stalk[:, 0]), face], axis=1)
    return Tube(
        x=(-1.0, 2.3, 6.2, 9.8, 12.0),
        width=(2.4, 4.2, 5.3, 4.8, 3.8),
        height=(0.8, 0.6, 0.5, 0.5, 0.45),
        rise=(0.0, -0.5, -0.9, -0.4, 0.3),
        caps=(1.0, 3.0),
        rotation=rotation,
        origin=(19.0, side * 5.6, 22.0),
    )


def _toes(shape: LegShape, side: float) -> list[Tube]:
    """Toes that fan out from the end of the foot, in the foot's axes."""
    hind = shape is HIND_LEG
    length, radius, start = (4.6, 0.85, 10.5) if hind else (3.0, 0.7, 5.2)
    toes = []
    for fan in (-0.45, -0.15, 0.15, 0.45):
        yaw = side * (fan * (1.0 if hind else 1.4))
        tube = Tube(
            x=(-0.5, 0.5 * length, length),
            width=(radius, radius, 0.8 * radius),
            height=(radius, radius, 0.8 * radius),
            rise=(0.0, 0.0, 0.0),
            caps=(radius, radius),
            rotation=direction_frame(yaw, 0.05),
            origin=(start, 4.6 * np.sin(yaw) * (1.0 if hind else 0.75), -0.1),
        )
        toes.append(tube)
    return toes


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
