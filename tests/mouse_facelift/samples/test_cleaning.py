"""Cleaning takes away what the other views and the floor rule out, and never what is right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig, estimate_background, mask_from_background
from mouse_facelift.capture.video import read_frames
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.cleaning import CleaningConfig, clean_masks
from mouse_facelift.samples.survey import _survey_frame, unpack_mask

RADIUS = 18.0
# The ball lies on the floor.
POINT = np.array([47.0, 61.0, RADIUS])


def _iou(a, b):
    return (a & b).sum() / (a | b).sum()


def _clean(masks, cameras, **config):
    return clean_masks(masks, cameras, POINT, 3 * RADIUS, CleaningConfig(**config))


@pytest.mark.parametrize("views", [3, 4, 6])
def test_what_is_right_stays_to_the_last_pixel(ring, ball, distortion, views):
    cameras = ring(views, distortion=distortion)
    masks = [ball(c, POINT, RADIUS) for c in cameras]
    for mask, cleaned in zip(masks, _clean(masks, cameras), strict=True):
        assert np.array_equal(mask, cleaned)


@pytest.mark.parametrize("views", [4, 6])
def test_reflections_in_the_floor_go(ring, ball, distortion, views):
    cameras = ring(views, distortion=distortion)
    bodies = [ball(c, POINT, RADIUS) for c in cameras]
    mirrored = [m | ball(c, POINT * [1, 1, -1], RADIUS) for c, m in zip(cameras, bodies, strict=True)]
    cleaned = _clean(mirrored, cameras)
    for body, before, after in zip(bodies, mirrored, cleaned, strict=True):
        assert not (after & ~before).any() and (after & body).sum() > 0.98 * body.sum()
        assert _iou(body, before) < 0.65 and _iou(body, after) > 0.88
    for before, after in zip(mirrored, _clean(mirrored, cameras, floor_z=None), strict=True):
        assert _iou(before, after) > 0.97


def test_the_floor_is_where_the_setting_says(ring, ball):
    cameras = ring(6)
    lifted = [ball(c, POINT, RADIUS) for c in cameras]
    halves = _clean(lifted, cameras, floor_z=RADIUS)
    assert all(0.5 < after.sum() / before.sum() < 0.95 for before, after in zip(lifted, halves, strict=True))


def test_what_only_one_view_shows_goes(ring, ball, distortion):
    cameras = ring(4, distortion=distortion)
    bodies = [ball(c, POINT, RADIUS) for c in cameras]
    masks = [*bodies]
    column, row = cameras[1].project(POINT + [0, 0, RADIUS]).astype(int)
    masks[1] = bodies[1].copy()
    masks[1][row - 16 : row, column - 8 : column + 8] = True
    cleaned = _clean(masks, cameras)
    assert _iou(masks[1], bodies[1]) < 0.93 < 0.98 < _iou(cleaned[1], bodies[1])
    assert all(np.array_equal(cleaned[i], bodies[i]) for i in (0, 2, 3))


@pytest.mark.parametrize(("views", "kept"), [(4, False), (6, True)])
def test_a_part_that_one_view_misses_stays_where_many_see_it(ring, ball, views, kept):
    cameras = ring(views)
    high = POINT + [0, 0, 22.0]
    whole = [ball(c, POINT, RADIUS) | ball(c, high, 8.0) for c in cameras]
    masks = [ball(cameras[0], POINT, RADIUS), *whole[1:]]
    cleaned = _clean(masks, cameras)
    lost = max(1 - after.sum() / before.sum() for before, after in zip(whole[1:], cleaned[1:], strict=True))
    assert (lost < 0.01) == kept


def test_views_that_contradict_each_other_are_left_for_the_gate(ring, ball):
    cameras = ring(6)
    masks = [ball(c, POINT, RADIUS) for c in cameras]
    masks[2] = ball(cameras[2], POINT + [0, 0, 70.0], RADIUS)
    cleaned = _clean(masks, cameras)
    assert all(np.array_equal(a, b) for a, b in zip(cleaned, masks, strict=True))


def test_empty_views_and_pairs_prove_nothing(ring, ball):
    cameras = ring(4)
    masks = [ball(c, POINT, RADIUS) for c in cameras]
    masks[3] = np.zeros_like(masks[3])
    cleaned = _clean(masks, cameras)
    assert not cleaned[3].any() and all(np.array_equal(a, b) for a, b in zip(cleaned, masks, strict=True))
    masks[2] = masks[3]
    masks[0] = masks[0] | np.roll(masks[0], 30, axis=0)
    assert np.array_equal(_clean(masks, cameras)[0], masks[0])


def test_an_animal_at_the_edge_of_a_frame_keeps_its_part(ring, ball):
    cameras = ring(6)
    K = cameras[0].K.copy()
    K[0, 2] = -4.0
    cameras[0] = type(cameras[0])("0", 320, 256, K, cameras[0].R, cameras[0].t)
    masks = [ball(c, POINT, RADIUS) for c in cameras]
    assert masks[0][:, 0].any()
    assert all(np.array_equal(a, b) for a, b in zip(_clean(masks, cameras), masks, strict=True))


def test_the_survey_keeps_cleaned_masks(ring, ball):
    cameras = ring(5)
    body = [ball(c, POINT, RADIUS) for c in cameras]
    mirrored = [m | ball(c, POINT * [1, 1, -1], RADIUS) for c, m in zip(cameras, body, strict=True)]
    boxed = [BoxedMask.of(mask) for mask in mirrored]
    plain = _survey_frame(0, boxed, cameras, CentreConfig())
    tidy = _survey_frame(0, boxed, cameras, CentreConfig(), cleaning=CleaningConfig())
    assert plain.centre is not None and tidy.centre is not None
    assert abs(plain.centre[2]) < 2 and abs(tidy.centre[2] - RADIUS) < 2
    for packed, mask in zip(tidy.masks, body, strict=True):
        assert _iou(unpack_mask(packed, *mask.shape), mask) > 0.88


@pytest.mark.parametrize(
    ("when", "expected"), [("auto", (True, False, False)), ("always", (True,) * 3), ("never", (False,) * 3)]
)
def test_which_masks_are_cleaned(when, expected):
    config = CleaningConfig(when=when)
    assert tuple(map(config.applies_to, ("estimated", "video", "images"))) == expected


@pytest.mark.parametrize("wrong", [{"tolerance": 1.0}, {"max_loss": 2.0}, {"cells": 1}, {"dissent_views": 2}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(InputError, match="cleaning"):
        CleaningConfig(**wrong)


@pytest.mark.slow
def test_reflections_under_a_real_mouse_go(shared_data: Path) -> None:
    """Nothing of the cleaned silhouettes lies lower in the picture than the floor under the animal."""
    views = open_capture(shared_data / "mouse5").views
    cameras = [view.camera for view in views]
    masks, config = [], MaskConfig(background_frames=31)
    for view in views:
        background = estimate_background(view.video, config)
        _, image = next(read_frames(view.video, [600]))
        masks.append(mask_from_background(image, background, config))
    boxed = [BoxedMask.of(mask) for mask in masks]
    before = _survey_frame(600, boxed, cameras, CentreConfig())
    after = _survey_frame(600, boxed, cameras, CentreConfig(), cleaning=CleaningConfig())
    assert before.centre is not None and after.centre is not None
    # View U looks down on a mirror image as large as a quarter of the animal.
    lost = [1 - np.count_nonzero(unpack_mask(p, *m.shape)) / m.sum() for p, m in zip(after.masks, masks, strict=True)]
    assert 0.1 < lost[4] < 0.45 and max(lost[:4]) < 0.1
    kept = unpack_mask(after.masks[4], *masks[4].shape)
    feet = cameras[4].project(after.centre * [1, 1, 0])
    assert cv2.boundingRect(kept.astype(np.uint8))[1:4:2] and np.flatnonzero(kept.any(axis=1))[-1] < feet[1] + 25
