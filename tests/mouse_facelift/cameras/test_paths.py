from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.cameras.facelift import write_facelift
from mouse_facelift.cameras.paths import Keyframes, Orbit, read_keyframes
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError


def test_one_turn_of_an_orbit_is_the_turntable() -> None:
    ours = Orbit(elevation_degrees=20.0).cameras(7, 64, 64)
    for a, b in zip(ours, turntable(7, 64, elevation_degrees=20.0), strict=True):
        assert np.abs(a.w2c - b.w2c).max() < 1e-12 and np.array_equal(a.K, b.K)


def test_an_orbit_looks_at_its_centre_from_its_radius_and_rises() -> None:
    centre = np.array([50.0, -3.0, 12.0])
    orbit = Orbit(turns=-0.5, start_degrees=0.0, elevation_degrees=0.0, end_elevation_degrees=60.0, radius=200.0)
    cameras = orbit.cameras(6, 80, 60, centre)
    away = np.array([camera.centre - centre for camera in cameras])
    assert np.linalg.norm(away, axis=1) == pytest.approx(np.full(6, 200.0))
    assert np.degrees(np.arctan2(away[:, 1], away[:, 0])) == pytest.approx([0, -30, -60, -90, -120, -150])
    assert np.degrees(np.arcsin(away[:, 2] / 200)) == pytest.approx([0, 10, 20, 30, 40, 50])
    assert all(np.abs(camera.project(centre) - [40, 30]).max() < 1e-9 for camera in cameras)
    still = Orbit(turns=0.0).cameras(3, 64, 64)
    assert np.array_equal(still[0].w2c, still[2].w2c)


def test_keyframes_are_met_and_gone_between_evenly() -> None:
    a, b = turntable(4, 64)[:2]
    b = replace(b, K=b.K * [[2, 1, 1], [1, 2, 1], [1, 1, 1]])
    path = Keyframes([a, b], np.array([1.0, 3.0]))
    assert np.abs(path.at(1.0).w2c - a.w2c).max() < 1e-12
    for outside, key in ((-5.0, a), (3.0, b), (9.0, b)):
        assert path.at(outside) is key
    middle = path.at(2.0)
    assert np.abs(middle.centre - (a.centre + b.centre) / 2).max() < 1e-12
    # A quarter turn about z: halfway the camera looks 45 degrees from either.
    assert middle.R[2] @ a.R[2] == pytest.approx(np.cos(np.pi / 4)) == middle.R[2] @ b.R[2]
    assert middle.R[1] == pytest.approx([0, 0, -1]) and middle.K[0, 0] == pytest.approx(1.5 * a.K[0, 0])
    cameras = path.cameras(5, 128, 128)
    assert [c.name for c in cameras][:2] == ["path_00000", "path_00001"] and cameras[0].width == 128
    assert cameras[0].K[0, 0] == pytest.approx(2 * a.K[0, 0]) and np.abs(cameras[4].w2c - b.w2c).max() < 1e-12


def test_a_file_with_one_camera_stands_still(tmp_path: Path) -> None:
    (camera,) = turntable(1, 64)
    write_facelift(tmp_path / "camera.json", "still", [camera], [""])
    cameras = read_keyframes(tmp_path / "camera.json").cameras(3, 64, 64)
    assert all(np.abs(c.w2c - camera.w2c).max() < 1e-12 for c in cameras)


def test_times_of_a_file_count(tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    write_facelift(file, "path", turntable(3, 64), ["", "", ""])
    assert read_keyframes(file).times.tolist() == [0, 1, 2]
    content = json.loads(file.read_text())
    for frame, time in zip(content["frames"], (0.5, 0.75, 4), strict=True):
        frame["time"] = time
    file.write_text(json.dumps(content))
    assert read_keyframes(file).times.tolist() == [0.5, 0.75, 4]
    content["frames"][2]["time"] = 0.1
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="path.json: keyframes: times must increase"):
        read_keyframes(file)
    content["frames"][2]["time"] = "late"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="path.json: a frame's time is no number"):
        read_keyframes(file)


def test_an_orbit_is_as_wide_as_the_views_unless_it_says_how_wide() -> None:
    def focal(orbit: Orbit) -> float:
        return orbit.cameras(1, 64, 64, views_degrees=30.0)[0].fxfycxcy[0]

    assert focal(Orbit()) == pytest.approx(32 / np.tan(np.radians(15)))
    assert focal(Orbit(hfov_degrees=60.0)) == pytest.approx(32 / np.tan(np.radians(30)))


def test_what_places_no_camera_is_refused() -> None:
    for bad in ({"radius": 0.0}, {"hfov_degrees": 180.0}, {"elevation_degrees": 91.0}, {"turns": float("nan")}):
        with pytest.raises(InputError, match="orbit: "):
            Orbit(**bad)
    with pytest.raises(InputError, match="give one each"):
        Keyframes([], np.zeros(0))
