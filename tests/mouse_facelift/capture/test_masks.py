"""Silhouettes, from mask videos and from backgrounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig, estimate_background, mask_from_background, mask_from_video
from mouse_facelift.capture.video import VideoWriter, read_frames

HEIGHT, WIDTH = 240, 320


def _arena() -> np.ndarray:
    """A floor that is brighter on one side, a dark post, some texture."""
    ramp = np.linspace(120, 210, WIDTH)[None, :, None] * np.array([1.0, 0.97, 0.9])
    image = ramp + np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH, 1))
    image[:, 300:310] = 20
    return image.clip(0, 255).astype(np.uint8)


def _animal(x: int, y: int = 120) -> np.ndarray:
    return cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.uint8), (x, y), (34, 20), 20, 0, 360, 1, -1).astype(bool)


def _scene(x: int, noise: int = 1, fur: int = 25) -> np.ndarray:
    """The animal over the arena, a fainter reflection of it below, sensor noise."""
    image = _arena().astype(np.float64)
    reflection = np.roll(_animal(x)[::-1], 38, axis=0) & ~_animal(x)
    image[reflection] = 0.55 * image[reflection] + 0.45 * fur
    image[_animal(x)] = fur
    return (image + np.random.default_rng(noise).normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_mask_video_gives_its_largest_part_with_holes() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[50:110, 60:140] = 250
    image[70:80, 90:100] = 5
    image[200:210, 200:210] = 255
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[50:110, 60:140], expected[70:80, 90:100] = True, False
    np.testing.assert_array_equal(mask_from_video(image), expected)


@pytest.mark.parametrize("level", [127, 128])
def test_the_threshold_of_a_mask_video(level: int) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[50:110, 60:140] = level
    assert mask_from_video(image).any() == (level > MaskConfig().video_threshold)


@pytest.mark.parametrize("size", [0, 3, 230])
def test_what_has_not_the_size_of_an_animal_is_none(size: int) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:size, :size] = 255
    assert not mask_from_video(image).any()


@pytest.mark.parametrize("animal", ["dark", "light"])
def test_the_body_is_found_and_its_reflection_is_not(animal: str) -> None:
    config = MaskConfig(animal="dark" if animal == "dark" else "light")
    for x in (80, 160, 240):
        frame, background = _scene(x), _arena()
        if animal == "light":
            frame, background = 255 - frame, 255 - background
        assert _iou(mask_from_background(frame, background, config), _animal(x)) > 0.9


def test_an_empty_arena_has_no_animal() -> None:
    noisy = (_arena() + np.random.default_rng(5).normal(0, 3, (HEIGHT, WIDTH, 3))).clip(0, 255).astype(np.uint8)
    assert not mask_from_background(noisy, _arena()).any()


def test_a_highlight_is_filled_and_a_crumb_is_left_out() -> None:
    frame = _scene(160)
    frame[112:120, 150:158] = 235
    frame[30:36, 30:36] = 20
    mask = mask_from_background(frame, _arena())
    assert mask[112:120, 150:158].all() and not mask[30:36, 30:36].any()


def test_a_person_coming_in_from_the_edge_is_not_the_animal() -> None:
    frame = _scene(200)
    frame[:150, :70] = 15
    assert _iou(mask_from_background(frame, _arena()), _animal(200)) > 0.9


def test_an_animal_before_something_as_dark_keeps_its_outline() -> None:
    frame, background = _scene(160), _arena()
    background[:, 150:156] = 25
    frame[:, 150:156] = 25
    assert _iou(mask_from_background(frame, background), _animal(160)) > 0.88


def test_frames_and_background_must_match() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        mask_from_background(_arena(), _arena()[:100])


def test_the_background_is_the_arena_even_under_an_animal_that_sat_there_most_of_the_time(tmp_path: Path) -> None:
    path = tmp_path / "sits.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, 25) as writer:
        for number in range(40):
            writer.write(_scene(90 if number < 28 else 220, noise=number))
    background = estimate_background(path, MaskConfig(background_frames=21))
    for x in (90, 220):
        body = _animal(x)
        assert np.abs(background[body].astype(int) - _arena()[body]).mean() < 12
    np.testing.assert_array_equal(background, estimate_background(path, MaskConfig(background_frames=21)))
    _, frame = next(read_frames(path, [5]))
    assert _iou(mask_from_background(frame, background), _animal(90)) > 0.9


def test_a_short_video_uses_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, 25) as writer:
        writer.write(_arena())
    assert estimate_background(path).shape == (HEIGHT, WIDTH, 3)


def test_masks_of_a_rendered_recording_agree_with_their_videos(shared_data: Path) -> None:
    """Where there are masks, estimated ones come close: the same arena with an animal that walks about."""
    view = open_capture(shared_data / "capture_a").views[1]
    assert view.mask_video is not None
    background = estimate_background(view.video, MaskConfig(background_frames=31))
    wanted = [10, 50, 90]
    masks = [mask_from_video(image) for _, image in read_frames(view.mask_video, wanted)]
    found = [mask_from_background(image, background) for _, image in read_frames(view.video, wanted)]
    assert min(_iou(a, b) for a, b in zip(found, masks, strict=True)) > 0.6


@pytest.mark.slow
def test_estimated_silhouettes_of_a_real_mouse_meet_in_space(shared_data: Path) -> None:
    """Rays through the silhouettes' centroids pass one point of the cylinder, well within a body's width."""
    views = open_capture(shared_data / "mouse5").views[::2]
    wanted = [100, 350, 600]
    rays, planes = np.zeros((3, 3)), np.zeros((3, 3, 3))
    centroids = []
    for view in views:
        background = estimate_background(view.video)
        masks = [mask_from_background(image, background) for _, image in read_frames(view.video, wanted)]
        pixels = np.array([np.argwhere(mask).mean(axis=0)[::-1] + 0.5 for mask in masks])
        centroids.append(pixels)
        for i, ray in enumerate(view.camera.rays(pixels)):
            across = np.eye(3) - np.outer(ray, ray)
            planes[i] += across
            rays[i] += across @ view.camera.centre
    points = np.linalg.solve(planes, rays[..., None])[..., 0]
    for view, pixels in zip(views, centroids, strict=True):
        # The body is about 100 px wide in every view.
        assert np.linalg.norm(view.camera.project(points) - pixels, axis=1).max() < 25
    assert (points[:, 2] > 0).all() and (points[:, 2] < 80).all()
