from __future__ import annotations

import numpy as np
import pytest
import torch

from mouse_facelift.gaussians.gaussians import rotation_matrices
from mouse_facelift.gaussians.quantising import (
    ROTATION_ERROR_DEGREES,
    from_levels,
    pack_rotations,
    to_levels,
    unpack_rotations,
)


def turned_degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between the rotations of quaternions."""
    difference = rotation_matrices(torch.from_numpy(a)).mT @ rotation_matrices(torch.from_numpy(b))
    cosine = (difference.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).numpy()


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_levels_err_by_half_a_step_and_keep_both_ends(bits: int) -> None:
    values = np.random.default_rng(bits).uniform(-3.0, 5.0, (500, 3))
    lower, upper = values.min(0), values.max(0)
    back = from_levels(to_levels(values, lower, upper, bits), lower, upper, bits)
    assert (np.abs(back - values) <= (upper - lower) / (2**bits - 1) / 2 * (1 + 1e-9)).all()
    assert (back.min(0) == lower).all() and (back.max(0) == upper).all()
    assert np.abs(back - values).max() > (upper - lower).min() / 2**bits / 4


def test_a_range_of_one_value_comes_back() -> None:
    levels = to_levels(np.full(3, 0.7), 0.7, 0.7, 16)
    assert from_levels(levels, 0.7, 0.7, 16) == pytest.approx(0.7)


def test_rotations_keep_within_their_bound() -> None:
    quaternions = np.random.default_rng(0).normal(size=(20_000, 4))
    turned = turned_degrees(quaternions, unpack_rotations(pack_rotations(quaternions)))
    assert ROTATION_ERROR_DEGREES / 2 < turned.max() <= ROTATION_ERROR_DEGREES


def test_rotations_of_the_axes_and_none_at_all() -> None:
    quaternions = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -2, 0], [0, 0, 0, 1e-6], [1, 1, 1, 1], [0, 0, 0, 0]])
    back = unpack_rotations(pack_rotations(quaternions))
    assert turned_degrees(quaternions, back).max() < ROTATION_ERROR_DEGREES
    assert (pack_rotations(quaternions) >> 30).tolist() == [0, 1, 2, 3, 0, 0]
    assert np.linalg.norm(back, axis=-1) == pytest.approx(np.ones(6))
