"""Units begin where the views together have least to decode that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.capture.capture import Capture, View, open_capture
from mouse_facelift.capture.container import index_video
from mouse_facelift.capture.video import EncodeOptions, VideoWriter
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.unit_cuts import cheapest_cuts, longest_unit
from mouse_facelift.samples.units import FrameSelection, plan_units
from tests.worlds import make_ring, write_ball_recording

FRAMES = 150


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Three views with keyframes every 25, 25 and 40 frames; content that never changes has no others."""
    folder = tmp_path_factory.mktemp("keys")
    views = []
    for camera, interval in zip(make_ring(3, size=(64, 48)), (25, 25, 40), strict=True):
        video = folder / f"{camera.name}.mp4"
        with VideoWriter(video, 64, 48, 100.0, EncodeOptions(keyframe_interval=interval)) as writer:
            for _ in range(FRAMES):
                writer.write(np.full((48, 64, 3), 90, np.uint8))
        views.append(View(camera.name, camera, video, frame_count=FRAMES))
    return Capture("keys", folder, "mammal", tuple(views), FRAMES, 100.0)


def decoded_twice(capture: Capture, parts: list[np.ndarray]) -> int:
    """Frames, over all views, that units decode before their first."""
    starts = [int(part[0]) for part in parts]
    return sum(start - index_video(view.video).keyframe_before(start) for view in capture.views for start in starts)


def test_cuts_keep_every_frame_and_the_bounds(recording: Capture) -> None:
    for frames in (np.arange(FRAMES), np.arange(3, FRAMES, 2), np.array([5]), np.arange(0)):
        parts = cheapest_cuts(recording, frames, 30)
        assert np.array_equal(np.concatenate([np.zeros(0, int), *parts]), frames)
        assert all(15 <= len(part) <= 30 for part in parts[:-1]) and all(len(part) > 0 for part in parts)


def test_cuts_lie_where_the_views_together_seek_least(recording: Capture) -> None:
    """Keyframes of two views at 25, 50, 75, ..., of one at 40, 80, 120."""
    frames = np.arange(FRAMES)
    assert [int(part[0]) for part in cheapest_cuts(recording, frames, 50)] == [0, 50, 80, 125]
    parts = cheapest_cuts(recording, frames, 40)
    assert [int(part[0]) for part in parts] == [0, 25, 50, 80, 100, 125]
    blind = [frames[start : start + 40] for start in range(0, FRAMES, 40)]
    assert decoded_twice(recording, parts) / len(parts) < decoded_twice(recording, blind) / len(blind)


def test_the_longest_unit_follows_recording_and_keyframes(recording: Capture) -> None:
    assert longest_unit(recording, np.arange(FRAMES)) == pytest.approx(2 * np.mean([25, 25, 37.5]), abs=1)
    bare = Capture("bare", Path("/nowhere"), "mammal", (), 10**6, 100.0)
    lengths = [longest_unit(bare, np.arange(count)) for count in (0, 10, 6400, 18_000)]
    assert lengths == [32, 32, 100, 256]


def test_a_plan_without_a_length_is_the_same_every_time(tmp_path: Path) -> None:
    capture = open_capture(write_ball_recording(tmp_path / "ball", 80))
    plans = [plan_units([capture], FrameSelection(), SplitConfig()) for _ in range(2)]
    assert plans[0] == plans[1] and sum(len(unit.frames) for unit in plans[0][0]) + plans[0][1] == 80
    assert all(len(unit.frames) <= 64 for unit in plans[0][0])
