"""Lossless codecs for the views of a dataset: milliseconds to write and to read, and size.

    python -m tests.benchmarks.encoding --data DATASET [--samples 8]

DATASET is made by `preprocess`. One thread, processor time per image. `crop` stores the animal's bounding box alone and
puts it back on reading; it and `raw + zstd` are no standard image files of the whole view and only show what is left to
gain. The row that `samples.schema.encode_image` writes is marked with *.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import tyro
from jaxtyping import UInt8

from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.schema import decode_image, encode_image

Image = UInt8[np.ndarray, "h w 4"]
_FILTERS = ("NONE", "SUB", "UP", "AVG", "PAETH")
_STRATEGIES = ("FILTERED", "HUFFMAN_ONLY", "RLE", "FIXED")


@dataclass(frozen=True)
class Config:
    """Which images are encoded."""

    data: str
    """A dataset made by `preprocess`."""
    samples: int = 8
    """Samples taken from the start of the training split, all views each."""


@dataclass(frozen=True)
class Codec:
    """A way to store an image and to get exactly it back."""

    name: str
    write: Callable[[Image], bytes]
    read: Callable[[bytes], Image]


def opencv_codec(name: str, suffix: str, *options: int) -> Codec:
    """OpenCV's encoder with these options."""

    def write(image: Image) -> bytes:
        return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), options)[1].tobytes()

    return Codec(name, write, decode_image)


def png_codecs() -> list[Codec]:
    """PNG at every level; then, at level 1, every strategy of zlib and every fixed filter."""
    level, strategy, line_filter = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_FILTER
    found = [opencv_codec(f"PNG level {n}", ".png", level, n) for n in range(10)]
    for name in _STRATEGIES:
        value = getattr(cv2, f"IMWRITE_PNG_STRATEGY_{name}")
        found.append(opencv_codec(f"PNG level 1, strategy {name}", ".png", level, 1, strategy, value))
    for name in _FILTERS:
        value = getattr(cv2, f"IMWRITE_PNG_FILTER_{name}")
        found.append(opencv_codec(f"PNG level 1, filter {name}", ".png", level, 1, line_filter, value))
    return found


def zstd_codec(shape: tuple[int, ...], level: int) -> Codec:
    """Raw pixels through zstd."""
    codec = pa.Codec("zstd", compression_level=level)
    size = int(np.prod(shape))

    def write(image: Image) -> bytes:
        return codec.compress(np.ascontiguousarray(image), asbytes=True)

    def read(data: bytes) -> Image:
        return np.frombuffer(codec.decompress(data, size, asbytes=True), np.uint8).reshape(shape)

    return Codec(f"raw + zstd {level}", write, read)


def cropped(codec: Codec, shape: tuple[int, ...]) -> Codec:
    """Another codec for the bounding box of what is not transparent; the place in four numbers before it."""

    def write(image: Image) -> bytes:
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(image[..., 3]))
        box = np.array([top, left, height, width], "<u4")
        return box.tobytes() + codec.write(np.ascontiguousarray(image[top : top + height, left : left + width]))

    def read(data: bytes) -> Image:
        top, left, height, width = np.frombuffer(data[:16], "<u4").astype(int)
        image = np.zeros(shape, np.uint8)
        image[top : top + height, left : left + width] = codec.read(data[16:])
        return image

    return Codec(f"crop, {codec.name}", write, read)


def measure(codec: Codec, images: list[Image]) -> tuple[float, float, float]:
    """(write ms, read ms, kB) per image; a codec that changes a pixel has no place here."""
    start = time.process_time()
    encoded = [codec.write(image) for image in images]
    middle = time.process_time()
    decoded = [codec.read(data) for data in encoded]
    end = time.process_time()
    for image, back in zip(images, decoded, strict=True):
        if not np.array_equal(image, back):
            raise ValueError(f"{codec.name} is not lossless")
    count = len(images)
    return 1e3 * (middle - start) / count, 1e3 * (end - middle) / count, sum(map(len, encoded)) / count / 1e3


def main(config: Config) -> None:
    cv2.setNumThreads(1)
    samples = islice(open_dataset(config.data).samples("train"), config.samples)
    images = [image for sample in samples for image in sample.images]
    shape = images[0].shape
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101, cv2.IMWRITE_WEBP_LOSSLESS_MODE)
    webp = opencv_codec("WebP lossless", ".webp", *lossless, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR)
    chosen = Codec("* as written (PNG)", encode_image, decode_image)
    codecs = [chosen, *png_codecs(), webp, *(zstd_codec(shape, level) for level in (1, 3)), cropped(chosen, shape)]
    covered = np.mean([(image[..., 3] > 0).mean() for image in images])
    print(f"{len(images)} images of {shape[1]}x{shape[0]}, the animal covers {covered:.1%}")
    print(f"{'codec':34} {'write ms':>9} {'read ms':>9} {'kB':>8}")
    measure(chosen, images[:2])
    for codec in codecs:
        write, read, size = measure(codec, images)
        print(f"{codec.name:34} {write:9.2f} {read:9.2f} {size:8.1f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
