"""Every single damaged byte of a PNG is noticed, by whomever it was written; other files are none of its business."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mouse_facelift.samples.png import encode_png_rgba
from mouse_facelift.samples.png_check import SIGNATURE, is_damaged_png

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)


def by_pillow(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("encode", [encode_png_rgba, by_pillow])
def test_one_wrong_byte_or_a_missing_end_is_damage(encode):
    data = encode(PICTURE)
    assert not is_damaged_png(data)
    for place in range(len(SIGNATURE), len(data)):
        assert is_damaged_png(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]), place
        assert is_damaged_png(data[:place])


def test_what_is_no_png_is_left_to_its_decoder():
    assert not is_damaged_png(b"") and not is_damaged_png(b"\xff\xd8\xff a JPEG")
