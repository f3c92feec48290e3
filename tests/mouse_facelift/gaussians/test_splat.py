from __future__ import annotations

import struct
from dataclasses import replace

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices
from mouse_facelift.gaussians.splat import decode_splat, encode_splat
from tests.synthetic import blob


def test_the_layout_of_one_gaussian() -> None:
    one = Gaussians(
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[0.1, 0.2, 0.3]]),
        torch.tensor([[0.0, 2.0, 0.0, 0.0]]),
        torch.tensor([0.5]),
        torch.tensor([[1.0, 0.0, 1.4]]),
    )
    data = encode_splat(one)
    assert len(data) == 32
    assert struct.unpack("<6f", data[:24]) == pytest.approx((1, 2, 3, 0.1, 0.2, 0.3))
    assert list(data[24:]) == [255, 0, 255, 128, 128, 255, 128, 128]


def test_round_trip_with_the_largest_first() -> None:
    truth = replace(blob(3, 50), scales=torch.rand(50, 3) * 0.1 + 0.01, opacities=torch.rand(50))
    back = decode_splat(encode_splat(truth))
    order = torch.argsort(truth.scales.double().prod(-1) * truth.opacities, descending=True, stable=True)
    truth = truth.select(order)
    assert torch.equal(back.means, truth.means) and torch.equal(back.scales, truth.scales)
    assert (back.colours - truth.colours).abs().max() <= 0.5 / 255 + 1e-6
    assert (back.opacities - truth.opacities).abs().max() <= 0.5 / 255 + 1e-6
    turned = rotation_matrices(back.rotations) - rotation_matrices(truth.rotations)
    assert turned.abs().max() < 0.03


def test_nothing_at_all_is_an_empty_file() -> None:
    assert encode_splat(Gaussians.empty()) == b"" and len(decode_splat(b"")) == 0


def test_bad_values_and_bad_files_are_named() -> None:
    broken = replace(blob(0, 5), opacities=torch.tensor([1, 1, torch.nan, 1, 1]))
    with pytest.raises(InputError, match="x.splat: 1 of 5 Gaussians are not finite"):
        encode_splat(broken, "x.splat")
    with pytest.raises(InputError, match="x.splat: its 33 bytes"):
        decode_splat(b"\0" * 33, "x.splat")
    with pytest.raises(InputError, match="x.splat: 1 of 1 Gaussians are not finite"):
        decode_splat(struct.pack("<6f", torch.nan, 0, 0, 1, 1, 1) + b"\0" * 8, "x.splat")
