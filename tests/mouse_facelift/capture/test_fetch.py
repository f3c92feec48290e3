"""A recording in an object store is copied whole, once, and again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.fetch import CACHE_VARIABLE, local_recording
from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store
from tests.worlds import write_ball_recording


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_stays_where_it_is(tmp_path, cache):
    assert local_recording(tmp_path) == tmp_path
    assert not cache.exists()


def test_a_remote_recording_is_the_local_one(tmp_path, cache, s3_server):
    folder = write_ball_recording(tmp_path / "ball", frames=4, views=3)
    store = Store.at(f"s3://lab/fetch/ball{s3_server}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        store.write(str(path.relative_to(folder)), path.read_bytes())
    here, there = open_capture(folder), open_capture(store.uri)
    assert (there.name, there.frame_count) == ("ball", 4)
    assert there.path.is_relative_to(cache)
    for one, other in zip(here.views, there.views, strict=True):
        assert one.video.read_bytes() == other.video.read_bytes()
        assert one.camera.K.tolist() == other.camera.K.tolist()

    copies = {path: path.stat().st_ctime_ns for path in there.path.rglob("*") if path.is_file()}
    assert len(copies) == len(files)
    # The same size at another time; object stores give times in whole seconds.
    changed = there.path / "new_cam.pkl"
    store.write("new_cam.pkl", bytes(changed.stat().st_size))
    os.utime(changed, (0, 0))
    (there.path / "videos_undist" / "1.mp4").unlink()
    assert local_recording(store.uri) == there.path
    assert changed.read_bytes() == bytes(len(changed.read_bytes()))
    fetched = {path for path in copies if path.stat().st_ctime_ns != copies[path]}
    assert fetched == {changed, there.path / "videos_undist" / "1.mp4"}


def test_an_empty_place_is_one_clear_line(cache, s3_server):
    with pytest.raises(InputError, match="s3://lab/nothing: holds no files"):
        open_capture(f"s3://lab/nothing{s3_server}")
