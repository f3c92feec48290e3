"""A sound recording passes; a moved camera, a sunken world, a tilted one and empty masks are found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.capture.capture import Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.evaluation.capture_health import HealthConfig, capture_checks, rig_health
from mouse_facelift.evaluation.frame_look import FrameLook, look_at_frames
from mouse_facelift.samples.cleaning import CleaningConfig
from tests.worlds import ball_centre, write_ball_recording

CONFIG = HealthConfig(image_size=96)
FRAMES = [0, 6, 12, 18]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return open_capture(write_ball_recording(tmp_path_factory.mktemp("captures") / "ball", 20, 5, (6,)))


def look(capture: Capture, frames: list[int] = FRAMES) -> list[FrameLook]:
    return list(look_at_frames(capture, frames, {}, MaskConfig(), CleaningConfig(), CONFIG.image_size, "auto"))


def statuses(capture: Capture, looks: list[FrameLook]) -> dict[str, str]:
    return {check.question: check.status for check in capture_checks(capture, looks, CONFIG)}


def changed(capture: Capture, number: int, **change: object) -> Capture:
    views = list(capture.views)
    views[number] = replace(views[number], camera=replace(views[number].camera, **change))
    return replace(capture, views=tuple(views))


def test_a_sound_recording_is_measured(capture):
    looks = look(capture, [0, 12, 18])
    rig = rig_health([view.camera for view in capture.views], looks)
    assert rig is not None
    truth = np.median([ball_centre(f) for f in (0, 12, 18)], axis=0)
    assert np.abs(rig.centre - truth).max() < 3
    assert rig.misses_mm.max() < 1 and rig.hull_iou.min() > 0.95
    # A ball of 18 mm about z = 20 mm.
    assert rig.floor_mm == pytest.approx(2, abs=4) and rig.reach_mm == pytest.approx(18, abs=3)
    assert rig.azimuth_gaps.sum() == pytest.approx(360) and np.allclose(rig.azimuth_gaps, 72, atol=6)
    assert np.allclose(rig.baselines, rig.baselines.T, equal_nan=True)
    found = statuses(capture, looks)
    assert set(found.values()) == {"ok"} and len(found) == 11


def test_a_moved_camera_is_named(capture):
    camera = capture.views[3].camera
    K = camera.K.copy()
    K[0, 2] += 25
    wrong = changed(capture, 3, K=K)
    checks = {check.question: check for check in capture_checks(wrong, look(wrong, [0, 12]), CONFIG)}
    rays = checks["mask centroids' rays meet"]
    assert rays.status == "look" and "view 3)" in rays.finding
    assert checks["silhouettes agree on one animal"].status == "look"


def test_a_world_with_another_floor_or_another_up_is_found(capture):
    def moved(turn: np.ndarray, shift: np.ndarray) -> Capture:
        views = [
            replace(v, camera=replace(v.camera, R=v.camera.R @ turn.T, t=v.camera.t - v.camera.R @ turn.T @ shift))
            for v in capture.views
        ]
        return replace(capture, views=tuple(views))

    sunken = moved(np.eye(3), np.array([0, 0, -60.0]))
    assert [q for q, s in statuses(sunken, look(sunken, [0])).items() if s != "ok"] == ["the floor is at z = 0"]
    lying = moved(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.zeros(3))
    assert statuses(lying, look(lying, [0]))["z is up"] == "look"


def test_frames_without_the_animal_are_counted(capture):
    looks = look(capture)
    assert [found.error is not None for found in looks] == [False, True, False, False]
    check = next(c for c in capture_checks(capture, looks, CONFIG) if c.question == "every view sees the animal")
    assert (
        check.status == "look" and check.finding == "3 of 4 sampled frames; no animal in the mask of view 0, 1, 2, 3, 4"
    )


def test_without_a_usable_frame_nothing_is_said_of_the_rig(capture):
    looks = look(capture, [6])
    assert rig_health([view.camera for view in capture.views], looks) is None
    assert list(statuses(capture, looks)) == [
        "frames are in step",
        "calibration fits the videos' size",
        "every view sees the animal",
    ]


def test_a_hazy_view_is_named_on_a_recording(shared_data):
    # View 5 of this recording was rendered through more haze than the others.
    hazy = open_capture(shared_data / "capture_a")
    frames = list(range(7, 160, 16))
    looks = list(look_at_frames(hazy, frames, {}, MaskConfig(), CleaningConfig(), HealthConfig().image_size, "auto"))
    check = next(c for c in capture_checks(hazy, looks, CONFIG) if c.question == "views look alike")
    assert (check.finding, check.status) == ("hazy: view 5", "look")


def test_views_on_one_side_are_found(capture):
    azimuth_order = np.argsort([np.arctan2(*(v.camera.centre - ball_centre(0))[[1, 0]]) for v in capture.views])
    side = replace(capture, views=tuple(capture.views[i] for i in azimuth_order[:3]))
    assert statuses(side, look(side, [0]))["views stand all around"] == "look"


def test_a_calibration_of_another_size_or_in_metres_is_found(capture):
    twice = changed(capture, 2, K=np.diag([2.0, 2, 1]) @ capture.views[2].camera.K)
    checks = {check.question: check for check in capture_checks(twice, look(twice, [0]), CONFIG)}
    size = checks["calibration fits the videos' size"]
    assert size.status == "look" and "(view 2); suspect: view 2" in size.finding
    views = [replace(v, camera=replace(v.camera, t=v.camera.t / 1000)) for v in capture.views]
    metres = replace(capture, views=tuple(views))
    assert [q for q, s in statuses(metres, look(metres, [0])).items() if s != "ok"] == ["lengths are in millimetres"]
