"""Cuts are found wherever the animal is afterwards; walking, dashes and stray centres are not cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.jumps import JumpConfig, find_jumps

FPS = 100.0


@pytest.fixture
def walk() -> np.ndarray:
    """A hundred centres of an animal that trembles, and walks 60 mm in the middle."""
    walk = np.cumsum(np.random.default_rng(2).normal(0, 0.4, (100, 3)), axis=0)
    walk[40:60] += np.linspace(0, 60, 20)[:, None] * [1.0, 0, 0]
    walk[60:] += [60.0, 0, 0]
    return walk


def test_a_cut_is_found_with_its_length_and_walking_and_strays_are_not(walk):
    frames = np.arange(0, 200, 2)
    assert find_jumps(frames, walk, FPS) == []
    walk[30] += 80
    assert find_jumps(frames, walk, FPS) == []
    walk[75:] += [0, 45.0, 0]
    ((frame, length),) = find_jumps(frames, walk, FPS)
    assert frame == frames[75] and abs(length - 45) < 4
    assert find_jumps(frames, walk, FPS, JumpConfig(shortest_mm=60)) == []
    # The same step after a long pause of the selection is no jump.
    assert find_jumps(frames + 400 * (frames >= frames[75]), walk, FPS) == []
    assert find_jumps(frames[:2], walk[[0, 99]], FPS) == []


def test_a_dash_is_no_cut_but_a_cut_beside_it_is(walk):
    """The fastest dash of a recorded mouse, in mm per frame at 100 fps."""
    dash = np.cumsum([0, 2, 6, 1, 16, 27, 19, 6, 3, 2])
    walk[20:30] += dash[:, None] * [0, 1.0, 0]
    walk[30:] += [0, dash[-1], 0]
    frames = np.arange(100)
    assert find_jumps(frames, walk, FPS) == []
    assert [frame for frame, _ in find_jumps(frames, walk, FPS, JumpConfig(isolation=1.0))] == [25]
    walk[36:] -= [90.0, 0, 0]
    assert [frame for frame, _ in find_jumps(frames, walk, FPS)] == [36]


@pytest.mark.parametrize("where", [1, 2, 50, 97, 98])
def test_a_cut_is_found_near_the_ends_too(walk, where):
    walk[where:] += [0, 0, 70.0]
    assert [frame for frame, _ in find_jumps(np.arange(100), walk, FPS)] == [where]


@pytest.mark.parametrize("field", ["ratio", "isolation", "around", "shortest_mm"])
def test_thresholds_that_mean_nothing_are_refused(field):
    for value in (-1, float("nan")):
        with pytest.raises(InputError, match="jumps: ratio, isolation"):
            replace(JumpConfig(), **{field: value})


def test_a_recording_without_a_cut_has_none_at_any_stride(shared_data):
    """The track of a real mouse that darts; every other, third ... frame of it makes the steps longer."""
    track = np.load(shared_data / "capture_a" / "truth" / "com.npy").astype(float)
    for stride in (1, 2, 3, 5, 8):
        assert find_jumps(np.arange(len(track))[::stride], track[::stride], FPS) == [], stride
    joined = np.concatenate([track[:60], track[130:]])
    assert [frame for frame, _ in find_jumps(np.arange(len(joined)), joined, FPS)] == [60]
