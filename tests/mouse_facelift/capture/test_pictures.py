"""Parts of a picture are, to the bit, what the whole picture converted to RGB holds there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mouse_facelift.capture.pictures import PlanarPicture, RgbPicture

HEIGHT, WIDTH = 74, 106


def planar(image: np.ndarray, pixels: str = "yuv420p", full_range: bool = False) -> PlanarPicture:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
    frame.color_range = 2 if full_range else 1
    return PlanarPicture(frame)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("full_range", [False, True])
def test_a_part_equals_that_part_of_the_whole(pixels: str, full_range: bool) -> None:
    picture = planar(noise(), pixels, full_range)
    whole = picture.rgb()
    rng = np.random.default_rng(1)
    for _ in range(60):
        top, bottom = np.sort(rng.choice(HEIGHT + 1, 2, replace=False))
        left, right = np.sort(rng.choice(WIDTH + 1, 2, replace=False))
        np.testing.assert_array_equal(
            picture.rgb(slice(top, bottom), slice(left, right)), whole[top:bottom, left:right]
        )
    np.testing.assert_array_equal(picture.rgb(slice(60, 400), slice(90, None)), whole[60:, 90:])
    np.testing.assert_array_equal(RgbPicture(whole).rgb(slice(3, 9)), whole[3:9])


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("full_range", [False, True])
def test_bright_is_any_channel_above_the_level(coloured: bool, full_range: bool) -> None:
    image = noise() if coloured else noise()[..., :1].repeat(3, axis=-1)
    picture = planar(image, full_range=full_range)
    for level in (0, 1, 100, 127, 200, 254, 255):
        np.testing.assert_array_equal(picture.bright(level), np.uint8(255) * (picture.rgb() > level).any(axis=-1))


def test_parts_of_a_recording(shared_data: Path) -> None:
    """1152 x 1024 pixels, in which the converter's vector code runs, and the widths at which it ends."""
    with av.open(str(shared_data / "capture_a" / "videos_undist" / "3.mp4")) as container:
        frame = next(container.decode(video=0))
    picture = PlanarPicture(frame)
    whole = picture.rgb()
    for width in range(1, 70):
        rows, columns = slice(401, 404), slice(377 + width % 2, 377 + width % 2 + width)
        np.testing.assert_array_equal(picture.rgb(rows, columns), whole[rows, columns])
