"""PNG of a view that is mostly transparent, written at the cost of the animal in it and read without unfiltering.

A standard RGBA PNG, unfiltered. Rows without the animal are zeros, and their deflate stream depends on their number
alone: it is made once and put in place again, so that only the rows between are compressed. Deflate (RFC 1951) allows
that because a full flush ends a block on a whole byte and forgets what came before; the checksum over the zeros
(Adler-32, RFC 1950) follows from its definition.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

LEVEL = 1
"""zlib's level. Higher levels code runs of zeros more tightly and take 2.5 times as long to read."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# zlib's header for a window of 32 KB, fastest compression; RFC 1950.
_ZLIB_HEADER = b"\x78\x01"
_ADLER_MODULUS = 65521


def encode_png_rgba(image: UInt8[np.ndarray, "h w 4"]) -> bytes:
    """RGBA pixels to the bytes of a PNG file; the same pixels always give the same bytes."""
    height, width = image.shape[:2]
    filled = np.flatnonzero(np.ascontiguousarray(image).view(np.uint32)[..., 0].max(axis=1))
    top, bottom = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
    rows = np.zeros((bottom - top, 1 + 4 * width), np.uint8)
    rows[:, 1:] = image[top:bottom].reshape(bottom - top, -1)
    stride = rows.shape[1]
    checksum = _adler_of_zeros(1, top * stride)
    checksum = _adler_of_zeros(zlib.adler32(rows.data, checksum), (height - bottom) * stride)
    above, below = _deflated_zeros(top * stride), _deflated_zeros((height - bottom) * stride)
    # An empty final block ends the stream.
    data = b"".join([_ZLIB_HEADER, above, _deflated(rows.data), below, b"\x03\x00", struct.pack(">I", checksum)])
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"".join([_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")])


def decode_png_rgba(data: bytes) -> UInt8[np.ndarray, "h w 4"] | None:
    """The pixels of a file that :func:`encode_png_rgba` wrote, at the cost of inflating it; None for any other file.

    General decoders spend three quarters of their time on undoing filters row by row, and these rows have none. zlib
    checks the pixels' own checksum; the chunks' are `png_check`'s affair.
    """
    at_header, at_data = len(_SIGNATURE) + 8, len(_SIGNATURE) + 8 + 13 + 4
    if not data.startswith(_SIGNATURE) or data[at_data + 4 : at_data + 8] != b"IDAT":
        return None
    width, height, *form = struct.unpack_from(">IIBBBBB", data, at_header)
    end = at_data + 8 + struct.unpack_from(">I", data, at_data)[0]
    # Eight bits of RGBA, not interlaced, in one chunk.
    if form != [8, 6, 0, 0, 0] or data[end + 8 : end + 12] != b"IEND":
        return None
    stride = 1 + 4 * width
    try:
        inflated = zlib.decompress(memoryview(data)[at_data + 8 : end], bufsize=height * stride)
    except zlib.error:
        return None
    if len(inflated) != height * stride:
        return None
    rows = np.frombuffer(inflated, np.uint8).reshape(height, stride)
    return None if rows[:, 0].any() else np.ascontiguousarray(rows[:, 1:]).reshape(height, width, 4)


def _deflated(data: bytes | memoryview) -> bytes:
    """Raw deflate blocks that end on a whole byte and refer to nothing before them."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


@lru_cache(maxsize=4096)
def _deflated_zeros(count: int) -> bytes:
    return _deflated(bytes(count)) if count else b""


def _adler_of_zeros(checksum: int, count: int) -> int:
    """Adler-32 continued over ``count`` zeros: the low half stays and is added to the high half every time."""
    low, high = checksum & 0xFFFF, checksum >> 16
    return (high + count * low) % _ADLER_MODULUS << 16 | low


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
