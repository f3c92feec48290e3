"""Any image comes back exactly from any reader of PNG."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mouse_facelift.samples.png import decode_png_rgba, encode_png_rgba


def picture(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    image = np.zeros((height, width, 4), np.uint8)
    image[rows, columns] = np.random.default_rng(0).integers(0, 256, image[rows, columns].shape, dtype=np.uint8)
    return image


@pytest.mark.parametrize(
    "image",
    [
        picture(64, 48, slice(20, 40), slice(5, 30)),
        picture(64, 48, slice(0, 1), slice(0, 1)),
        picture(64, 48, slice(63, 64), slice(47, 48)),
        picture(64, 48, slice(None), slice(None)),
        picture(512, 512, slice(200, 310), slice(180, 300)),
        np.zeros((512, 512, 4), np.uint8),
        np.full((1, 1, 4), 255, np.uint8),
        picture(700, 900, slice(10, 12), slice(899, 900)),
    ],
)
def test_round_trip_is_exact_for_every_reader(image):
    data = encode_png_rgba(image)
    assert data == encode_png_rgba(image.copy())
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(cv2.cvtColor(read, cv2.COLOR_BGRA2RGBA), image)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "RGBA"
        assert np.array_equal(np.asarray(opened), image)
    own = decode_png_rgba(data)
    assert own is not None and own.flags.c_contiguous and np.array_equal(own, image)


def test_files_of_others_are_left_to_others_and_damage_is_no_picture():
    image = picture(40, 30, slice(3, 30), slice(2, 20))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    theirs = [
        buffer.getvalue(),
        cv2.imencode(".png", image)[1].tobytes(),
        cv2.imencode(".png", image[..., 0])[1].tobytes(),
    ]
    ours = encode_png_rgba(image)
    flipped = bytearray(ours)
    flipped[len(ours) // 2] ^= 0xFF
    for data in (*theirs, b"", b"no picture", ours[:30], ours[: len(ours) // 2], bytes(flipped)):
        read = decode_png_rgba(data)
        assert read is None or np.array_equal(read, image)
    assert decode_png_rgba(bytes(flipped)) is None and decode_png_rgba(ours[: len(ours) // 2]) is None


def test_the_stream_is_whole_and_its_checksums_hold():
    image = picture(300, 200, slice(100, 180), slice(20, 90))
    data = encode_png_rgba(image)
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    chunk = data[start + 4 : start + 4 + length]
    stream = zlib.decompressobj()
    raw = stream.decompress(chunk)  # Raises where Adler-32 does not fit.
    assert stream.eof and not stream.unused_data and len(raw) == 300 * (1 + 4 * 200)
    assert zlib.crc32(b"IDAT" + chunk) == int.from_bytes(data[start + 4 + length : start + 8 + length], "big")
    assert data.endswith(b"IEND\xaeB`\x82")


def test_empty_rows_cost_next_to_nothing():
    small, large = (encode_png_rgba(picture(n, 512, slice(40, 100), slice(40, 100))) for n in (128, 1024))
    assert len(large) - len(small) < 0.006 * (1024 - 128) * 512 * 4
