"""VGG's convolutions (Simonyan and Zisserman 2014), as far as the last layer that is asked for.

Both networks of that paper that people measure with are the same five blocks of 3x3 convolutions with a ReLU each and
a halving between blocks; they differ in the number of convolutions per block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

VGG16_BLOCKS = (2, 2, 3, 3, 3)
VGG19_BLOCKS = (2, 2, 4, 4, 4)
"""Convolutions in each block; channels double from 64 to 512."""

Pooling = Literal["max", "average"]


def layer_channels(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Input and output channels of every convolution, in order."""
    widths = [min(64 * 2**block, 512) for block, count in enumerate(blocks) for _ in range(count)]
    return list(zip([3, *widths[:-1]], widths, strict=True))


def smallest_side(blocks: Sequence[int], taps: Sequence[int]) -> int:
    """The smallest picture whose features at the last tap still hold a pixel."""
    ends = [sum(blocks[: block + 1]) for block in range(len(blocks))]
    return 2 ** sum(end < max(taps) for end in ends)


class VGG(nn.Module):
    """The features after the ReLUs of chosen convolutions. Frozen: gradients flow to the pictures alone.

    Args:
        blocks: `VGG16_BLOCKS` or `VGG19_BLOCKS`.
        taps: numbers of the convolutions to report, counted from 1, rising; later ones are not built.
        pooling: how each 2x2 pixels become one between blocks.
    """

    def __init__(self, blocks: Sequence[int], taps: Sequence[int], pooling: Pooling) -> None:
        super().__init__()
        self.taps = frozenset(taps)
        self.pooling: Pooling = pooling
        ends = {sum(blocks[: block + 1]) for block in range(len(blocks))}
        self.pool_before = frozenset(end + 1 for end in ends)
        shapes = layer_channels(blocks)[: max(taps)]
        for number, (inputs, outputs) in enumerate(shapes, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, 3, padding=1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Features at the taps, in order."""
        pool = F.max_pool2d if self.pooling == "max" else F.avg_pool2d
        found = []
        for number, convolution in enumerate(self.children(), start=1):
            x = F.relu(convolution(pool(x, 2) if number in self.pool_before else x))
            if number in self.taps:
                found.append(x)
        return found
