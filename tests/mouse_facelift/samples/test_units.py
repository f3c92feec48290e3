"""Units cover every selected frame once, and never cross a segment or a split."""

from __future__ import annotations

from pathlib import Path

import pytest

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.units import FrameSelection, plan_units


def recording(frames: int = 500) -> Capture:
    return Capture("a", Path("/nowhere/a"), "mammal", (), frames, 100.0)


@pytest.mark.parametrize(
    "selection",
    [FrameSelection(), FrameSelection(stride=7), FrameSelection(num_samples=50), FrameSelection(cuts=(110, 400))],
)
def test_every_selected_frame_is_in_one_unit_or_a_gap(selection):
    units, gaps = plan_units([recording()], selection, SplitConfig(), unit_frames=16)
    frames = [f for unit in units for f in unit.frames]
    assert len(frames) == len(set(frames))
    expected = selection.num_samples or len(range(0, 500, selection.stride))
    assert len(frames) + gaps == expected
    assert len({unit.name for unit in units}) == len(units)
    for unit in units:
        assert len(unit.frames) <= 16 and list(unit.frames) == sorted(unit.frames)
        assert {sum(f >= cut for cut in selection.cuts) for f in unit.frames} == {unit.segment}


def test_each_segment_has_its_own_validation_block():
    units, _ = plan_units([recording()], FrameSelection(cuts=(250,)), SplitConfig(0.2, 0.1), unit_frames=1000)
    assert [(u.segment, u.split) for u in units] == [(0, "train"), (0, "val"), (1, "train"), (1, "val")]
    assert units[1].frames == tuple(range(200, 250))


def test_the_plan_is_deterministic():
    plans = [plan_units([recording()], FrameSelection(stride=3), SplitConfig(), 8) for _ in range(2)]
    assert plans[0] == plans[1]


def test_impossible_selections_are_refused():
    with pytest.raises(InputError, match="not both"):
        FrameSelection(stride=2, num_samples=5)
    with pytest.raises(InputError, match="500 frames, not 501"):
        plan_units([recording()], FrameSelection(num_samples=501), SplitConfig(), 8)
    with pytest.raises(InputError, match="cuts"):
        plan_units([recording()], FrameSelection(cuts=(500,)), SplitConfig(), 8)
