"""What a piece of work takes is told apart from what was taken, and given back, before."""

from __future__ import annotations

import math

import pytest
import torch

from tune.memory import PeakMemory

MIB = 2**20


def peak_of(floats_mib: int, pieces: int) -> float:
    """Memory on top (MiB) of `pieces` tensors of so many MiB each, all there at once."""
    with PeakMemory() as memory:
        taken = [torch.ones(floats_mib * MIB // 4) for _ in range(pieces)]
        assert len(taken) == pieces
    return memory.above_start_mib


@pytest.mark.parametrize(("size", "pieces"), [(64, 1), (1, 64)])
def test_the_peak_is_that_of_the_work_alone(size: int, pieces: int) -> None:
    first = peak_of(size, pieces)
    if math.isnan(first):
        pytest.skip("this system does not tell a process's peak memory, or does not let it be reset")
    # The second finds the first one's memory freed, and must not take it for its own or for nothing.
    assert 60 < first < 90
    assert 60 < peak_of(size, pieces) < 90
