"""The Arrow schema of a sample row: the contract between preprocessing, training and everything after.

Plain Arrow types only, so that pyarrow, pandas, DuckDB and Hugging Face ``datasets`` read a shard without this code.
Images stay losslessly encoded (PNG, RGBA, straight alpha) until the last moment before a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError
from mouse_facelift.samples.png import decode_png_rgba, encode_png_rgba
from mouse_facelift.samples.png_check import is_damaged_png

SCHEMA_VERSION = 1
RESTORE = "restore the dataset from a copy, or make it again in another folder"
"""The cure for a dataset that is not as it was written."""

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _schema() -> pa.Schema:
    fields = [
        pa.field("sample_id", pa.string()),
        pa.field("capture", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("time_s", pa.float64()),
        pa.field("segment", pa.int16()),
        pa.field("images", pa.list_(_IMAGE)),
        pa.field("camera", pa.list_(pa.string())),
        pa.field("fxfycxcy", pa.list_(pa.list_(pa.float32(), 4))),
        pa.field("w2c", pa.list_(pa.list_(pa.float32(), 16))),
        pa.field("centre_mm", pa.list_(pa.float64(), 3)),
        pa.field("scale", pa.float64()),
        pa.field("mask_fraction", pa.list_(pa.float32())),
        pa.field("truncation", pa.list_(pa.float32())),
        pa.field("view_hull_iou", pa.list_(pa.float32())),
        pa.field("hull_iou", pa.float32()),
        pa.field("epipolar_px", pa.float32()),
        pa.field("sharpness", pa.list_(pa.float32())),
        pa.field("gain", pa.list_(pa.float32())),
        pa.field("bias", pa.list_(pa.float32())),
        pa.field("mask_source", pa.string()),
        pa.field("source", pa.string()),
    ]
    metadata = {
        "mouse_facelift": json.dumps({"schema_version": SCHEMA_VERSION, "pixel_origin": "top-left corner"}),
        "huggingface": json.dumps({"info": {"features": {f.name: _hugging_face_feature(f.type) for f in fields}}}),
    }
    return pa.schema(fields, metadata=metadata)


def _hugging_face_feature(kind: pa.DataType) -> dict[str, Any]:
    """How Hugging Face ``datasets`` names an Arrow type; the image struct is shown as a picture."""
    if kind == _IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _hugging_face_feature(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _hugging_face_feature(kind.value_type)}
    return {"_type": "Value", "dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind))}


SAMPLE_SCHEMA = _schema()
PHOTOMETRY = ("sharpness", "gain", "bias")
"""Columns that rows lack which were written before the gate looked at brightness."""
AGREEMENT_COLUMNS = ("mask_fraction", "truncation", "view_hull_iou", "hull_iou", "epipolar_px", *PHOTOMETRY)
"""What the gate measures; rejected rows have these columns too."""


@dataclass(frozen=True)
class Agreement:
    """What the gate measured of a sample; the meaning of each number is in :mod:`mouse_facelift.samples.gate`."""

    mask_fraction: Float32[np.ndarray, " v"]
    truncation: Float32[np.ndarray, " v"]
    view_hull_iou: Float32[np.ndarray, " v"]
    epipolar_px: float
    sharpness: Float32[np.ndarray, " v"]
    gain: Float32[np.ndarray, " v"]
    bias: Float32[np.ndarray, " v"]

    @property
    def hull_iou(self) -> float:
        """Mean over views of the silhouette's IoU with the reprojected visual hull."""
        return float(np.mean(self.view_hull_iou))

    def columns(self) -> dict[str, Any]:
        """The numbers by column of :data:`SAMPLE_SCHEMA`, those of :data:`AGREEMENT_COLUMNS`."""
        return {name: getattr(self, name) for name in AGREEMENT_COLUMNS}


@dataclass(frozen=True)
class Sample:
    """One row in memory.

    Attributes:
        images: RGBA, straight alpha, all views of one size.
        cameras: Pinhole cameras of exactly these pixels, in the normalised world.
        centre_mm, scale: ``X_normalised = scale * (X_mm - centre_mm)``.
        mask_source: Where the alpha came from ("video", "images" or "estimated"); "none" where all is opaque.
        source: "real", "rendered", or the fingerprint of the generator that made the images.
    """

    sample_id: str
    capture: str
    frame: int
    time_s: float
    segment: int
    images: UInt8[np.ndarray, "v h w 4"]
    cameras: tuple[Camera, ...]
    centre_mm: Float[np.ndarray, "3"]
    scale: float
    agreement: Agreement
    mask_source: str
    source: str


def encode_image(image: UInt8[np.ndarray, "h w 4"]) -> bytes:
    """RGBA pixels to PNG bytes; the same pixels always give the same bytes.

    Of the standard lossless files that tests/benchmarks/encoding.py compares on normalised views, this one is the
    fastest to write and to read.
    """
    return encode_png_rgba(image)


def decode_image(data: bytes) -> UInt8[np.ndarray, "h w 4"]:
    """Encoded image bytes to RGBA pixels; an image without alpha is opaque.

    Raises:
        InputError: Not such an image, or a PNG that is not as it was written.
    """
    whole = bool(data) and not is_damaged_png(data)
    ours = decode_png_rgba(data) if whole else None
    if ours is not None:
        return ours
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if image is None or image.ndim != 3:
        raise InputError("an image of the dataset is damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """What is decoded inside does not know where it is from: name the place, and the cure, of what is damaged."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}; {RESTORE}") from error


def decode_views(
    row: Mapping[str, Any], views: Sequence[int] | None = None
) -> tuple[UInt8[np.ndarray, "v h w 4"], Float32[np.ndarray, "v 4 4"], Float32[np.ndarray, "v 4"]]:
    """(images, w2c, fxfycxcy) of a row, ready for a model: of all views, or of those at the positions ``views``."""
    chosen = range(len(row["images"])) if views is None else views
    images = np.stack([decode_image(row["images"][view]["bytes"]) for view in chosen])
    w2c = np.array([list(row["w2c"][view]) for view in chosen], dtype=np.float32).reshape(-1, 4, 4)
    return images, w2c, np.array([list(row["fxfycxcy"][view]) for view in chosen], dtype=np.float32)


def row_from_sample(sample: Sample) -> dict[str, Any]:
    """A sample as a row of :data:`SAMPLE_SCHEMA`."""
    names = [camera.name for camera in sample.cameras]
    return {
        "sample_id": sample.sample_id,
        "capture": sample.capture,
        "frame": sample.frame,
        "time_s": sample.time_s,
        "segment": sample.segment,
        "images": [
            {"bytes": encode_image(image), "path": f"{sample.sample_id}_{name}.png"}
            for image, name in zip(sample.images, names, strict=True)
        ],
        "camera": names,
        "fxfycxcy": [camera.fxfycxcy for camera in sample.cameras],
        "w2c": [camera.w2c.reshape(16) for camera in sample.cameras],
        "centre_mm": sample.centre_mm,
        "scale": sample.scale,
        **sample.agreement.columns(),
        "mask_source": sample.mask_source,
        "source": sample.source,
    }


def sample_from_row(row: Mapping[str, Any]) -> Sample:
    """The inverse of :func:`row_from_sample` (cameras come back in single precision, as stored)."""
    images, w2c, fxfycxcy = decode_views(row)
    height, width = images.shape[1:3]
    cameras = []
    for name, pose, (fx, fy, cx, cy) in zip(row["camera"], w2c.astype(np.float64), fxfycxcy, strict=True):
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        cameras.append(Camera(name, width, height, K, pose[:3, :3], pose[:3, 3]))
    agreement = Agreement(
        np.asarray(row["mask_fraction"], np.float32),
        np.asarray(row["truncation"], np.float32),
        np.asarray(row["view_hull_iou"], np.float32),
        float(row["epipolar_px"]),
        *(_per_view(row, name, len(cameras)) for name in PHOTOMETRY),
    )
    plain = {key: row[key] for key in ("sample_id", "capture", "mask_source", "source")}
    return Sample(
        **plain,
        frame=int(row["frame"]),
        time_s=float(row["time_s"]),
        segment=int(row["segment"]),
        images=images,
        cameras=tuple(cameras),
        centre_mm=np.asarray(row["centre_mm"], np.float64),
        scale=float(row["scale"]),
        agreement=agreement,
    )


def _per_view(row: Mapping[str, Any], name: str, views: int) -> Float32[np.ndarray, " v"]:
    """A row's numbers per view; nan where the row does not have them."""
    return np.full(views, np.nan, np.float32) if row.get(name) is None else np.asarray(row[name], np.float32)


def table_from_samples(samples: Sequence[Sample]) -> pa.Table:
    """Samples as an Arrow table of :data:`SAMPLE_SCHEMA`."""
    return pa.Table.from_pylist([row_from_sample(s) for s in samples], schema=SAMPLE_SCHEMA)
