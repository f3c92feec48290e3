"""The attention rule: front and own view, against a formula written out densely."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from mouse_facelift.mvdiffusion.attention import FrontViewAttention, install
from mouse_facelift.mvdiffusion.unet import UNetConfig, build_unet

SMALL = UNetConfig(8, 4, (16, 32, 32, 32), (True, True, True, False), 2, 8, 8, 12, 20)


def multi_view_attention(width: int, heads: int) -> Any:
    attn: Any = Attention(width, heads=heads, dim_head=width // heads)
    attn.set_processor(FrontViewAttention())
    return attn


def dense(attn: Any, hidden: torch.Tensor, views: int) -> torch.Tensor:
    """Attention of all tokens of an object to all of them, everything the rule forbids masked, the front doubled."""
    batch, tokens, width = hidden.shape
    h = hidden.reshape(batch // views, views, tokens, width)
    out = torch.empty_like(h)
    for i in range(len(h)):
        for v in range(views):
            seen = torch.cat([h[i, 0], h[i, v]])
            parts = []
            for head in torch.arange(width).chunk(attn.heads):
                q = h[i, v] @ attn.to_q.weight[head].T
                k, x = (seen @ layer.weight[head].T for layer in (attn.to_k, attn.to_v))
                parts.append((q @ k.T / len(head) ** 0.5).softmax(dim=-1) @ x)
            out[i, v] = attn.to_out[0](torch.cat(parts, dim=-1))
    return out.reshape(hidden.shape)


@pytest.mark.parametrize(("objects", "views"), [(1, 6), (2, 6), (4, 3), (2, 2), (3, 1)])
@torch.no_grad()
def test_equals_the_dense_formula(objects: int, views: int) -> None:
    torch.manual_seed(0)
    attn = multi_view_attention(24, 3).double()
    hidden = 3 * torch.randn(objects * views, 10, 24, dtype=torch.double)
    found = attn(hidden, num_views=views)
    assert torch.allclose(found, dense(attn, hidden, views), rtol=0, atol=1e-12)
    single = attn.float()(hidden.float(), num_views=views)
    assert (single - found).abs().max() < 1e-6


def test_one_view_is_ordinary_attention() -> None:
    torch.manual_seed(0)
    attn: Any = Attention(24, heads=3, dim_head=8)
    hidden = torch.randn(4, 10, 24)
    ordinary = attn(hidden)
    attn.set_processor(FrontViewAttention())
    assert torch.allclose(attn(hidden, num_views=1), ordinary, atol=1e-6)


def test_sixteen_sites_and_no_new_weights() -> None:
    unet = build_unet(SMALL)
    stock = UNet2DConditionModel.from_config(unet.config)
    assert install(unet) == 16
    assert unet.state_dict().keys() == stock.state_dict().keys()  # pyright: ignore[reportAttributeAccessIssue]


@torch.no_grad()
def test_front_sees_itself_and_sides_see_the_front() -> None:
    torch.manual_seed(0)
    unet = build_unet(SMALL).eval()
    x, text, vectors = torch.randn(12, 8, 8, 8), torch.randn(12, 5, 12), torch.randn(12, 20)

    def run(batch: torch.Tensor) -> torch.Tensor:
        options = {"class_labels": vectors, "cross_attention_kwargs": {"num_views": 6}}
        return unet(batch, 7, text, **options).sample

    before = run(x)
    for changed in (0, 2):
        other = x.clone()
        other[6 + changed] += 1
        differs = [bool((a - b).abs().max() > 1e-5) for a, b in zip(before, run(other), strict=True)]
        # The second object's views alone: all of them for its front, one for a side.
        expected = [6 <= i and (changed == 0 or i == 6 + changed) for i in range(12)]
        assert differs == expected


def test_gradient_checkpointing_changes_nothing() -> None:
    torch.manual_seed(0)
    unet = build_unet(SMALL).train()
    x, text, vectors = torch.randn(3, 8, 8, 8), torch.randn(3, 5, 12), torch.randn(3, 20)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet.zero_grad()
        out = unet(x, 7, text, class_labels=vectors, cross_attention_kwargs={"num_views": 3}).sample
        out.square().mean().backward()
        found.append((out.detach(), unet.conv_in.weight.grad))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


def test_a_batch_that_is_not_whole_objects_is_a_bug() -> None:
    attn = multi_view_attention(8, 1)
    with pytest.raises(ValueError, match="not a whole number of 6 views"):
        attn(torch.randn(8, 4, 8), num_views=6)
    with pytest.raises(TypeError, match="num_views"):
        attn(torch.randn(6, 4, 8))
