"""Units cover every selected frame once, and never cross a segment or a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.units import FrameSelection, describe_plan, plan_units


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


def test_named_frames_and_ranges():
    units, _ = plan_units([recording()], FrameSelection(frames=("490:", "3", "10:14"), stride=2), SplitConfig(0), 50)
    assert units[0].frames == (3, 11, 13, 491, 493, 495, 497, 499)


def test_segments_keep_their_numbers_when_one_is_empty():
    units, _ = plan_units(
        [recording()], FrameSelection(cuts=(100, 200), frames=("0:50", "300:320")), SplitConfig(0), 99
    )
    assert [unit.segment for unit in units] == [0, 2]


def test_each_segment_has_its_own_validation_block():
    units, _ = plan_units([recording()], FrameSelection(cuts=(250,)), SplitConfig(0.2, 0.1), unit_frames=1000)
    assert [(u.segment, u.split) for u in units] == [(0, "train"), (0, "val"), (1, "train"), (1, "val")]
    assert units[1].frames == range(200, 250)


def test_the_plan_is_deterministic():
    plans = [plan_units([recording()], FrameSelection(stride=3), SplitConfig(), 8) for _ in range(2)]
    assert plans[0] == plans[1]


def test_impossible_selections_are_refused():
    with pytest.raises(InputError, match="not both"):
        FrameSelection(stride=2, num_samples=5)
    with pytest.raises(InputError, match="500 frames to choose from, not 501"):
        plan_units([recording()], FrameSelection(num_samples=501), SplitConfig(), 8)
    for wrong in ("7:7", "x", "400:501", "-3"):
        with pytest.raises(InputError, match=f"--frames {wrong}"):
            plan_units([recording()], FrameSelection(frames=(wrong,)), SplitConfig(), 8)
    with pytest.raises(InputError, match="cuts"):
        plan_units([recording()], FrameSelection(cuts=(500,)), SplitConfig(), 8)


def test_the_plan_describes_its_split_and_keeps_the_gap_across_cuts():
    captures = [recording(), replace(recording(), name="b")]
    for splits in (SplitConfig(0.1, 0.1, blocks=3), SplitConfig(val_segments=(1,)), SplitConfig(val_captures=("b",))):
        units, gaps = plan_units(captures, FrameSelection(cuts=(250,)), splits, unit_frames=64)
        described = describe_plan(captures, units, splits)
        counts = described["captures"]
        assert sum(c["train"] + c["val"] for c in counts.values()) + gaps == 1000
        assert described["rule"] == splits.rule
        if splits.val_captures:
            assert (counts["a"]["val"], counts["b"]["train"], gaps) == (0, 0, 0)
        else:
            assert counts["a"] == counts["b"] and counts["a"]["gap_s"] == 0.1
    with pytest.raises(InputError, match="no recording is named c"):
        plan_units(captures, FrameSelection(), SplitConfig(val_captures=("c",)), 8)
