"""The coat follows its bones: it has the stated number of hairs, keeps to the skin, and moves with the animal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mouse_facelift.capture.mouse.coat import Coat, grow_coat, pose_coat
from mouse_facelift.capture.mouse.gait import Motion
from mouse_facelift.capture.mouse.shape import mouse_parts
from mouse_facelift.capture.mouse.skeleton import direction_frame
from mouse_facelift.gaussians.gaussians import rotation_matrices


@pytest.fixture(scope="module")
def coat() -> Coat:
    return grow_coat(0, 3000)


def test_count_area_and_ranges(coat: Coat) -> None:
    assert len(coat) == pytest.approx(3000, rel=0.05)
    assert coat.area.sum() == pytest.approx(sum(p.tube.area() for p in mouse_parts()))
    assert 0 <= coat.colours.min() < 0.1 and 0.6 < coat.colours.max() <= 1
    assert coat.scales.min() > 0
    assert 0 <= coat.weight.min() and coat.weight.max() <= 1


def test_the_seed_decides_the_coat(coat: Coat) -> None:
    again, other = grow_coat(0, 3000), grow_coat(1, 3000)
    np.testing.assert_array_equal(coat.colours, again.colours)
    np.testing.assert_array_equal(coat.local, again.local)
    assert np.abs(coat.colours - other.colours).max() > 0.1


def test_gaussians_move_with_the_animal(coat: Coat) -> None:
    """A mouse elsewhere, turned about z, is the same Gaussians moved rigidly; light from above stays the same."""
    pose = Motion(2).pose(0.9)
    turn, shift = direction_frame(-1.1, 0.0), np.array([20.0, 8.0, 0.0])
    moved = replace(
        pose,
        root=turn @ pose.root + shift,
        heading=pose.heading - 1.1,
        ankles=pose.ankles @ turn.T + shift,
        feet_yaw=pose.feet_yaw - 1.1,
    )
    before, after = pose_coat(pose, coat), pose_coat(moved, coat)
    np.testing.assert_allclose(after.means, before.means @ turn.T + shift, atol=1e-9)
    np.testing.assert_allclose(after.centre, turn @ before.centre + shift, atol=1e-9)
    torch.testing.assert_close(after.gaussians.colours, before.gaussians.colours, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        rotation_matrices(after.gaussians.rotations),
        torch.from_numpy(turn).float() @ rotation_matrices(before.gaussians.rotations),
        atol=1e-5,
        rtol=0,
    )


def test_neighbours_on_the_skin_stay_neighbours_in_every_pose(coat: Coat) -> None:
    """No tears at the joints: on the trunk, a hair's nearest neighbour stays near through walking and rearing."""
    trunk = np.flatnonzero((coat.bones[:, 1] < 7) & (coat.area > 0.8 * np.median(coat.area)))
    start = pose_coat(Motion(0).pose(0.0), coat).means[trunk]
    distance = np.linalg.norm(start[:, None] - start[None], axis=2) + 1e9 * np.eye(len(trunk))
    nearest = distance.argmin(axis=1)
    for time in (0.6, 1.3, 1.92):
        means = pose_coat(Motion(0).pose(time), coat).means[trunk]
        apart = np.linalg.norm(means - means[nearest], axis=1)
        assert np.quantile(apart, 0.99) < 2.5 * np.sqrt(np.median(coat.area))


@pytest.mark.parametrize("seed", [0, 5])
def test_nothing_sinks_into_the_floor(coat: Coat, seed: int) -> None:
    lowest = [pose_coat(Motion(seed).pose(f / 12.5), coat).means[:, 2].min() for f in range(0, 48, 3)]
    assert -0.6 < min(lowest) and max(lowest) < 1.5
