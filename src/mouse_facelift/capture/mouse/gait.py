"""How the mouse moves: it walks round the arena, bends into the turn, and stops to rear up now and then.

Everything is a smooth function of time. Walking runs on its own clock, the *course*, which nearly stands still while
the animal rears: path, stride and bends are functions of the course alone. A foot in stance stays exactly where it was
put down; in swing it moves to where the next stance will be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mouse_facelift.capture.mouse.skeleton import (
    CHEST,
    LEGS,
    PELVIS,
    SPINE_JOINTS,
    TAIL_BONE_LENGTH,
    TAIL_BONES,
    Bones,
    LegShape,
    Pose,
    leg_shape,
    spine_bones,
)

# Middle of the arena (mm): the mean centre of mass of the animal of `markerless_mouse_1`, which every camera faces.
ARENA_CENTRE = (55.0, 64.0)
# Where in the stride each leg is put down (fractions, order of LEGS): a walk close to a trot, as mice do.
LEG_PHASES = (0.0, 0.5, 0.6, 0.1)
# Centre of a standing foot relative to the joint that carries its leg's parent bone, left side (mm, body axes).
FORE_FOOT_HOME = (5.5, 7.5)
HIND_FOOT_HOME = (8.0, 12.5)


@dataclass(frozen=True)
class Gait:
    """Numbers of the movement. Lengths mm, angles rad, times s; ``turn_rate`` and frequencies are per second of course.

    Attributes:
        radius, radius_sway: The path is a circle of this radius, give or take the sway.
        turn_rate: Angular speed on the circle.
        stride_hz, duty, lift: Strides per second, the part of a stride a foot stands, and how high it swings.
        bend, bend_sway: Turn of the whole spine into the curve, and how much that varies.
        rear_period, rear_width, rear_pitch: Time between rears, half the duration of one, the pelvis' pitch at its top.
        tail_curl, tail_wave: Curvature of the tail along the path (rad/mm), and the amplitude of its wave.
    """

    radius: float = 20.0
    radius_sway: float = 4.0
    turn_rate: float = 3.3
    stride_hz: float = 3.0
    duty: float = 0.62
    lift: float = 3.5
    bend: float = 0.45
    bend_sway: float = 0.4
    rear_period: float = 3.84
    rear_width: float = 0.75
    rear_pitch: float = 0.8
    tail_curl: float = 0.02
    tail_wave: float = 0.25


class Motion:
    """One animal's movement, drawn by a seed: where on the circle it starts, which way round, its own small habits."""

    def __init__(self, seed: int, gait: Gait | None = None) -> None:
        rng = np.random.default_rng([seed, 0])
        self.gait = gait or Gait()
        self._sense = float(rng.choice([-1.0, 1.0]))
        self._start = float(rng.uniform(0, 2 * np.pi))
        self._phases = rng.uniform(0, 2 * np.pi, 6)

    def pose(self, time: float) -> Pose:
        """The pose at a time (s)."""
        rear, course = self._rear(time), self._course(time)
        body = self._body(course, rear, time)
        spine = spine_bones(body)
        feet = []
        for i, leg in enumerate(LEGS):
            foot = self._foot(course, i)
            if leg.startswith("fore"):
                foot = foot + rear * (self._held_paw(body, spine, leg, time) - foot)
            feet.append(foot)
        placed = np.stack(feet)
        return replace(body, ankles=placed[:, :3], feet_yaw=placed[:, 3], feet_pitch=placed[:, 4])

    def standing_feet(self, time: float) -> list[bool]:
        """Which feet (order of LEGS) stand on the floor at a time."""
        course, rearing = self._course(time), self._rear(time) > 0
        stance = [(self.gait.stride_hz * course + phase) % 1.0 < self.gait.duty for phase in LEG_PHASES]
        return [s and not (rearing and leg.startswith("fore")) for s, leg in zip(stance, LEGS, strict=True)]

    def _rear(self, time: float) -> float:
        """How far the animal has reared at a time: 0 on four feet, 1 at the top."""
        g = self.gait
        since_top = (time % g.rear_period) - g.rear_period / 2
        return float(np.cos(np.pi / 2 * since_top / g.rear_width) ** 2) if abs(since_top) < g.rear_width else 0.0

    def _course(self, time: float) -> float:
        """The walking clock (s): time less the integral of :meth:`_rear`; it stands still at the top of a rear."""
        g = self.gait
        periods, within = divmod(time, g.rear_period)
        x = float(np.clip((within - g.rear_period / 2) / g.rear_width, -1.0, 1.0))
        held = g.rear_width * (x + 1 + np.sin(np.pi * x) / np.pi) / 2
        return float(time - periods * g.rear_width - held)

    def _body(self, course: float, rear: float, time: float) -> Pose:
        """Pelvis, spine and tail; the feet are left at the origin."""
        g, p, c = self.gait, self._phases, course
        angle = self._start + self._sense * (g.turn_rate * c)
        radius = g.radius + g.radius_sway * np.sin(1.7 * c + p[0])
        heading = angle + self._sense * (np.pi / 2 + 0.25 * np.sin(2.1 * c + p[1]))
        middle = np.array(ARENA_CENTRE) + radius * np.array([np.cos(angle), np.sin(angle)])
        stride = 2 * np.pi * g.stride_hz * c
        forward = np.array([np.cos(heading), np.sin(heading)])
        # The whole animal with its tail is centred well behind the middle of the trunk: the pelvis is near the path.
        root = np.array([*(middle - 8.0 * forward), SPINE_JOINTS[PELVIS, 2] + 0.5 * np.sin(2 * stride) + 3.0 * rear])
        bend = self._sense * (g.bend + g.bend_sway * np.sin(2.7 * c + p[2])) * (1 - 0.5 * rear)
        spine_yaw = np.full(6, bend / 6) + 0.02 * np.sin(stride + 0.6 * np.arange(6))
        spine_yaw[-1] += 0.3 * np.sin(3.1 * time + p[3])
        spine_pitch = rear * np.array([0.05, 0.06, 0.05, 0.0, -0.1, -0.45])
        spine_pitch[-1] += -0.12 + 0.12 * np.sin(4.3 * time + p[4])
        along = TAIL_BONE_LENGTH * np.arange(TAIL_BONES)
        wave = g.tail_wave * np.sin(2.9 * time + p[5] - along / 14.0) * along / along[-1]
        tail_yaw = -self._sense * g.tail_curl * along + wave
        nowhere = np.zeros((4, 3))
        pitch = g.rear_pitch * rear
        return Pose(root, heading, pitch, spine_yaw, spine_pitch, tail_yaw, nowhere, np.zeros(4), np.zeros(4))

    def _foot(self, course: float, leg: int) -> Float[np.ndarray, " 5"]:
        """Ankle (3), yaw, pitch of a walking foot."""
        g = self.gait
        shape, _ = leg_shape(LEGS[leg])
        stride = g.stride_hz * course + LEG_PHASES[leg]
        step = np.floor(stride)
        swing = max(0.0, (stride - step - g.duty) / (1 - g.duty))
        here, yaw = self._stand(step, leg)
        there, next_yaw = self._stand(step + 1, leg)
        moved = swing * swing * (3 - 2 * swing)
        centre, yaw = here + moved * (there - here), yaw + moved * (next_yaw - yaw)
        raised = np.sin(np.pi * swing) ** 2
        ankle = _ankle_over(shape, centre, yaw) + [0.0, 0.0, g.lift * raised]
        return np.array([*ankle, yaw, _standing_pitch(shape) - 0.3 * raised])

    def _stand(self, step: float, leg: int) -> tuple[Float[np.ndarray, " 2"], float]:
        """(centre on the floor, yaw) of a foot in its step-th stance: under the body at the middle of that stance."""
        g = self.gait
        course = (step + g.duty / 2 - LEG_PHASES[leg]) / g.stride_hz
        pose = self._body(course, 0.0, course)
        shape, side = leg_shape(LEGS[leg])
        home = np.array(FORE_FOOT_HOME if shape.parent == CHEST else HIND_FOOT_HOME) * [1.0, side]
        yaw = pose.heading + pose.spine_yaw[: shape.parent].sum()
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        centre = spine_bones(pose).origins[shape.parent, :2] + turn @ home
        return centre, yaw + side * (0.15 if shape.parent == CHEST else 0.3)

    def _held_paw(self, body: Pose, spine: Bones, leg: str, time: float) -> Float[np.ndarray, " 5"]:
        """Wrist (3), yaw, pitch of a forepaw held before the chest while rearing."""
        _, side = leg_shape(leg)
        paddle = np.sin(6.0 * time + side)
        wrist = spine.point(CHEST, np.array([9.0 + paddle, side * 5.0, -13.0 + 1.5 * paddle]))
        return np.array([*wrist, body.heading + body.spine_yaw[:CHEST].sum(), -0.6])


def _standing_pitch(shape: LegShape) -> float:
    """Pitch of a standing foot: from the ankle's height down to toes whose axis is about 1 mm above the floor."""
    return -float(np.arcsin((shape.ankle_height - 1.2) / shape.foot))


def _ankle_over(shape: LegShape, centre: Float[np.ndarray, " 2"], yaw: float) -> Float[np.ndarray, " 3"]:
    """The ankle of a standing foot whose middle is over ``centre``."""
    back = 0.5 * shape.foot * np.array([np.cos(yaw), np.sin(yaw)])
    return np.array([*(centre - back), shape.ankle_height])
