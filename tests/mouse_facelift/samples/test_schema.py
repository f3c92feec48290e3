"""A row survives the trip to Parquet and back, and plain pyarrow reads it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import (
    AGREEMENT_COLUMNS,
    SAMPLE_SCHEMA,
    Agreement,
    Sample,
    decode_image,
    encode_image,
    sample_from_row,
    table_from_samples,
)
from mouse_facelift.storage import Store

CONTRACT = {
    "sample_id": pa.string(),
    "capture": pa.string(),
    "frame": pa.int32(),
    "time_s": pa.float64(),
    "segment": pa.int16(),
    "camera": pa.list_(pa.string()),
    "fxfycxcy": pa.list_(pa.list_(pa.float32(), 4)),
    "w2c": pa.list_(pa.list_(pa.float32(), 16)),
    "centre_mm": pa.list_(pa.float64(), 3),
    "scale": pa.float64(),
    "mask_fraction": pa.list_(pa.float32()),
    "hull_iou": pa.float32(),
    "epipolar_px": pa.float32(),
    "sharpness": pa.list_(pa.float32()),
    "gain": pa.list_(pa.float32()),
    "bias": pa.list_(pa.float32()),
    "source": pa.string(),
}


def make_sample(views: int = 3, size: int = 24, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    scores = rng.random((6, views)).astype(np.float32)
    return Sample(
        sample_id=f"a-{seed:06d}",
        capture="a",
        frame=seed,
        time_s=seed / 100,
        segment=1,
        images=rng.integers(0, 256, (views, size, size, 4), dtype=np.uint8),
        cameras=tuple(turntable(views, size)),
        centre_mm=np.array([1.0, 2.0, 1 / 3]),
        scale=0.0081,
        agreement=Agreement(scores[0], scores[1], scores[2], 1.25, scores[3], scores[4], scores[5]),
        mask_source="video",
        source="real",
    )


def test_round_trip_through_parquet_is_exact(tmp_path):
    sample, store = make_sample(seed=4), Store.at(tmp_path)
    for name in ("one", "two"):
        store.write_table(name, table_from_samples([sample, make_sample(seed=5)]))
    assert store.read("one") == store.read("two")
    back = sample_from_row(pq.read_table(tmp_path / "one").to_pylist()[0])
    assert np.array_equal(back.images, sample.images)
    assert np.array_equal(back.centre_mm, sample.centre_mm)
    assert (back.sample_id, back.frame, back.scale, back.segment) == ("a-000004", 4, 0.0081, 1)
    for name in AGREEMENT_COLUMNS:
        assert np.array_equal(back.agreement.columns()[name], sample.agreement.columns()[name]), name
    for one, other in zip(back.cameras, sample.cameras, strict=True):
        assert one.name == other.name
        assert np.array_equal(one.w2c, other.w2c.astype(np.float32))
        assert np.allclose(one.K, other.K, rtol=1e-7)


def test_columns_are_the_contract():
    for name, kind in CONTRACT.items():
        assert SAMPLE_SCHEMA.field(name).type == kind, name
    assert SAMPLE_SCHEMA.field("images").type == pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features = json.loads(SAMPLE_SCHEMA.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(SAMPLE_SCHEMA.names)
    assert features["images"] == {"_type": "List", "feature": {"_type": "Image"}}


def test_rows_without_photometry_are_read_with_nan():
    row = table_from_samples([make_sample()]).drop_columns(["sharpness", "gain", "bias"]).to_pylist()[0]
    back = sample_from_row(row).agreement
    assert np.isnan([back.sharpness, back.gain, back.bias]).all() and back.bias.shape == (3,)


def test_images_are_lossless_png_in_rgb_order():
    image = np.zeros((8, 8, 4), np.uint8)
    image[..., 0], image[..., 3] = 200, 17
    data = encode_image(image)
    assert np.array_equal(decode_image(data), image)
    bgra = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgra is not None and tuple(bgra[0, 0]) == (0, 0, 200, 17)


def test_a_damaged_image_is_named():
    with pytest.raises(InputError, match="an image of the dataset is damaged"):
        decode_image(b"not an image")
    data = encode_image(np.full((8, 8, 4), 90, np.uint8))
    with pytest.raises(InputError, match="an image of the dataset is damaged"):
        decode_image(data[:50] + bytes([data[50] ^ 1]) + data[51:])
