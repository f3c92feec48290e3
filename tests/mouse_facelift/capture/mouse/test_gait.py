"""The movement is smooth, feet in stance do not slide, and a recording shows many headings and a rear."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.mouse.gait import ARENA_CENTRE, Gait, Motion
from mouse_facelift.capture.mouse.skeleton import HEAD, LEGS, PELVIS, leg_bones, posed_bones

STEP = 0.002


@pytest.mark.parametrize("seed", [0, 5])
def test_standing_feet_do_not_slide_and_lie_on_the_floor(seed: int) -> None:
    motion, still = Motion(seed), 0
    for time in np.arange(0, 3.84, 0.05):
        both = [i for i in range(4) if motion.standing_feet(time)[i] and motion.standing_feet(time + STEP)[i]]
        feet = [list(leg_bones(leg))[2] for leg in LEGS]
        now, then = posed_bones(motion.pose(time)), posed_bones(motion.pose(time + STEP))
        for i in both:
            target = motion.pose(time).ankles[i]
            np.testing.assert_allclose(motion.pose(time + STEP).ankles[i], target, atol=1e-9)
            # A leg at the end of its stride may lift its ankle off the plan by a millimetre, no more.
            assert np.linalg.norm(now.origins[feet[i]] - target) < 1.5
            assert np.linalg.norm(then.origins[feet[i]] - now.origins[feet[i]]) < 0.3
            assert 2.0 < now.origins[feet[i], 2] < 5.0
            still += 1
    assert still > 100


@pytest.mark.parametrize("seed", [0, 1])
def test_the_movement_has_no_jumps(seed: int) -> None:
    """From one 2 ms step to the next, through a rear and over the end of its period."""
    motion = Motion(seed)
    for start in (1.0, 3.5):
        bones = [posed_bones(motion.pose(t)) for t in np.arange(start, start + 0.6, STEP)]
        origins, turns = np.stack([b.origins for b in bones]), np.stack([b.rotations for b in bones])
        assert np.abs(np.diff(origins, axis=0)).max() < 2.0
        cosines = (np.einsum("tbij,tbij->tb", turns[1:], turns[:-1]) - 1) / 2
        assert np.arccos(np.clip(cosines, -1, 1)).max() < 0.3


def test_it_rears_once_a_period_and_stands_while_it_does() -> None:
    gait, motion = Gait(), Motion(0)
    heights = {t: posed_bones(motion.pose(t)).origins[HEAD, 2] for t in np.arange(0, gait.rear_period, 0.04)}
    top = max(heights, key=lambda t: heights[t])
    assert top == pytest.approx(gait.rear_period / 2, abs=0.1)
    assert heights[top] > 40 > 25 > min(heights.values())
    here, soon = (motion.pose(gait.rear_period / 2 + d).root for d in (-0.02, 0.02))
    assert np.linalg.norm(soon - here) < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_forty_eight_frames_face_every_way_and_stay_in_the_middle(seed: int) -> None:
    poses = [Motion(seed).pose(f / 12.5) for f in range(48)]
    sectors = {int(np.degrees(p.heading) % 360 // 60) for p in poses}
    assert sectors == set(range(6))
    pelvis = np.stack([posed_bones(p).origins[PELVIS, :2] for p in poses])
    assert np.linalg.norm(pelvis - ARENA_CENTRE, axis=1).max() < 45


def test_seeds_move_differently_and_the_same_seed_alike() -> None:
    a, b, c = (posed_bones(Motion(s).pose(1.0)).origins for s in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1
