from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.compressed_ply import (
    CHUNK,
    decode_compressed_ply,
    encode_compressed_ply,
    morton_order,
)
from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices
from tests.synthetic import blob


def many(count: int) -> Gaussians:
    gaussians = blob(5, count)
    spread = torch.exp(torch.randn(count, 3, generator=torch.Generator().manual_seed(2)) - 2)
    return replace(gaussians, scales=spread, colours=gaussians.colours * 2)


def test_two_gaussians_word_by_word_as_public_readers_unpack_them() -> None:
    half = math.sqrt(0.5)
    two = Gaussians(
        torch.tensor([[-1.0, 0.0, 2.0], [3.0, 4.0, 5.0]]),
        torch.tensor([[math.e, 1.0, 1.0], [math.e**3, 1.0, 2.0]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0], [half, 0.0, 0.0, -half - 1e-3]]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([[0.0, 0.25, 1.5], [1.0, 0.5, 0.5]]),
    )
    data = encode_compressed_ply(two)
    body = data[data.index(b"end_header\n") + 11 :]
    assert b"element chunk 1\n" in data and b"element vertex 2\n" in data and len(body) == 18 * 4 + 2 * 16
    ends = struct.unpack("<18f", body[:72])
    assert ends[:6] == (-1, 0, 2, 3, 4, 5) and ends[6:12] == pytest.approx((1, 0, 0, 3, 0, math.log(2)))
    assert ends[12:] == (0.0, 0.25, 0.5, 1.0, 0.5, 1.5)
    position, rotation, scale, colour = struct.unpack("<4I", body[72:88])
    assert (position, scale) == (0, 0) and colour == 0x0000FF00
    assert rotation >> 30 == 0 and all(abs((rotation >> s & 1023) - 511.5) < 1 for s in (20, 10, 0))
    position, rotation, scale, colour = struct.unpack("<4I", body[88:])
    assert position == 0xFFFFFFFF and scale == 2047 << 21 | 2047 and colour == 0xFFFF00FF
    # z is largest and was negative: the quaternion is written as its negative, w first of what is left.
    assert rotation >> 30 == 3 and (rotation >> 20 & 1023) < 3


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 1000])
def test_round_trip_within_each_chunks_steps(count: int) -> None:
    truth = many(count)
    back = decode_compressed_ply(encode_compressed_ply(truth))
    truth = truth.select(torch.from_numpy(morton_order(truth.means.numpy())))
    for start in range(0, count, CHUNK):
        part = torch.arange(start, min(start + CHUNK, count))
        a, b = truth.select(part), back.select(part)
        for x, y, bits in ((a.means, b.means, 10), (a.scales.log(), b.scales.log(), 10), (a.colours, b.colours, 8)):
            step = (x.amax(0) - x.amin(0)) / (2**bits - 1)
            assert ((x - y).abs() <= step / 2 + 1e-5).all()
        assert (a.opacities - b.opacities).abs().max() <= 0.5 / 255 + 1e-6
        assert (rotation_matrices(a.rotations) - rotation_matrices(b.rotations)).abs().max() < 0.006


def test_morton_order_keeps_neighbours_together() -> None:
    points = np.random.default_rng(0).uniform(size=(4096, 3))
    ordered = points[morton_order(points)]
    assert sorted(morton_order(points)) == list(range(4096))
    volumes, unordered = (np.ptp(p.reshape(-1, CHUNK, 3), axis=1).prod(-1).mean() for p in (ordered, points))
    assert volumes < 0.2 * unordered


def test_nothing_at_all() -> None:
    assert len(decode_compressed_ply(encode_compressed_ply(Gaussians.empty()))) == 0


def test_bad_files_are_one_line() -> None:
    data = encode_compressed_ply(many(3))
    with pytest.raises(InputError, match="x.ply: ends before its 3 Gaussians"):
        decode_compressed_ply(data[:-1], "x.ply")
    for bad in (b"", b"ply\n", data.replace(b"packed_scale", b"packed_skale"), data.replace(b"chunk 1", b"chunk 2")):
        with pytest.raises(InputError, match="x.ply: "):
            decode_compressed_ply(bad, "x.ply")
    broken = replace(many(2), scales=torch.tensor([[1.0, 1, 1], [0, 1, 1]]))
    with pytest.raises(InputError, match="scales above 0"):
        encode_compressed_ply(broken)
