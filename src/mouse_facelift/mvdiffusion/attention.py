"""Multi-view self-attention: every view sees itself and the front view, and nothing else.

The rule is FaceLift's (its "custom" sparse attention, inherited from Era3D) and needs no weights of its own: a stock
UNet's self-attention (`attn1`, 16 sites in the published size) is given, for each view, the keys and values of view 0
of the same object before its own. So view 0 is independent of all others, and side views of each other.

View 0 would see its own keys twice. Softmax over duplicated keys equals softmax over single ones, so it is attended
once: 2V - 1 blocks of L x L scores per object instead of 2V.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def install(unet: UNet2DConditionModel) -> int:
    """Give every self-attention of a stock UNet the multi-view rule, and say how many there are.

    Afterwards each call of the UNet states its number of views, `cross_attention_kwargs={"num_views": v}`, and its
    batch is `[object, view]` with the view fastest, copies for guidance included. Weights and their names stay.
    """
    processors = {
        name: FrontViewAttention() if name.endswith("attn1.processor") else TextAttention()
        for name in unet.attn_processors
    }
    sites = sum(isinstance(processor, FrontViewAttention) for processor in processors.values())
    # diffusers types the values by a closed list of its own classes, and empties the dictionary.
    unet.set_attn_processor(processors)  # pyright: ignore[reportArgumentType]
    return sites


class FrontViewAttention:
    """Self-attention over the front view's tokens and a view's own."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "bv n c"],
        encoder_hidden_states: Float[Tensor, "bv m c"] | None = None,
        attention_mask: Float[Tensor, "..."] | None = None,
        *,
        num_views: int,
    ) -> Float[Tensor, "bv n c"]:
        """The attention's output, projected.

        Raises:
            ValueError: called as cross-attention or with a mask, or the batch is not whole objects.
        """
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("multi-view attention is self-attention without a mask")
        if hidden_states.shape[0] % num_views:
            raise ValueError(f"a batch of {hidden_states.shape[0]} is not a whole number of {num_views} views")
        query, key, value = (
            _split_heads(project(hidden_states), attn.heads).unflatten(0, (-1, num_views))
            for project in _projections(attn)
        )
        front = _attend(query[:, :1], key[:, :1], value[:, :1])
        if num_views == 1:
            return _project_out(attn, front.flatten(0, 1))
        sides = _attend(query[:, 1:], _front_and_own(key), _front_and_own(value))
        return _project_out(attn, torch.cat([front, sides], dim=1).flatten(0, 1))


class TextAttention:
    """Ordinary cross-attention to a view's own tokens, in a UNet whose calls state their number of views."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "bv n c"],
        encoder_hidden_states: Float[Tensor, "bv m d"],
        attention_mask: Float[Tensor, "..."] | None = None,
        *,
        num_views: int,
    ) -> Float[Tensor, "bv n c"]:
        """The attention's output, projected.

        Raises:
            ValueError: called with a mask.
        """
        if attention_mask is not None:
            raise ValueError("attention to a view's tokens takes no mask")
        to_query, to_key, to_value = _projections(attn)
        query = _split_heads(to_query(hidden_states), attn.heads)
        key = _split_heads(to_key(encoder_hidden_states), attn.heads)
        value = _split_heads(to_value(encoder_hidden_states), attn.heads)
        return _project_out(attn, scaled_dot_product_attention(query, key, value))


def _projections(attn: Attention) -> tuple[nn.Module, nn.Module, nn.Module]:
    # diffusers types keys and values as optional; the attentions of this UNet have them.
    return attn.to_q, attn.to_k, attn.to_v  # pyright: ignore[reportReturnType]


def _front_and_own(part: Float[Tensor, "b v h n d"]) -> Float[Tensor, "b s h m d"]:
    """Keys or values of each side view: the front view's, then its own."""
    own = part[:, 1:]
    return torch.cat([part[:, :1].expand_as(own), own], dim=3)


def _attend(
    query: Float[Tensor, "b v h n d"], key: Float[Tensor, "b v h m d"], value: Float[Tensor, "b v h m d"]
) -> Float[Tensor, "b v h n d"]:
    """Attention of each view by itself (the kernels take one batch dimension)."""
    views = query.shape[:2]
    attended = scaled_dot_product_attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1))
    return attended.unflatten(0, views)


def _split_heads(tokens: Float[Tensor, "bv n c"], heads: int) -> Float[Tensor, "bv h n d"]:
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _project_out(attn: Attention, heads: Float[Tensor, "bv h n d"]) -> Float[Tensor, "bv n c"]:
    linear, dropout = attn.to_out  # pyright: ignore[reportGeneralTypeIssues]
    return dropout(linear(heads.transpose(1, 2).flatten(2)))
