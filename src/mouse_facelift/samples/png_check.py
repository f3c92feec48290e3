"""Is a PNG the file that was written? Decoders often are content with a damaged one and show rubbish in its place.

Every chunk of a PNG ends in a CRC-32 of its type and data (PNG specification, section 5.5); checking them costs a
small part of decoding.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Length and type before a chunk's data, checksum after it.
_HEAD, _TAIL = 8, 4


def is_damaged_png(data: bytes) -> bool:
    """Whether bytes begin as a PNG does and then are cut short or fail a chunk's checksum; other formats never are."""
    if not data.startswith(SIGNATURE):
        return False
    view, start = memoryview(data), len(SIGNATURE)
    while start + _HEAD + _TAIL <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + _HEAD + length
        if end + _TAIL > len(data) or zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return True
        if view[start + 4 : start + _HEAD] == b"IEND":
            return False
        start = end + _TAIL
    return True
