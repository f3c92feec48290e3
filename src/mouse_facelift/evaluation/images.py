"""Pictures for people: views side by side with captions, error maps, alpha panels, PNG files.

Everything here takes straight-alpha RGBA or RGB as floats in [0, 1] or as uint8, and gives uint8 RGB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Image = Float[np.ndarray, "h w c"] | UInt8[np.ndarray, "h w c"]
WHITE = (1.0, 1.0, 1.0)
_FONT, _FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
# The error that saturates an error map: a quarter of the range is a gross mistake on dark fur (0.15 to 0.3).
ERROR_CEILING = 0.25


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a contact sheet and the words under it, wrapped to its width; a line break stays one."""

    image: Image
    caption: str = ""


@dataclass(frozen=True)
class SheetStyle:
    """Measures of a contact sheet, in pixels of the sheet."""

    cell: int = 192
    """Longer side of every picture; enlarged without smoothing, so that a small picture's pixels stay visible."""
    gap: int = 8
    """White between pictures."""
    caption: int = 20
    """Height of a line of caption; a row without captions has none."""
    margin: int = 8
    """What a caption leaves free at its right: with the gap more than a space, so that neighbours read apart."""


def as_float(image: Image) -> Float[np.ndarray, "h w c"]:
    """Values in [0, 1] as float32 (uint8 is divided by 255)."""
    values = np.asarray(image)
    return values.astype(np.float32) / 255 if values.dtype == np.uint8 else values.astype(np.float32)


def as_uint8(image: Image) -> UInt8[np.ndarray, "h w c"]:
    """Values in [0, 1] clipped and rounded to uint8 (uint8 passes through); nan becomes 0."""
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return values
    return np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)


def composite(image: Image, background: tuple[float, float, float] = WHITE) -> Float[np.ndarray, "h w 3"]:
    """A straight-alpha RGBA image over one colour; an RGB image passes through."""
    values = as_float(image)
    if values.shape[-1] == 3:
        return values
    alpha = values[..., 3:]
    return values[..., :3] * alpha + (1 - alpha) * np.asarray(background, dtype=np.float32)


def error_map(image: Image, truth: Image, ceiling: float = ERROR_CEILING) -> UInt8[np.ndarray, "h w 3"]:
    """Mean absolute difference over channels, black at 0 and bright yellow from ``ceiling`` upwards.

    Raises:
        ValueError: the images differ in size or ``ceiling`` is not positive.
    """
    a, b = as_float(image), as_float(truth)
    if a.shape != b.shape or not ceiling > 0:
        raise ValueError(f"an error map needs two images of one size ({a.shape}, {b.shape}) and a ceiling above 0")
    level = as_uint8(np.abs(np.clip(a, 0, 1) - np.clip(b, 0, 1)).mean(-1, keepdims=True) / ceiling)
    return cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def alpha_panel(
    alpha: Float[np.ndarray, "h w"], truth: Float[np.ndarray, "h w"] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Alpha as grey; with a true mask, what is missing is red and what is too much is blue."""
    shown = np.repeat(as_uint8(alpha[..., None]), 3, axis=-1)
    if truth is None:
        return shown
    wrong = (alpha > 0.5) != (truth > 0.5)
    shown[wrong & (truth > 0.5)] = (220, 60, 50)
    shown[wrong & (truth <= 0.5)] = (60, 110, 220)
    return shown


def contact_sheet(rows: Sequence[Sequence[Panel]], style: SheetStyle | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of pictures with captions on white; rows may differ in length.

    Raises:
        ValueError: there is no picture at all.
    """
    style = style or SheetStyle()
    if not any(len(row) for row in rows):
        raise ValueError("a contact sheet needs at least one picture")
    strips = [_strip(row, style) for row in rows if len(row)]
    width = max(strip.shape[1] for strip in strips)
    padded = [
        cv2.copyMakeBorder(s, 0, 0, 0, width - s.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)) for s in strips
    ]
    return np.concatenate(padded, axis=0)


def encode_png(image: Image) -> bytes:
    """A PNG of an RGB image."""
    done, data = cv2.imencode(".png", cv2.cvtColor(as_uint8(image), cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError(f"OpenCV cannot encode an image of shape {image.shape} as PNG")
    return data.tobytes()


def write_png(path: Path | str, image: Image) -> Path:
    """Writes a PNG whole or not at all."""
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(encode_png(image))
    os.replace(part, path)
    return path


def write_contact_sheet(path: Path | str, rows: Sequence[Sequence[Panel]], style: SheetStyle | None = None) -> Path:
    """:func:`contact_sheet` as a PNG file, whole or not at all."""
    return write_png(path, contact_sheet(rows, style))


def _strip(row: Sequence[Panel], style: SheetStyle) -> UInt8[np.ndarray, "h w 3"]:
    """One row of a sheet: pictures top-aligned, captions below."""
    pictures = [_fit(as_uint8(composite(panel.image)), style.cell) for panel in row]
    picture_height = max(p.shape[0] for p in pictures)
    captions = [_wrapped(panel.caption, p.shape[1] - style.margin) for panel, p in zip(row, pictures, strict=True)]
    height = style.gap + picture_height + max(map(len, captions)) * style.caption
    width = style.gap + sum(p.shape[1] + style.gap for p in pictures)
    strip = np.full((height + style.gap // 2, width, 3), 255, dtype=np.uint8)
    x = style.gap
    for lines, picture in zip(captions, pictures, strict=True):
        h, w = picture.shape[:2]
        # A hairline frame: an animal on white would otherwise have no picture around it.
        cv2.rectangle(strip, (x - 1, style.gap - 1), (x + w, style.gap + h), (225, 225, 225), 1)
        strip[style.gap : style.gap + h, x : x + w] = picture
        for number, line in enumerate(lines):
            top = style.gap + picture_height + number * style.caption
            box = strip[top : top + style.caption, x : x + w]
            # The darker of both: the picture's frame reaches into the box.
            np.minimum(box, _written(line, w, style.caption), out=box)
        x += w + style.gap
    return strip


def _fit(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Scales the longer side to ``side``: pixels repeated when enlarging, averaged when reducing."""
    factor = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST if factor >= 1 else cv2.INTER_AREA)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines that fit into ``width`` pixels: broken between words, a longer word shortened; none of no text."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in (_shortened(word, width) for word in paragraph.split()):
            if line and _text_width(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def _shortened(word: str, width: int) -> str:
    """A word without its middle if it is too wide: names of recordings differ at the front, of frames at the end."""
    short, kept = word, len(word)
    while kept > 0 and _text_width(short) > width:
        kept -= 1
        short = f"{word[: kept - kept // 2]}..{word[len(word) - kept // 2 :]}"
    return short


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _FONT_SIZE, 1)[0][0]


def _written(text: str, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Dark grey text on a white box of its own, beyond which nothing of it can reach."""
    box = np.full((height, width, 3), 255, dtype=np.uint8)
    place = (0, round(0.75 * height))
    return cv2.putText(box, text, place, _FONT, _FONT_SIZE, (60, 60, 60), 1, cv2.LINE_AA)  # type: ignore[return-value]
