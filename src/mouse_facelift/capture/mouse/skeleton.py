"""The mouse's bones: joint positions of the standing animal, and where every bone goes in a pose.

Body axes of the standing animal: x forward, y left, z up, floor at z = 0, millimetres; the point under the middle of
the body is the origin. Snout to tail base is 78 mm and the tail 60 mm, as in the animals of `markerless_mouse_1`.

Bones, by index: the spine from the pelvis to the head (``SPINE``), the tail from its root (``TAIL``), then three per
leg (upper, lower, foot) in the order of ``LEGS``. A bone's origin is its proximal joint. Spine bones of the standing
animal are parallel to the body axes; the x axis of every other bone points towards its far end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Joints of the spine from the pelvis (root) to the nape, which carries the head: x and z of the standing animal.
SPINE_X = (-28.0, -20.0, -12.0, -4.0, 4.0, 10.0, 16.0)
SPINE_Z = (16.5, 17.4, 17.6, 17.3, 16.4, 16.0, 16.5)
SPINE_JOINTS = np.stack([SPINE_X, np.zeros(len(SPINE_X)), SPINE_Z], axis=1)
SNOUT_X = 39.0
TAIL_BASE = np.array([-39.0, 0.0, 16.0])
TAIL_BONE_LENGTH = 6.0
TAIL_BONES = 10
# The tail's axis sinks towards this height with this length scale, so that it lies on the floor and never under it.
TAIL_REST_HEIGHT = 2.0
TAIL_SINK_LENGTH = 16.0

SPINE = range(len(SPINE_X))
TAIL = range(len(SPINE), len(SPINE) + TAIL_BONES)
PELVIS, CHEST, HEAD = 0, 5, len(SPINE) - 1
LEGS = ("fore_left", "fore_right", "hind_left", "hind_right")
BONE_COUNT = len(SPINE) + TAIL_BONES + 3 * len(LEGS)


@dataclass(frozen=True)
class LegShape:
    """Fixed measures (mm) of one leg of the left side; the right side is its mirror image.

    Attributes:
        parent: The spine bone that carries the leg.
        socket: Shoulder or hip joint of the standing animal, body axes.
        upper, lower, foot: Bone lengths.
        ankle_height: Height of the ankle (or wrist) above the floor while the foot stands.
        pole: Where the knee (elbow) points, in the parent's axes.
    """

    parent: int
    socket: tuple[float, float, float]
    upper: float
    lower: float
    foot: float
    ankle_height: float
    pole: tuple[float, float, float]


FORE_LEG = LegShape(CHEST, (11.0, 5.5, 12.0), 9.5, 11.0, 8.0, 3.2, (-1.0, 0.45, 0.1))
HIND_LEG = LegShape(PELVIS, (-24.0, 6.5, 14.0), 11.5, 12.0, 15.0, 3.4, (1.0, 0.55, 0.3))


@dataclass(frozen=True)
class Pose:
    """Everything that moves. Angles in radians, positions in world millimetres.

    Attributes:
        root: Position of the pelvis.
        heading, pitch: The pelvis' direction about z (counter-clockwise) and upwards.
        spine_yaw, spine_pitch: Turn of every spine joint after the pelvis, to the left and upwards.
        tail_yaw: Direction about z of every tail bone relative to straight backwards.
        ankles: Where the ankles (wrists) should be; a leg that cannot reach stretches towards it.
        feet_yaw, feet_pitch: World direction of the feet about z and upwards.
    """

    root: Float[np.ndarray, " 3"]
    heading: float
    pitch: float
    spine_yaw: Float[np.ndarray, " 6"]
    spine_pitch: Float[np.ndarray, " 6"]
    tail_yaw: Float[np.ndarray, " 10"]
    ankles: Float[np.ndarray, "4 3"]
    feet_yaw: Float[np.ndarray, " 4"]
    feet_pitch: Float[np.ndarray, " 4"]


@dataclass(frozen=True)
class Bones:
    """World frames of bones: a point p of bone b is at ``origins[b] + rotations[b] @ p``."""

    rotations: Float[np.ndarray, "b 3 3"]
    origins: Float[np.ndarray, "b 3"]

    def point(self, bone: int, local: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
        """World position (mm) of a point given in one bone's axes."""
        return self.origins[bone] + self.rotations[bone] @ local


def leg_shape(leg: str) -> tuple[LegShape, float]:
    """(measures, side) of a leg by its name; side is +1 on the left and -1 on the right."""
    return FORE_LEG if leg.startswith("fore") else HIND_LEG, 1.0 if leg.endswith("left") else -1.0


def leg_bones(leg: str) -> tuple[int, int, int]:
    """Indices of a leg's upper, lower and foot bone."""
    first = len(SPINE) + TAIL_BONES + 3 * LEGS.index(leg)
    return first, first + 1, first + 2


def direction_frame(yaw: float, pitch: float) -> Float[np.ndarray, "3 3"]:
    """Axes (columns x, y, z) that look along ``yaw`` about z and ``pitch`` upwards, without roll."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[cy * cp, -sy, -cy * sp], [sy * cp, cy, -sy * sp], [sp, 0.0, cp]])


def spine_bones(pose: Pose) -> Bones:
    """World frames of the spine bones alone (the feet are planned from these)."""
    rotation = direction_frame(pose.heading, pose.pitch)
    rotations, origins = [rotation], [pose.root]
    for j in range(1, len(SPINE)):
        origins.append(origins[-1] + rotation @ (SPINE_JOINTS[j] - SPINE_JOINTS[j - 1]))
        rotation = rotation @ direction_frame(pose.spine_yaw[j - 1], pose.spine_pitch[j - 1])
        rotations.append(rotation)
    return Bones(np.stack(rotations), np.stack(origins))


def posed_bones(pose: Pose) -> Bones:
    """World frames of all bones in a pose."""
    spine = spine_bones(pose)
    parts = [spine, _tail(pose, spine)]
    parts += [_leg(pose, spine, i, leg) for i, leg in enumerate(LEGS)]
    return Bones(np.concatenate([p.rotations for p in parts]), np.concatenate([p.origins for p in parts]))


def _tail(pose: Pose, spine: Bones) -> Bones:
    """The tail leaves its root straight backwards and sinks to the floor."""
    origin = spine.point(PELVIS, TAIL_BASE - SPINE_JOINTS[PELVIS])
    rotations, origins = [], []
    for yaw in pose.tail_yaw:
        slope = (origin[2] - TAIL_REST_HEIGHT) / TAIL_SINK_LENGTH
        rotation = direction_frame(pose.heading + np.pi + yaw, -np.arctan(slope))
        rotations.append(rotation)
        origins.append(origin)
        origin = origin + TAIL_BONE_LENGTH * rotation[:, 0]
    return Bones(np.stack(rotations), np.stack(origins))


def _leg(pose: Pose, spine: Bones, index: int, leg: str) -> Bones:
    """Two bones that bring the ankle to its target, and the foot."""
    shape, side = leg_shape(leg)
    mirror = np.array([1.0, side, 1.0])
    socket = spine.point(shape.parent, np.array(shape.socket) * mirror - SPINE_JOINTS[shape.parent])
    parent = spine.rotations[shape.parent]
    knee, ankle = _two_bones(socket, pose.ankles[index], shape.upper, shape.lower, parent @ (shape.pole * mirror))
    rotations = [
        _along(knee - socket, parent[:, 1]),
        _along(ankle - knee, parent[:, 1]),
        direction_frame(pose.feet_yaw[index], pose.feet_pitch[index]),
    ]
    return Bones(np.stack(rotations), np.stack([socket, knee, ankle]))


def _two_bones(
    start: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"], upper: float, lower: float, pole: np.ndarray
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """(middle joint, end) of two bones from ``start`` towards ``target``, bent towards ``pole`` (law of cosines).

    A target out of reach is approached along the straight line from ``start``; lengths are always kept.
    """
    offset = target - start
    distance = float(np.linalg.norm(offset))
    axis = offset / distance
    distance = float(np.clip(distance, 1.02 * abs(upper - lower), 0.998 * (upper + lower)))
    foot_point = (upper**2 - lower**2 + distance**2) / (2 * distance)
    bend = pole - axis * (pole @ axis)
    bend /= np.linalg.norm(bend)
    middle = start + axis * foot_point + bend * np.sqrt(max(upper**2 - foot_point**2, 0.0))
    return middle, start + axis * distance


def _along(axis: Float[np.ndarray, " 3"], lateral: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Axes whose x runs along ``axis`` and whose y is as near to ``lateral`` as possible."""
    x = axis / np.linalg.norm(axis)
    y = lateral - x * (x @ lateral)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
