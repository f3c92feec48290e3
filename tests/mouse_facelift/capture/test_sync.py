"""Views put in step by time, on synthetic clocks and on real small videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.capture.capture import Axis, Capture, View, open_capture
from mouse_facelift.capture.sync import SyncConfig, match_times, synchronise
from mouse_facelift.errors import InputError
from tests.worlds import make_ring, write_ball_recording


def test_equal_clocks_match_one_to_one():
    times = [np.arange(20) / 100, np.arange(20) / 100 + 0.002]
    assert np.array_equal(match_times(times, 0.005), np.stack([np.arange(20)] * 2, axis=1))


def test_a_dropped_frame_is_missing_and_shifts_nothing():
    full = np.arange(20) / 100
    matched = match_times([full, np.delete(full, 7)], 0.005)[:, 1]
    assert matched[7] == -1
    assert np.array_equal(np.delete(matched, 7), np.arange(19))


@pytest.mark.parametrize("seed", range(10))
def test_matches_are_near_increasing_and_used_once(seed):
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.uniform(0, 1, rng.integers(1, 60))) for _ in range(3)]
    matched = match_times(times, 0.01)
    for view, seconds in enumerate(times):
        used = matched[matched[:, view] >= 0, view]
        assert (np.diff(used) > 0).all()
        rows = matched[:, view] >= 0
        assert np.abs(seconds[matched[rows, view]] - times[0][rows]).max(initial=0) <= 0.01 + 1e-9
    assert np.array_equal(matched[:, 0], np.arange(len(times[0])))


def capture_of(counts: list[int], path: Path = Path("/nowhere/a")) -> Capture:
    views = tuple(
        View(camera.name, camera, path / f"{camera.name}.mp4", None, count)
        for camera, count in zip(make_ring(len(counts)), counts, strict=True)
    )
    return Capture("a", path, "mammal", views, counts[0], 100.0)


def test_a_late_camera_is_shifted_to_the_common_time():
    found = synchronise(capture_of([30, 30, 30]), SyncConfig(offset_s=("1=0.05",)))
    assert found.frame_count == 25
    assert found.views[0].source_frames([0, 24]) == [5, 29]
    assert found.views[1].source_frames([0, 24]) == [0, 24]
    assert found.time_s(0) == pytest.approx(0.05)
    assert found.missed_by(3) == []


def test_unequal_counts_need_a_rule():
    with pytest.raises(InputError, match=r"0: 30, 1: 29\).*--sync.by time"):
        synchronise(capture_of([30, 29]), SyncConfig())


@pytest.mark.parametrize(
    ("entry", "message"), [("1", "NAME=SECONDS"), ("9=0.1", "no camera 9"), ("1=900", "share no time")]
)
def test_offsets_that_cannot_be(entry, message):
    with pytest.raises(InputError, match=message):
        synchronise(capture_of([30, 30]), SyncConfig(offset_s=(entry,)))


def test_time_stamps_beside_real_videos(tmp_path):
    """View 1 misses its frame 4: the file has one frame fewer and its time stamps tell which."""
    folder = write_ball_recording(tmp_path / "ball", frames=8, views=2)
    short = write_ball_recording(tmp_path / "short", frames=7, views=2)
    for kind in ("videos_undist", "simpleclick_undist"):
        (short / kind / "1.mp4").replace(folder / kind / "1.mp4")
    (folder / "timestamps").mkdir()
    times = np.arange(8) / 25
    np.savetxt(folder / "timestamps" / "0.csv", times)
    np.save(folder / "timestamps" / "1.npy", np.delete(times, 4))
    found = open_capture(folder, SyncConfig(by="time"))
    assert found.frame_count == 8
    assert found.views[1].source_frames(range(8)) == [0, 1, 2, 3, -1, 4, 5, 6]
    assert found.missed_by(4) == ["1"]
    np.savetxt(folder / "timestamps" / "0.csv", times[:-1])
    with pytest.raises(InputError, match="0.csv: holds 7 times, and the view has 8 frames"):
        open_capture(folder, SyncConfig(by="time"))


def test_videos_own_time_stamps_serve_without_files(tmp_path):
    folder = write_ball_recording(tmp_path / "ball", frames=6, views=2)
    found = open_capture(folder, SyncConfig(by="time"))
    assert found.views[1].source_frames(range(6)) == [0, 1, 2, 3, 4, 5]


def test_turning_the_world_keeps_every_picture(tmp_path):
    capture = capture_of([5, 5])
    point = np.array([[40.0, 50.0, 30.0]])
    turns: list[tuple[Axis, list[float]]] = [("y", [40, -30, 50]), ("-z", [40, -50, -30]), ("x", [-30, 50, 40])]
    for up, seen in turns:
        turned = capture.turned(up)
        for before, after in zip(capture.views, turned.views, strict=True):
            assert np.allclose(after.camera.project(np.array([seen], dtype=float)), before.camera.project(point))


def test_some_views_only():
    capture = capture_of([5, 5, 5])
    assert [view.name for view in capture.with_views(["2", "0"]).views] == ["0", "2"]
    with pytest.raises(InputError, match="no camera 7; it has 0, 1, 2|no camera 7"):
        capture.with_views(["0", "7"])
    with pytest.raises(InputError, match="at least two"):
        replace(capture).with_views(["0"])
