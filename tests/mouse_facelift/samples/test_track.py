"""Tracks of centres: every form gives the same numbers, and what does not fit is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mouse_facelift.errors import InputError
from mouse_facelift.samples.track import find_track, read_track

TRACK = np.random.default_rng(0).normal(50, 20, (12, 3))


def test_every_form_gives_the_same_numbers(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(1).permutation(12)
    np.save(tmp_path / "a.npy", TRACK)
    scipy.io.savemat(tmp_path / "b.mat", {"com": TRACK})
    scipy.io.savemat(tmp_path / "c.mat", {"com3d": TRACK.T})
    scipy.io.savemat(tmp_path / "d.mat", {"com": TRACK[shuffled], "sampleID": 10.0 * shuffled})
    scipy.io.savemat(tmp_path / "e.mat", {"com": {"com3d": TRACK, "sampleID": np.arange(12)[None]}})
    for name in ("a.npy", "b.mat", "c.mat", "d.mat", "e.mat"):
        np.testing.assert_array_equal(read_track(tmp_path / name, 12), TRACK)


def test_a_relative_path_is_the_recordings_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "walk").mkdir()
    np.save(tmp_path / "walk" / "com.npy", TRACK)
    np.save(tmp_path / "com.npy", TRACK + 1)
    np.save(tmp_path / "other.npy", TRACK + 2)
    monkeypatch.chdir(tmp_path)
    assert find_track("hull", tmp_path / "walk", 12) is None
    for source, offset in (("com.npy", 0), ("other.npy", 2), (str(tmp_path / "com.npy"), 1)):
        np.testing.assert_array_equal(find_track(source, tmp_path / "walk", 12), TRACK + offset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"com": TRACK[:7]}, r"shape \(7, 3\), but the recording has 12 frames"),
        ({"com": np.where(np.arange(12)[:, None] == 4, np.nan, TRACK)}, r"1 rows are not finite \(first: row 4\)"),
        ({"com": TRACK, "sampleID": np.arange(11)}, "sampleID has 11 entries for 12 frames"),
        ({"com": TRACK, "sampleID": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13]}, "leaves out samples"),
        ({"com": TRACK, "sampleID": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]}, "repeats"),
        ({"com": np.array(["x"] * 12)}, "not numbers"),
        ({"positions": TRACK}, "no variable com3d or com"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "com3d.mat"
    scipy.io.savemat(path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_track(path, 12)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["com.npy", "com.mat"])
def test_files_that_are_not_tracks(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_track(tmp_path / name, 12)
    (tmp_path / name).write_bytes(b"not an array" * 20)
    with pytest.raises(InputError, match="is not a .npy array of plain numbers|not a readable"):
        read_track(tmp_path / name, 12)
    with pytest.raises(InputError, match="neither"):
        read_track(tmp_path / "com.csv", 12)
