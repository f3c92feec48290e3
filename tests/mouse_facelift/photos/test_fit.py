from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.photos.fit import fit_words, missing_span, seen_width, trained_width
from mouse_facelift.photos.framing import spanning
from tests.synthetic import blob, ring_sample, write_dataset

SAMPLE = ring_sample(blob(), views=6, size=64)
WIDTH = 2.7 * 2 * np.tan(np.radians(35) / 2)


def zoomed(factor: float) -> tuple[Camera, ...]:
    """Views that see less by a factor."""
    cameras = []
    for camera in SAMPLE.cameras:
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= factor
        cameras.append(replace(camera, K=K))
    return tuple(cameras)


def test_widths_are_those_of_cameras_and_of_datasets_alike(tmp_path: Path) -> None:
    config = {"data": str(write_dataset(tmp_path / "d", {"train": [SAMPLE]}))}
    assert trained_width(config) == pytest.approx(WIDTH) == seen_width(SAMPLE.cameras)
    assert seen_width(zoomed(1.8)) == pytest.approx(WIDTH / 1.8)
    assert trained_width({}) is None and trained_width({"data": "/nowhere/at/all"}) is None


def test_views_that_span_something_else_are_widened_or_cut_to_it() -> None:
    assert missing_span(zoomed(1.05), WIDTH) == 1 == missing_span(SAMPLE.cameras, None)
    for factor, word in ((1.8, "widened"), (0.5, "cut")):
        cameras = zoomed(factor)
        made = spanning(replace(SAMPLE, images=SAMPLE.images * 0, cameras=cameras), missing_span(cameras, WIDTH))
        assert seen_width(made.cameras) == pytest.approx(WIDTH, rel=0.02)
        assert f"are {word} to that" in fit_words(cameras, WIDTH)
    assert fit_words(SAMPLE.cameras, WIDTH).endswith(f"trained on {WIDTH:.2f}")
    assert "could not be checked" in fit_words(SAMPLE.cameras, None)
