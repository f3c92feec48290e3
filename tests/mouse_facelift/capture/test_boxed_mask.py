"""A boxed silhouette is its mask: nothing is lost, and what is measured in the box is true of the frame."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.capture.boxed_mask import BoxedMask


@pytest.fixture(params=[0.0, 0.002, 0.05, 0.5, 1.0])
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(3).random((41, 57)) < request.param


def test_masks_come_back(mask: np.ndarray) -> None:
    boxed = BoxedMask.of(mask)
    assert bool(boxed) == mask.any() and boxed.area == mask.sum()
    np.testing.assert_array_equal(boxed.full(), mask)
    np.testing.assert_array_equal(BoxedMask.unpack(boxed.pack(), *mask.shape).full(), mask)
    if boxed:
        assert mask[boxed.rows.start].any() and mask[:, boxed.columns.stop - 1].any()
        rows, columns = slice(max(0, boxed.top - 2), 41), slice(max(0, boxed.left - 3), 57)
        np.testing.assert_array_equal(boxed.within(rows, columns), mask[rows, columns])
        larger = np.zeros((60, 70), bool)
        larger[5 : 5 + 41, 7 : 7 + 57] = mask
        np.testing.assert_array_equal(boxed.moved(5, 7, 60, 70).full(), larger)


def test_centroid_and_edges(mask: np.ndarray) -> None:
    boxed = BoxedMask.of(mask)
    places = np.argwhere(mask)[:, ::-1]
    if not len(places):
        assert np.isnan(boxed.centroid).all() and not len(boxed.edges())
        return
    np.testing.assert_allclose(boxed.centroid, places.mean(axis=0) + 0.5, rtol=1e-12)
    rows = np.unique(places[:, 1])
    expected = {(int(places[places[:, 1] == row, 0].min()), int(row)) for row in rows}
    expected |= {(int(places[places[:, 1] == row, 0].max()), int(row)) for row in rows}
    assert {(int(x), int(y)) for x, y in boxed.edges()} == expected
