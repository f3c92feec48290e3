"""Gain and bias are what was done to a view; sharpness falls with blur and with nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import mask_from_video
from mouse_facelift.capture.video import read_frames
from mouse_facelift.samples.photometry import QUANTILES, fit_brightness, measure_photometry

SIZE = 128


def fur(seed: int, gain: float = 1.0, bias: float = 0.0) -> np.ndarray:
    """A dark round animal with a pattern of its own; ``bias`` as a share of full white."""
    rng = np.random.default_rng(seed)
    pattern = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 1.5)
    ranks = pattern.ravel().argsort().argsort().reshape(SIZE, SIZE) / SIZE**2
    grey = np.clip(255 * bias + gain * (30 + 60 * ranks), 0, 255).round().astype(np.uint8)
    image = np.dstack([grey] * 3 + [np.zeros_like(grey)])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image[np.hypot(rows - 60, columns - 70) < 40, 3] = 255
    image[image[..., 3] == 0] = 0
    return image


def measured(images: list[np.ndarray]):
    stack = np.stack(images)
    return measure_photometry(stack, [BoxedMask.of(image[..., 3] > 127) for image in images])


def test_gain_and_bias_of_one_view_come_back():
    look = measured([fur(i) for i in range(5)] + [fur(5, gain=0.7, bias=0.12)])
    assert np.allclose(look.gain[:5], 1, atol=0.15) and np.allclose(look.bias[:5], 0, atol=0.025)
    assert look.gain[5] == pytest.approx(0.7, abs=0.08)
    assert look.bias[5] == pytest.approx(0.12, abs=0.015)


def test_the_fit_is_exact_on_exact_quantiles_and_robust_to_one_strange_view():
    base = QUANTILES**2
    gains, biases = np.array([1.0, 1.0, 1.0, 1.0, 0.5]), np.array([0.0, 0.0, 0.0, 0.0, 0.3])
    gain, bias = fit_brightness(gains[:, None] * base + biases[:, None])
    assert np.allclose(gain, gains, atol=1e-6) and np.allclose(bias, biases, atol=1e-6)


def test_nothing_is_said_of_what_cannot_be_seen():
    flat, empty = np.full((SIZE, SIZE, 4), 255, np.uint8), np.zeros((SIZE, SIZE, 4), np.uint8)
    look = measured([fur(0), fur(1), flat, empty])
    assert np.isnan([look.sharpness[2], look.sharpness[3], look.gain[3], look.bias[3]]).all()
    assert np.isfinite([look.sharpness[:2], look.gain[:2], look.bias[:2]]).all()
    assert look.gain[2] < 0.05
    assert np.isnan(measured([fur(0), empty]).gain).all()


def test_sharpness_is_that_of_noise_for_noise_and_falls_with_blur():
    rng = np.random.default_rng(1)
    noise = np.full((SIZE, SIZE, 4), 255, np.uint8)
    noise[..., :3] = np.clip(rng.normal(128, 30, (SIZE, SIZE, 1)), 0, 255)
    blurred = noise.copy()
    blurred[..., :3] = cv2.GaussianBlur(noise[..., :3], (0, 0), 1.0)
    dimmed = noise.copy()
    dimmed[..., :3] = noise[..., :3] // 2 + 20
    sharpness = measured([noise, blurred, dimmed]).sharpness
    assert sharpness[0] == pytest.approx(1, abs=0.05)
    assert sharpness[1] < 0.1
    assert sharpness[2] == pytest.approx(sharpness[0], rel=0.02)


def test_the_background_has_no_say():
    image = fur(3)
    painted = image.copy()
    painted[image[..., 3] == 0, :3] = 255
    one, other = measured([image, fur(4)]), measured([painted, fur(4)])
    assert np.array_equal(one.sharpness, other.sharpness) and np.array_equal(one.bias, other.bias)


def test_haze_on_the_rendered_recording_shows_up(shared_data: Path):
    """View 5 is hazy all over, 0, 2 and 3 in part, 1 and 4 not at all."""
    capture = open_capture(shared_data / "capture_a")
    frames = list(range(0, 160, 20))
    looks = []
    streams = [
        zip(read_frames(view.video, frames), read_frames(str(view.mask_video), frames), strict=True)
        for view in capture.views
    ]
    for _ in frames:
        views = []
        for stream in streams:
            (_, image), (_, mask) = next(stream)
            views.append(np.dstack([image, mask_from_video(mask) * np.uint8(255)]))
        looks.append(measured(views))
    bias = np.median([look.bias for look in looks], axis=0)
    gain = np.median([look.gain for look in looks], axis=0)
    assert bias.argmax() == 5 and bias[5] > 0.05 and gain[5] < 0.9
    assert bias[[0, 2, 3]].min() > bias[[1, 4]].max()
