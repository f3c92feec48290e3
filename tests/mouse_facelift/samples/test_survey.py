"""The survey finds the ball and says which frames cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.survey import (
    pack_mask,
    survey_frames,
    surveys_from_table,
    table_from_surveys,
    unpack_mask,
)
from tests.worlds import ball_centre, write_ball_recording


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
    back = surveys_from_table(table_from_surveys(found))
    assert [s.masks for s in back] == [s.masks for s in found]
    assert back[2].error == found[2].error and back[2].centre is None
    assert str(back[0].centre) == str(found[0].centre)
