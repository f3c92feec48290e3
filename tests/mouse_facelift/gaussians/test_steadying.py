"""A trembling sequence of a moving animal becomes steadier, and truer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.jitter import jitter, steadiness
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import Sequenced, SequenceWriter
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.gaussians.steadying import centre_in_mm, centre_of, followed, steadied, steadying_shifts
from mouse_facelift.storage import Store
from tests.synthetic import blob

RATE, COUNT, SCALE = 100.0, 200, 0.01


def walk() -> tuple[list[SequenceFrame], np.ndarray]:
    """A walk with a cut in the middle, reconstructed with errors of 0.5 mm per axis; and where the animal truly was."""
    errors = np.random.default_rng(0).normal(size=(COUNT, 3)) * 0.5
    inside = centre_in_mm(SequenceFrame(FrameIndex("", "", 0, 0.0, 0), np.zeros(3), SCALE, blob()))
    frames, truth = [], []
    for i in range(COUNT):
        segment, time = int(i >= COUNT // 2), i / RATE
        centre = np.array([60 * np.sin(2 * time), 20 * time, 15.0]) + 300 * segment
        index = FrameIndex(f"walk-{i:06d}", "walk", i, time, segment)
        gaussians = blob()
        moved = replace(gaussians, means=gaussians.means + torch.from_numpy(errors[i] * SCALE).float())
        frames.append(SequenceFrame(index, centre, SCALE, moved))
        truth.append(centre + inside)
    return frames, np.array(truth)


def test_jitter_falls_and_so_does_the_error() -> None:
    frames, truth = walk()
    index = [frame.index for frame in frames]
    times, segments = np.array([i.time_s for i in index]), [i.segment for i in index]
    before = np.stack([centre_in_mm(frame) for frame in frames])
    shifts = steadying_shifts(before, index, 0.03)
    moved = [steadied(frame, shift) for frame, shift in zip(frames, shifts, strict=True)]
    after = np.stack([centre_in_mm(frame) for frame in moved])
    assert jitter(before, times, segments) == pytest.approx(0.5 * np.sqrt(3), rel=0.15)
    assert jitter(after, times, segments) < 0.1 * jitter(before, times, segments)
    errors = [np.sqrt(((x - truth) ** 2).sum(-1).mean()) for x in (before, after)]
    assert errors[1] < 0.6 * errors[0]
    assert torch.equal(moved[3].gaussians.means, frames[3].gaussians.means)
    found = steadiness(before, shifts, index)
    assert found.jitter_before == jitter(before, times, segments)
    assert (
        found.jitter_after == jitter(before + shifts, times, segments) == pytest.approx(jitter(after, times, segments))
    )
    assert 0.5 < found.mean_shift < found.largest_shift < 3
    again = steadied(moved[3], shifts[3])
    assert (again.centre_mm == moved[3].centre_mm).all()


def test_a_cut_is_not_smoothed_and_what_is_unseen_stays() -> None:
    frames, _ = walk()
    frames[20] = replace(frames[20], gaussians=Gaussians.empty())
    centres = np.stack([centre_in_mm(frame) for frame in frames])
    assert np.isnan(centres[20]).all()
    shifts = steadying_shifts(centres, [frame.index for frame in frames], 0.03)
    assert np.abs(shifts).max() < 10 and (shifts[20] == 0).all() and np.abs(shifts[19]).max() > 0
    assert (steadying_shifts(centres, [frame.index for frame in frames], 0.0) == 0).all()


def test_frames_out_of_order_are_refused() -> None:
    frames, _ = walk()
    frames = frames[:3][::-1]
    with pytest.raises(InputError, match="walk, segment 0: frames are not in order"):
        steadying_shifts(np.zeros((3, 3)), [frame.index for frame in frames], 0.1)


def test_a_camera_follows_softly_and_jumps_at_a_cut(tmp_path: Path) -> None:
    frames, _ = walk()
    frames = frames[COUNT // 2 - 10 : COUNT // 2 + 10]
    writer = SequenceWriter(Store.at(tmp_path), "walk.sequence.parquet")
    writer.write("all", frames)
    writer.finish(["all"])
    sequence = Sequenced.open(str(tmp_path / "walk.sequence.parquet"))
    exact, soft = followed(sequence, 0.0), followed(sequence, 0.02)
    places = np.array([[centre_of(follow(i)) for i in range(20)] for follow in (exact, soft)])
    assert np.abs(places[0]).max() < 1e-4
    # Softly: the animal trembles about the middle by what was smoothed away, and stays near it at the cut, too.
    assert 0.001 < np.abs(places[1]).mean() < 0.02 and np.abs(places[1]).max() < 0.1
