"""The parts GS-LRM is put together from: tokens of patches, attention, transformer blocks, the free tokens' head.

Plain PyTorch without biases, with the names of FaceLift's parameters. Attention is
`torch.nn.functional.scaled_dot_product_attention`, which picks a flash kernel by itself on GPUs in half precision.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mouse_facelift.gslrm.config import GAUSSIAN_CHANNELS
from mouse_facelift.gslrm.patches import to_patches


class PatchTokens(nn.Module):
    """Pixel vectors of all views -> one flat vector per patch, views one after another."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, pixels: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b tokens features"]:
        return to_patches(pixels, self.patch_size).flatten(3).flatten(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection, its thirds in the order query, key, value.

    Tokens that are not `real` only fill a batch up, and are attended to by none.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "b tokens d"], real: Bool[Tensor, "b 1 1 tokens"] | None = None
    ) -> Float[Tensor, "b tokens d"]:
        query, key, value = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real)
        return self.fc(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with an exact GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, False))

    def forward(self, x: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        return self.mlp(x)


class Block(nn.Module):
    """A pre-norm transformer block without biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width)

    def forward(
        self, x: Float[Tensor, "b tokens d"], real: Bool[Tensor, "b 1 1 tokens"] | None = None
    ) -> Float[Tensor, "b tokens d"]:
        x = x + self.attn(self.norm1(x), real)
        return x + self.mlp(self.norm2(x))


class FreeHead(nn.Module):
    """A free token -> the raw numbers of one Gaussian."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width, bias=False)
        self.linear = nn.Linear(width, GAUSSIAN_CHANNELS, bias=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n 14"]:
        return self.linear(self.layernorm(tokens))
