from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.evaluation import images
from mouse_facelift.evaluation.images import Panel, SheetStyle


def random_image(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)


def test_uint8_and_float_are_inverse() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(images.as_uint8(images.as_float(levels)), levels)


def test_uint8_clips_and_replaces_nan() -> None:
    values = np.array([[[-1.0], [2.0], [np.nan]]])
    assert images.as_uint8(values).ravel().tolist() == [0, 255, 0]


def test_composite_is_linear_in_alpha() -> None:
    rgba = random_image(5, 7, 4)
    expected = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * np.array([0.2, 0.4, 0.6])
    np.testing.assert_allclose(images.composite(rgba, (0.2, 0.4, 0.6)), expected, atol=1e-6)


def test_composite_leaves_rgb_alone() -> None:
    rgb = random_image(4, 4, 3)
    assert np.array_equal(images.composite(rgb), rgb)


def test_error_map_is_black_without_error_and_brightens_with_it() -> None:
    truth = np.full((4, 6, 3), 0.5, dtype=np.float32)
    ramp = truth + np.linspace(0, 0.25, 6, dtype=np.float32)[None, :, None]
    brightness = images.error_map(ramp, truth)[0].astype(int).sum(-1)
    assert brightness[0] < 10
    assert (np.diff(brightness) > 0).all()


def test_error_map_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="one size"):
        images.error_map(random_image(4, 4, 3), random_image(4, 5, 3))


def test_alpha_panel_marks_what_is_missing_and_what_is_extra() -> None:
    alpha = np.array([[0.9, 0.1], [0.9, 0.1]])
    truth = np.array([[1.0, 1.0], [0.0, 0.0]])
    panel = images.alpha_panel(alpha, truth)
    agreed, missing, extra = panel[0, 0], panel[0, 1], panel[1, 0]
    assert agreed[0] == agreed[1] == agreed[2] == round(0.9 * 255)
    assert missing[0] > missing[2] and extra[2] > extra[0]
    assert panel[1, 1].tolist() == [round(0.1 * 255)] * 3


def test_sheet_shows_every_pixel_of_small_pictures() -> None:
    picture = (random_image(8, 8, 3) * 255).astype(np.uint8)
    style = SheetStyle(cell=32, gap=4, caption=20)
    sheet = images.contact_sheet([[Panel(picture, "a"), Panel(picture)], [Panel(picture)]], style)
    assert np.array_equal(sheet[4:36:4, 4:36:4], picture)
    assert np.array_equal(sheet[4:36:4, 40:72:4], picture)
    assert sheet.shape[1] == 4 + 2 * 36
    caption = sheet[36:56, 4:36]
    assert caption.min() < 200, "the caption is written under its picture"


@pytest.mark.parametrize("cell", [16, 48, 128, 224, 512])
def test_captions_of_neighbours_stay_apart_and_readable(cell: int) -> None:
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    name = "recording_2026-11-03_cage_4_mouse_b-000123\ncam front_right, IoU 0.987"
    style = SheetStyle(cell=cell)
    sheet = images.contact_sheet([[Panel(grey, name)] * 3], style)
    under = sheet[style.gap + cell + 1 :]
    pitch = cell + style.gap
    for column in range(3):
        right = style.gap + column * pitch + cell
        words = under[:, right - cell : right - style.margin]
        assert words.min() < 150, "every picture has its words, in ink that is not thinned by shrinking"
        assert under[:, right - style.margin : right + style.gap].min() == 255
        assert np.array_equal(words, under[:, style.gap : style.gap + cell - style.margin])


def test_a_caption_is_wrapped_between_words_and_a_long_word_loses_its_middle() -> None:
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)

    def caption(text: str) -> np.ndarray:
        return images.contact_sheet([[Panel(grey, text)]], SheetStyle(cell=96))[8 + 96 + 1 :]

    assert np.array_equal(caption("camera three frame 12"), caption("camera three\nframe 12"))
    long, other_end, other_middle = (caption(f"recording_of_{x}") for x in ("a_mouse_01", "a_mouse_02", "b_house_01"))
    assert np.array_equal(long, other_middle) and not np.array_equal(long, other_end)
    assert len(long) == len(caption("short")) < len(caption("two\nlines"))


def test_a_white_picture_has_a_whole_frame_above_its_caption() -> None:
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    sheet = images.contact_sheet([[Panel(white, "white")]], SheetStyle(cell=64, gap=8))
    square = sheet[7:73, 7:73]
    for edge in (square[0], square[-1], square[:, 0], square[:, -1]):
        assert edge.max() < 250


def test_sheet_keeps_aspect_ratio() -> None:
    wide = np.zeros((10, 20, 3), dtype=np.uint8)
    sheet = images.contact_sheet([[Panel(wide)]], SheetStyle(cell=40, gap=0))
    assert sheet.shape == (20, 40, 3)


def test_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        images.contact_sheet([[]])


def test_png_round_trip(tmp_path: Path) -> None:
    picture = (random_image(5, 9, 3) * 255).astype(np.uint8)
    path = images.write_png(tmp_path / "picture.png", picture)
    back = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert back is not None
    assert np.array_equal(cv2.cvtColor(back, cv2.COLOR_BGR2RGB), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
