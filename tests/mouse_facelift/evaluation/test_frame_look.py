"""Frames are seen as the pipeline would see them, with and without masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.capture.capture import Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.evaluation.frame_look import estimate_backgrounds, look_at_frames
from mouse_facelift.samples.cleaning import CleaningConfig
from tests.worlds import ball_centre, write_ball_recording


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return open_capture(write_ball_recording(tmp_path_factory.mktemp("captures") / "ball", 20, 5, (6,)))


def test_every_frame_carries_what_the_audit_needs(capture):
    (found,) = look_at_frames(capture, [12], {}, MaskConfig(), CleaningConfig(), 96, "auto")
    assert found.audit is not None and found.sample is not None
    assert len(found.audit.silhouettes) == 5
    distance = np.linalg.norm(found.audit.points - ball_centre(12), axis=-1)
    assert distance.max() < 26 and distance[1:].min() > 12
    assert found.sample.images.shape == (5, 96, 96, 4)


def test_masks_are_estimated_where_there_are_none(capture):
    bare = replace(capture, views=tuple(replace(view, mask_video=None) for view in capture.views))
    backgrounds = estimate_backgrounds(bare, MaskConfig(background_frames=3), "auto")
    assert {name: image.shape for name, image in backgrounds.items()} == dict.fromkeys("01234", (128, 160, 3))
    # The ball hardly moves in so short a recording; the arena behind it is known to be plain.
    plain = {name: np.full_like(image, 210) for name, image in backgrounds.items()}
    (found,) = look_at_frames(bare, [10], plain, MaskConfig(), CleaningConfig(), 96, "auto")
    assert found.sample is not None and found.sample.mask_source == "estimated"
    assert np.linalg.norm(found.sample.centre_mm - ball_centre(10)) < 4
