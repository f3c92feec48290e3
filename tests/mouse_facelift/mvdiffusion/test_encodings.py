"""Cached encodings: rows there and back, and a fingerprint of what made them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.encodings import (
    Encodings,
    encode_row,
    encoder_fingerprint,
    open_encodings,
    shapes,
)
from mouse_facelift.mvdiffusion.pipeline import FrozenParts, MVDiffusion
from mouse_facelift.mvdiffusion.step import encode
from mouse_facelift.mvdiffusion.views import composited, decode_reduced
from mouse_facelift.samples.schema import row_from_sample
from mouse_facelift.storage import Store
from tests.mouse_facelift.mvdiffusion.conftest import tiny_pipeline
from tests.synthetic import blob, ring_sample

ROW = row_from_sample(ring_sample(blob(0), 0, views=6, size=32))
CPU = torch.device("cpu")


def _frozen(pipeline: MVDiffusion) -> FrozenParts:
    return FrozenParts(pipeline.scheduler, pipeline.vae, pipeline.embedder)


def test_rows_hold_what_the_encoders_say_of_every_camera_and_background(pipeline: MVDiffusion, tmp_path: Path) -> None:
    frozen = _frozen(pipeline)
    moments_shape, width = shapes(frozen, 16)
    made = Encodings(Store.at(tmp_path), "data", "weights", 16, ("white", "black"), moments_shape, width, {})
    row = encode_row(ROW, frozen, 16, ("white", "black"), CPU)
    moments, embeddings = made.decode(row)
    assert moments.shape == (2, 6, 8, 8, 8) and embeddings is not None and embeddings.shape == (2, 6, 16)
    images = torch.from_numpy(decode_reduced(ROW, 16).images)[None]
    online = encode(pipeline, composited(images, torch.zeros(1)))
    assert online.embeddings is not None
    torch.testing.assert_close(moments[1].float(), online.targets[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(embeddings[1, 0], online.embeddings[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="sample ring-000000: moments of"):
        made.decode(dict(row, moments=row["moments"][:-2]))


def test_the_fingerprint_is_that_of_the_encoders_alone() -> None:
    pipeline = tiny_pipeline()
    first = encoder_fingerprint(_frozen(pipeline))
    assert pipeline.vae is not None and pipeline.embedder is not None
    with torch.no_grad():
        pipeline.model.unet.conv_in.weight.add_(1)
        pipeline.vae.decoder.conv_in.weight.add_(1)
    assert encoder_fingerprint(_frozen(pipeline)) == first
    with torch.no_grad():
        pipeline.vae.encoder.conv_in.weight[0, 0, 0, 0] += 1
    changed = encoder_fingerprint(_frozen(pipeline))
    assert changed != first
    pipeline.embedder.feature_extractor.image_mean = [0.5, 0.5, 0.5]
    assert encoder_fingerprint(_frozen(pipeline)) != changed
    with pytest.raises(InputError, match="over pixels has no encoders"):
        encoder_fingerprint(FrozenParts(pipeline.scheduler))


def test_a_folder_without_manifest_is_not_complete(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete encodings"):
        open_encodings(str(tmp_path))
