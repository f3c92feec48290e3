"""Bones keep their lengths, feet reach their targets, and the standing mouse has the real animal's measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.capture.mouse.gait import Motion
from mouse_facelift.capture.mouse.skeleton import (
    BONE_COUNT,
    LEGS,
    SNOUT_X,
    SPINE,
    SPINE_JOINTS,
    TAIL,
    TAIL_BASE,
    TAIL_BONE_LENGTH,
    TAIL_BONES,
    direction_frame,
    leg_bones,
    leg_shape,
    posed_bones,
)

TIMES = (0.0, 0.7, 1.92, 2.9)


def test_the_animal_is_as_long_as_the_real_one() -> None:
    assert SNOUT_X - TAIL_BASE[0] == pytest.approx(78.0)
    assert TAIL_BONES * TAIL_BONE_LENGTH == pytest.approx(60.0)


@pytest.mark.parametrize("time", TIMES)
def test_every_bone_is_a_rotation_of_constant_length(time: float) -> None:
    bones = posed_bones(Motion(0).pose(time))
    assert bones.rotations.shape == (BONE_COUNT, 3, 3)
    np.testing.assert_allclose(
        bones.rotations @ bones.rotations.transpose(0, 2, 1), np.eye(3) + 0 * bones.rotations, atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(bones.rotations), 1.0)
    spine = np.linalg.norm(np.diff(bones.origins[list(SPINE)], axis=0), axis=1)
    np.testing.assert_allclose(spine, np.linalg.norm(np.diff(SPINE_JOINTS, axis=0), axis=1))
    tail = np.linalg.norm(np.diff(bones.origins[list(TAIL)], axis=0), axis=1)
    np.testing.assert_allclose(tail, TAIL_BONE_LENGTH)
    for leg in LEGS:
        shape, _ = leg_shape(leg)
        upper, lower, foot = bones.origins[list(leg_bones(leg))]
        assert np.linalg.norm(lower - upper) == pytest.approx(shape.upper)
        assert np.linalg.norm(foot - lower) == pytest.approx(shape.lower)


def test_the_pose_moves_with_its_root_and_heading() -> None:
    """Turning and shifting everything a pose says in the world turns and shifts all bones alike."""
    pose = Motion(1).pose(1.5)
    turn, shift = direction_frame(0.8, 0.0), np.array([5.0, -3.0, 0.0])
    moved = replace(
        pose,
        root=turn @ pose.root + shift,
        heading=pose.heading + 0.8,
        ankles=pose.ankles @ turn.T + shift,
        feet_yaw=pose.feet_yaw + 0.8,
    )
    before, after = posed_bones(pose), posed_bones(moved)
    np.testing.assert_allclose(after.origins, before.origins @ turn.T + shift, atol=1e-9)
    np.testing.assert_allclose(after.rotations, turn @ before.rotations, atol=1e-9)


def test_a_leg_out_of_reach_stretches_towards_its_target() -> None:
    pose = Motion(0).pose(0.0)
    far = replace(pose, ankles=pose.ankles + [0.0, 0.0, -100.0])
    bones = posed_bones(far)
    for i, leg in enumerate(LEGS):
        shape, _ = leg_shape(leg)
        upper, _, foot = bones.origins[list(leg_bones(leg))]
        assert np.linalg.norm(foot - upper) == pytest.approx(0.998 * (shape.upper + shape.lower))
        np.testing.assert_allclose(np.cross(foot - upper, far.ankles[i] - upper), 0, atol=1e-6)
