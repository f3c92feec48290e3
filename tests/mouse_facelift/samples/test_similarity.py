"""One scale, one zoom, and centres that never mix across a cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.capture import Capture, View
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.normalise import normalise_view, normalised_camera
from mouse_facelift.samples.similarity import Similarity, find_similarity
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.survey import FrameSurvey, _survey_frame, places_from_table, table_from_surveys
from mouse_facelift.samples.units import FrameSelection, plan_units


def recording(cameras, frames: int = 12) -> Capture:
    views = tuple(View(c.name, c, Path(f"{c.name}.mp4")) for c in cameras)
    return Capture("a", Path("/nowhere/a"), "mammal", views, frames, 100.0)


def survey(cameras, ball, frame: int) -> FrameSurvey:
    centre = np.array([50.0 + frame, 60.0, 20.0])
    return _survey_frame(frame, [BoxedMask.of(ball(c, centre, 18.0)) for c in cameras], cameras, CentreConfig())


def decide(capture, units, surveys, zoom, config) -> tuple[Similarity, list[tuple[int, np.ndarray]]]:
    """The similarity, and (frame, smoothed centre) of all frames that have one."""
    kept: list[np.ndarray] = []
    places = [places_from_table(table_from_surveys(found)) for found in surveys]
    similarity = find_similarity([capture], units, iter(places), zoom, "auto", config, kept.extend)
    found = [pair for unit, own in zip(units, kept, strict=True) for pair in zip(unit.frames, own, strict=True)]
    return similarity, [(frame, centre) for frame, centre in found if np.isfinite(centre).all()]


def test_fit_clips_nothing_and_wastes_nothing(ring, ball, distortion):
    cameras = ring(4, distortion=distortion)
    capture = recording(cameras)
    units, _ = plan_units([capture], FrameSelection(), SplitConfig(0), 5)
    surveys = [[survey(cameras, ball, f) for f in unit.frames] for unit in units]
    found, centres = decide(capture, units, surveys, "fit", CentreConfig(smoothing_s=0))
    margins = []
    for frame, centre in centres:
        for camera in cameras:
            target = normalised_camera(camera, centre, found.scale, 128, found.zoom)
            mask = ball(camera, np.array([50.0 + frame, 60.0, 20.0]), 18.0)
            view = normalise_view(np.zeros((*mask.shape, 3), np.uint8), mask, camera, target)
            rows, columns = np.nonzero(view.image[..., 3] > 127)
            margins.append(min(rows.min(), columns.min(), 127 - rows.max(), 127 - columns.max()))
    assert 1 <= min(margins) <= 4


def test_scale_puts_the_mean_camera_at_facelifts_distance(ring, ball):
    cameras = ring(4)
    capture = recording(cameras)
    units, _ = plan_units([capture], FrameSelection(), SplitConfig(0), 5)
    surveys = [[survey(cameras, ball, f) for f in unit.frames] for unit in units]
    found, centres = decide(capture, units, surveys, 1.0, CentreConfig())
    distances = [
        np.linalg.norm(normalised_camera(c, centre, found.scale, 64, 1.0).centre)
        for _, centre in centres
        for c in cameras
    ]
    assert np.isclose(np.mean(distances), 2.7) and np.std(distances) > 0


def test_smoothing_stops_at_cuts_but_not_at_units(ring):
    capture = recording(ring(3))
    units, _ = plan_units([capture], FrameSelection(cuts=(6,)), SplitConfig(0), 2)
    places = {f: np.array([float(f), 0, 0]) if f < 6 else np.array([500.0 + f, 0, 0]) for f in range(12)}
    surveys = [[FrameSurvey(f, centre=places[f]) for f in unit.frames] for unit in units]
    centres = {f: c[0] for f, c in decide(capture, units, surveys, 1.0, CentreConfig(smoothing_s=0.01))[1]}
    assert centres[5] < 6 < 500 < centres[6]
    assert centres[3] == pytest.approx(3, abs=0.05)


def test_nothing_usable_is_an_error_with_the_reason(ring):
    capture = recording(ring(3))
    units, _ = plan_units([capture], FrameSelection(), SplitConfig(0), 20)
    surveys = [[FrameSurvey(f, error="no animal in the mask of view 2") for f in unit.frames] for unit in units]
    with pytest.raises(InputError, match="no animal in the mask of view 2"):
        decide(capture, units, surveys, 1.0, CentreConfig())


def test_a_jump_nobody_told_of_is_reported_with_its_frame(ring):
    capture = recording(ring(3), frames=40)
    places = {f: np.array([f * 0.5 + (80.0 if f >= 25 else 0.0), 0, 0]) for f in range(40)}
    for cuts, expected in (((), {"a": [25]}), ((25,), {})):
        units, _ = plan_units([capture], FrameSelection(cuts=cuts), SplitConfig(0), 7)
        surveys = [[FrameSurvey(f, centre=places[f]) for f in unit.frames] for unit in units]
        found, _ = decide(capture, units, surveys, 1.0, CentreConfig())
        assert {name: [frame for frame, _ in jumps] for name, jumps in found.jumps.items()} == expected
