"""The survey finds the ball and says which frames cannot be used."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.similarity import find_similarity
from mouse_facelift.samples.survey import (
    pack_mask,
    places_from_table,
    survey_frames,
    surveys_from_table,
    table_from_surveys,
    unpack_mask,
)
from mouse_facelift.samples.units import Unit
from tests.worlds import ball_centre, ball_mask, make_ring, write_ball_recording


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 40)])
def test_packed_masks_come_back(shape):
    rng = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.5, 1.0):
        mask = rng.random(shape) < density
        assert np.array_equal(unpack_mask(pack_mask(mask), *shape), mask)


def test_survey_of_a_recording(tmp_path):
    capture = open_capture(write_ball_recording(tmp_path / "ball", frames=6, empty=(2,)))
    found = survey_frames(capture, range(6), {}, MaskConfig(), CentreConfig(), "auto")
    assert [s.error is None for s in found] == [True, True, False, True, True, True]
    assert "view 0" in str(found[2].error) and not found[2].unreadable
    for frame in (0, 1, 3, 4, 5):
        centre = found[frame].centre
        assert centre is not None and np.linalg.norm(centre - ball_centre(frame)) < 1.5
    assert found[2].centre is None and found[2].masks == ()
    back = surveys_from_table(table_from_surveys(found))
    assert [s.masks for s in back] == [s.masks for s in found]
    assert back[2].error == found[2].error and back[2].centre is None
    assert str(back[0].centre) == str(found[0].centre)


def _recording(tmp_path, views=5, frames=5):
    return write_ball_recording(tmp_path / "ball", frames=frames, views=views)


def _as_images(folder, views, frames, missing=()):
    """The recording's masks as images instead; ``missing`` are (view, frame) without one, or with an empty one."""
    cameras = make_ring(views, size=(160, 128))
    shutil.rmtree(folder / "simpleclick_undist")
    for camera in cameras:
        (folder / "masks" / camera.name).mkdir(parents=True)
        for frame in range(frames):
            mask = ball_mask(camera, ball_centre(frame), 18.0) * np.uint8(255)
            kind = dict(missing).get((camera.name, frame))
            if kind != "absent":
                path = folder / "masks" / camera.name / f"{frame:06d}.png"
                cv2.imwrite(str(path), 0 * mask if kind == "empty" else mask)
    return open_capture(folder)


def test_one_empty_view_leaves_a_centre_and_one_missing_image_costs_one_frame(tmp_path):
    missing = {("1", 2): "empty", ("3", 4): "absent"}
    capture = _as_images(_recording(tmp_path), 5, 5, missing)
    assert capture.mask_source == "images"
    found = survey_frames(capture, range(5), {}, MaskConfig(), CentreConfig(), "auto")
    assert [s.error is None for s in found] == [True, True, False, True, False]
    assert "no animal in the mask of view 1" in str(found[2].error) and not found[2].unreadable
    assert "masks/3/000004.png" in str(found[4].error) and found[4].unreadable and found[4].centre is None
    for frame in range(4):
        centre = found[frame].centre
        assert centre is not None and np.linalg.norm(centre - ball_centre(frame)) < 1.5
    # The frame that will be refused still steadies its neighbours, and "fit" does not read its outlines.
    units = [Unit(0, 0, "train", tuple(range(5)), "u")]
    kept: list[np.ndarray] = []
    places = places_from_table(table_from_surveys(found))
    find_similarity([capture], units, [places], "fit", "auto", CentreConfig(smoothing_s=0.04), kept.extend)
    assert np.isfinite(kept[0]).all(axis=1).tolist() == [True, True, True, True, False]


def test_given_centres_are_taken_as_they_are(tmp_path):
    folder = _recording(tmp_path)
    track = np.stack([ball_centre(f) for f in range(5)]) + [0, 0, 3.0]
    np.save(folder / "com.npy", track)
    capture = open_capture(folder)
    found = survey_frames(capture, [1, 3], {}, MaskConfig(), CentreConfig(source="com.npy"), "auto")
    for survey in found:
        assert survey.error is None and survey.centre is not None and np.array_equal(survey.centre, track[survey.frame])
        assert 0.05 < survey.disagreement < 0.4
    with pytest.raises(InputError, match="no such file of centres"):
        survey_frames(capture, [1], {}, MaskConfig(), CentreConfig(source="absent.npy"), "auto")
