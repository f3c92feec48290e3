"""Gaussians in any of the file formats that this project writes, chosen by name and recognised by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.compressed_ply import decode_compressed_ply, encode_compressed_ply
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.ply import decode_ply, encode_ply
from mouse_facelift.gaussians.splat import decode_splat, encode_splat
from mouse_facelift.storage import Store, is_uri

GaussiansFormat = Literal["ply", "compressed-ply", "splat"]

ENCODERS: Mapping[GaussiansFormat, Callable[[Gaussians, str], bytes]] = MappingProxyType(
    {"ply": encode_ply, "compressed-ply": encode_compressed_ply, "splat": encode_splat}
)
"""Gaussians and a name for messages -> the bytes of a file."""
_LONGEST_HEADER = 1 << 16


def is_gaussians_file(location: str) -> bool:
    """Whether a path or URI is named like a file of Gaussians."""
    return Path(location.partition("?")[0]).suffix in (".ply", ".splat")


def read_gaussians(location: str | Path) -> Gaussians:
    """Float32 Gaussians on the CPU from a `.ply`, a compressed `.ply` or a `.splat`, local or at a URI.

    Raises:
        InputError: there is no such file, it is none of the three, or values in it are not finite.
    """
    text = str(location)
    if not is_gaussians_file(text):
        raise InputError(f"{text}: is not named .ply or .splat; give a file of Gaussians")
    place, mark, options = text.partition("?") if is_uri(text) else (text, "", "")
    folder, _, name = place.rpartition("/")
    data = Store.at((folder or ".") + mark + options).read(name)
    if name.endswith(".splat"):
        return decode_splat(data, text)
    compressed = b"\nelement chunk " in data[:_LONGEST_HEADER].partition(b"end_header")[0]
    return decode_compressed_ply(data, text) if compressed else decode_ply(data, text)
