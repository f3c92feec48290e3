"""Silhouettes, from mask videos and from backgrounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.cameras.camera import intrinsics_from_fov
from mouse_facelift.cameras.poses import look_at
from mouse_facelift.capture.capture import View, open_capture
from mouse_facelift.capture.masks import (
    MaskConfig,
    estimate_background,
    mask_from_background,
    mask_from_image,
    mask_from_video,
    read_masks,
)
from mouse_facelift.capture.video import VideoWriter, read_frames
from mouse_facelift.errors import InputError

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


@pytest.mark.parametrize("factor", [2, 5])
def test_large_images_are_looked_at_coarsely_and_cut_finely(factor: int) -> None:
    big = [cv2.resize(image, None, fx=factor, fy=factor) for image in (_scene(160), _arena())]
    small = mask_from_background(_scene(160), _arena())
    found = mask_from_background(big[0], big[1])
    assert _iou(cv2.resize(found.astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 0, small) > 0.9
    assert _iou(found, cv2.resize(_animal(160).astype(np.uint8), None, fx=factor, fy=factor) > 0) > 0.9


def test_an_animal_that_grazes_the_edge_is_not_passed_over_for_a_crumb() -> None:
    frame, background = np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    body = cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.uint8), (160, HEIGHT - 46), (27, 45), 0, 0, 360, 1, -1) > 0
    assert 0 < body[-1].sum() < 0.2 * np.sqrt(body.sum())
    frame[body] = 25
    frame[30:42, 30:42] = 25
    assert _iou(mask_from_background(frame, background), body) > 0.9


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


def _write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_mask_images_of_every_kind_agree(tmp_path: Path) -> None:
    body = _animal(150).astype(np.uint8) * 255
    grey = _write(tmp_path / "grey.png", body)
    wide = _write(tmp_path / "wide.png", body.astype(np.uint16) * 257)
    colour = _write(tmp_path / "colour.png", np.stack([0 * body, body, body // 3], axis=-1))
    alpha = _write(tmp_path / "alpha.png", np.dstack([_scene(150), body]))
    for path in (grey, wide, colour, alpha):
        np.testing.assert_array_equal(mask_from_image(path, WIDTH, HEIGHT), _animal(150))


def test_mask_images_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mask image of this frame"):
        mask_from_image(tmp_path / "000003.png", WIDTH, HEIGHT)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match="broken.png: is not a readable image"):
        mask_from_image(tmp_path / "broken.png", WIDTH, HEIGHT)
    small = _write(tmp_path / "small.png", np.zeros((HEIGHT, WIDTH // 2), np.uint8))
    with pytest.raises(InputError, match="small.png: the mask is 160x240 and its video 320x240"):
        mask_from_image(small, WIDTH, HEIGHT)


def test_a_view_gives_its_masks_wherever_they_come_from(tmp_path: Path) -> None:
    camera = look_at(
        "0", np.array([0, 0, 300.0]), np.array([0, 1.0, 0]), intrinsics_from_fov(50, WIDTH, HEIGHT), WIDTH, HEIGHT
    )
    places = [60, 100, 140, 180]
    with (
        VideoWriter(tmp_path / "v.mp4", WIDTH, HEIGHT, 25) as video,
        VideoWriter(tmp_path / "m.mp4", WIDTH, HEIGHT, 25) as m,
    ):
        for number, x in enumerate(places):
            video.write(_scene(x))
            m.write(np.repeat(_animal(x)[..., None] * np.uint8(255), 3, axis=-1))
            if number != 2:
                _write(tmp_path / "masks" / f"{number:03d}.png", _animal(x) * np.uint8(255))
    plain = View("0", camera, tmp_path / "v.mp4", frame_count=4)
    shifted = np.array([1, 2, 3])
    for view in (
        plain,
        replace(plain, mask_video=tmp_path / "m.mp4"),
        replace(plain, mask_images=tmp_path / "masks", mask_digits=3),
        replace(plain, mask_video=tmp_path / "m.mp4", sources=shifted),
        replace(plain, mask_images=tmp_path / "masks", mask_digits=3, sources=shifted),
    ):
        wanted = [0, 2] if view.sources is not None else [0, 3]
        found = list(read_masks(view, wanted, _arena(), MaskConfig()))
        assert len(found) == 2
        for number, mask in zip(view.source_frames(wanted), found, strict=True):
            assert not isinstance(mask, InputError) and _iou(mask.full(), _animal(places[number])) > 0.9
    view = replace(plain, mask_images=tmp_path / "masks", mask_digits=3)
    found = list(read_masks(view, [1, 2, 3], None, MaskConfig()))
    assert [isinstance(mask, InputError) for mask in found] == [False, True, False] and "002.png" in str(found[1])
    with pytest.raises(ValueError, match="background is needed"):
        next(read_masks(plain, [0], None, MaskConfig()))


@pytest.mark.parametrize("level", [-1, 255, 300])
def test_a_threshold_that_no_pixel_or_every_pixel_passes_is_refused(level: int) -> None:
    with pytest.raises(InputError, match="video-threshold is .* from 0 to 254"):
        MaskConfig(video_threshold=level)


def test_a_damaged_mask_image_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[50:110, 60:140] = 255
    file = tmp_path / "0.png"
    assert cv2.imwrite(str(file), mask)
    data = bytearray(file.read_bytes())
    assert mask_from_image(file, WIDTH, HEIGHT).sum() == 60 * 80
    data[len(data) // 2] ^= 1
    for damaged in (bytes(data), bytes(data[: len(data) // 2]), b""):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="0.png: is not a readable image; write the mask again"):
            mask_from_image(file, WIDTH, HEIGHT)
