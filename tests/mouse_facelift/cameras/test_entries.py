"""A calibration entry is read whole or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.cameras.entries import read_matrices
from mouse_facelift.errors import InputError

SHAPES = {"K": ((3, 3),), "T": ((3,), (3, 1))}


def test_matrices_come_as_doubles_in_any_allowed_shape():
    found = read_matrices(
        Path("c.pkl"), "0", {"K": np.eye(3, dtype=int).tolist(), "T": [[1], [2], [3]], "x": 0}, SHAPES
    )
    assert list(found) == ["K", "T"] and found["K"].dtype == np.float64 and found["T"].shape == (3, 1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"K": np.eye(3)}, "c.pkl: camera 0 has no T, only K; expected K, T"),
        ({"K": np.eye(4), "T": np.zeros(3)}, r"K has shape \(4, 4\), expected \(3, 3\)"),
        ({"K": "three", "T": np.zeros(3)}, "K is not a matrix of numbers"),
    ],
)
def test_anything_else_is_refused_by_name(entry, message):
    with pytest.raises(InputError, match=message):
        read_matrices(Path("c.pkl"), "0", entry, SHAPES)
