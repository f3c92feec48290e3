"""The gate passes what agrees and says why it refuses the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.samples.gate import GateConfig, measure, reasons

CENTRE, RADIUS = np.array([0.08, -0.05, 0.04]), 0.45


@pytest.fixture
def good(ball):
    cameras = turntable(6, 128, elevation_degrees=12)
    images = np.zeros((6, 128, 128, 4), np.uint8)
    for image, camera in zip(images, cameras, strict=True):
        image[ball(camera, CENTRE, RADIUS)] = 255
    return images, np.ones((6, 128, 128), bool), cameras


def test_agreeing_views_pass(good):
    agreement = measure(*good)
    assert agreement.hull_iou > 0.97
    assert agreement.epipolar_px < 0.5
    assert agreement.truncation.max() == 0
    truth = np.pi * (RADIUS / 2.7 * good[2][0].K[0, 0]) ** 2 / 128**2
    assert np.allclose(agreement.mask_fraction, truth, rtol=0.15)
    assert reasons(agreement, good[0], good[2], GateConfig()) == []


def test_swapped_cameras_are_refused(good):
    images, known, cameras = good
    scrambled = [cameras[i] for i in (2, 4, 0, 5, 1, 3)]
    moved = [replace(c, t=c.t + [0.35 * (-1) ** i, 0, 0]) for i, c in enumerate(scrambled)]
    agreement = measure(images, known, moved)
    assert any("disagree" in reason for reason in reasons(agreement, images, moved, GateConfig()))


def test_an_empty_view_is_named(good):
    images, known, cameras = good
    images[4] = 0
    found = reasons(measure(images, known, cameras), images, cameras, GateConfig())
    assert any("turntable_004" in reason and "no animal" in reason for reason in found)


def test_truncation_counts_the_cut_outline(good):
    images, known, cameras = good
    known[1, :, :64] = False
    images[1, :, :64] = 0
    truncation = measure(images, known, cameras).truncation
    assert truncation[1] > 0.5 and truncation[[0, 2, 3, 4, 5]].max() == 0
    strict = GateConfig(max_truncation=0.2)
    assert any("cut by the frame" in r for r in reasons(measure(images, known, cameras), images, cameras, strict))


def test_views_that_look_unlike_the_others_are_refused_only_when_thresholds_say_so(good):
    images, known, cameras = good
    rng = np.random.default_rng(0)
    for view, image in enumerate(images):
        grey = rng.integers(30, 90, (128, 128, 1)) * (0.5 if view == 2 else 1) + (60 if view == 2 else 0)
        image[..., :3] = np.where(image[..., 3:] > 0, grey, 0)
    agreement = measure(images, known, cameras)
    assert agreement.gain[2] == pytest.approx(0.5, abs=0.05) and agreement.bias[2] == pytest.approx(60 / 255, abs=0.03)
    assert reasons(agreement, images, cameras, GateConfig()) == []
    for config, words in (
        (GateConfig(max_bias=0.1), "brightness"),
        (GateConfig(max_gain=1.5), "contrast"),
        (GateConfig(min_sharpness=2.0), "blurred"),
    ):
        found = reasons(agreement, images, cameras, config)
        assert len(found) == (6 if words == "blurred" else 1)
        assert words in found[0]
        assert words == "blurred" or "turntable_002" in found[0]
    with pytest.raises(InputError, match="max-gain"):
        GateConfig(max_gain=0.5)


def test_an_empty_view_keeps_the_numbers_of_the_others(good):
    images, known, cameras = good
    images[4] = 0
    rng = np.random.default_rng(0)
    images[..., :3] = np.where(images[..., 3:] > 0, rng.integers(0, 99, images[..., :1].shape), 0)
    agreement = measure(images, known, cameras)
    others = [0, 1, 2, 3, 5]
    assert np.isfinite(agreement.sharpness[others]).all() and np.isfinite(agreement.gain[others]).all()
    assert np.isnan(agreement.gain[4]) and agreement.mask_fraction[4] == 0 and agreement.mask_fraction[0] > 0
