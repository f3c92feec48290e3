"""The denoiser: FaceLift's sizes, added channels that change nothing, and slots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.attention import install
from mouse_facelift.mvdiffusion.unet import (
    REFERENCE_AND_TARGET,
    Adapter,
    MultiViewUNet,
    UNetConfig,
    build_unet,
    from_base,
    with_ray_channels,
)
from tests.mouse_facelift.mvdiffusion.conftest import TINY, masked_pipeline, scramble


def test_facelifts_size() -> None:
    with torch.device("meta"):
        unet: Any = build_unet(UNetConfig())
    shapes = {name: list(tensor.shape) for name, tensor in unet.state_dict().items()}
    assert len(shapes) == 690 and sum(p.numel() for p in unet.parameters()) == 870_184_644
    assert shapes["conv_in.weight"] == [320, 8, 3, 3] and shapes["class_embedding.linear_1.weight"] == [1280, 2048]
    assert shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"] == [1280, 1024]
    assert install(unet) == 16
    assert unet.up_blocks[3].attentions[0].transformer_blocks[0].attn1.heads == 5


def single_image_unet() -> UNet2DConditionModel:
    """As Stable Diffusion 2.1-unCLIP: four input channels."""
    torch.manual_seed(0)
    config: Any = dict(build_unet(TINY).config) | {"in_channels": 4}
    base: Any = UNet2DConditionModel.from_config(config)
    scramble(base)
    return base.eval()


@torch.no_grad()
def test_a_base_given_more_channels_says_the_same() -> None:
    base = single_image_unet()
    noisy, condition, rays = torch.randn(2, 1, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 1, 6, 8, 8)
    vectors, tokens, steps = torch.randn(2, 1, 32), torch.randn(1, 5, 24), torch.tensor([[3], [900]])
    # One view: the multi-view rule is then ordinary attention, so that the base itself can be the judge.
    before = base(noisy[:, 0], steps[:, 0], tokens.expand(2, -1, -1), class_labels=vectors[:, 0]).sample
    multi_view = from_base(base)
    assert multi_view.conv_in.weight.shape[1] == 8
    after = MultiViewUNet(multi_view, tokens, ("front",))(noisy, condition, steps, vectors)
    assert (after[:, 0] - before).abs().max() < 1e-6
    posed = MultiViewUNet(with_ray_channels(multi_view), tokens, ("front",))
    assert posed.unet.conv_in.weight.shape[1] == 14 and posed.cameras == "rays"
    assert (posed(noisy, condition, steps, vectors, rays)[:, 0] - before).abs().max() < 1e-6


@torch.no_grad()
def test_rays_added_to_a_six_view_model_change_nothing_at_first() -> None:
    torch.manual_seed(0)
    unet = build_unet(TINY).eval()
    noisy, condition, rays = torch.randn(2, 6, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 6, 6, 8, 8)
    arguments = (noisy, condition, torch.full((2, 6), 500), torch.randn(2, 6, 32))
    tokens = torch.randn(6, 5, 24)
    plain = MultiViewUNet(unet, tokens)(*arguments)
    posed = MultiViewUNet(with_ray_channels(unet), tokens)
    assert (posed(*arguments, rays) - plain).abs().max() < 1e-6
    posed.unet.conv_in.weight[:, -1] = 0.1
    assert (posed(*arguments, rays) - plain).abs().max() > 1e-4


def test_a_new_model_with_rays_starts_blind_to_them_and_can_learn() -> None:
    unet = build_unet(replace(TINY, camera_conditioning="rays"))
    assert not unet.conv_in.weight[:, -6:].any() and unet.conv_in.weight[:, :-6].any()
    model = MultiViewUNet(unet, torch.randn(2, 3, 24), REFERENCE_AND_TARGET)
    out = model(
        torch.randn(1, 3, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.zeros(1, 3, dtype=torch.long),
        torch.randn(1, 3, 32), torch.randn(1, 3, 6, 8, 8),
    )  # fmt: skip
    out.square().mean().backward()
    gradient = unet.conv_in.weight.grad
    assert gradient is not None and gradient[:, -6:].abs().max() > 0


def test_learned_tokens_are_trained_and_prompt_embeddings_are_not() -> None:
    unet = build_unet(TINY)
    fixed, learned = (MultiViewUNet(unet, torch.randn(6, 3, 24), learned=kind) for kind in (False, True))
    assert "tokens" not in dict(fixed.named_parameters()) and "tokens" in fixed.state_dict()
    assert "tokens" in dict(learned.named_parameters())


def test_slots_of_views() -> None:
    unet = build_unet(TINY)
    six = MultiViewUNet(unet, torch.randn(6, 3, 24))
    assert six.slot_indices(6).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="4 views, but the model has the 6 slots"):
        six.slot_indices(4)
    free = MultiViewUNet(unet, torch.randn(2, 3, 24), REFERENCE_AND_TARGET)
    assert free.slot_indices(4).tolist() == [0, 1, 1, 1]


def test_what_does_not_fit_is_refused() -> None:
    unet = build_unet(TINY)
    with pytest.raises(InputError, match="width 24.*text encoder"):
        MultiViewUNet(unet, torch.randn(6, 77, 16))
    with pytest.raises(InputError, match="5 sets of tokens for 6 slots"):
        MultiViewUNet(unet, torch.randn(5, 77, 24))
    model = MultiViewUNet(unet, torch.randn(6, 3, 24))
    noisy, condition, steps = torch.randn(1, 6, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.zeros(1, 6)
    with pytest.raises(InputError, match="needs image embeddings"):
        model(noisy, condition, steps)
    with pytest.raises(InputError, match="takes no cameras"):
        model(noisy, condition, steps, torch.randn(1, 6, 32), torch.randn(1, 6, 6, 8, 8))
    with pytest.raises(InputError, match="takes ray maps already"):
        with_ray_channels(with_ray_channels(unet))
    with pytest.raises(InputError, match="4 input channels"):
        MultiViewUNet(single_image_unet(), torch.randn(6, 3, 24))


@pytest.mark.parametrize(
    "fields", [{"attention_levels": (True,)}, {"head_width": 5}, {"sample_size": 7}, {"norm_groups": 7}]
)
def test_contradictions_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="UNet:"):
        replace(TINY, **fields)


def test_patches_are_a_rearrangement() -> None:
    adapter, maps = Adapter(patch=4), torch.randn(2, 3, 8, 16)
    inside = adapter.inwards(maps)
    assert inside.shape == (2, 48, 2, 4) and torch.equal(adapter.outwards(inside), maps)
    assert torch.allclose(adapter.averaged(maps)[0, 1, 1, 2], maps[0, 1, 4:8, 8:12].mean())
    assert torch.equal(Adapter().inwards(maps), maps) and torch.equal(Adapter().outwards(maps), maps)


@torch.no_grad()
def test_an_untrained_residual_model_says_the_first_guess() -> None:
    """The reference view is the reference image; of all others nothing is known but that the ground is grey."""
    model = masked_pipeline().model
    assert model.latent_channels == 4
    condition, rays = torch.randn(2, 4, 16, 16), torch.randn(2, 6, 6, 16, 16)
    said = model(torch.randn(2, 6, 4, 16, 16), condition, torch.full((2, 6), 999), None, rays)
    assert torch.equal(said[:, 0], condition)
    assert said[:, 1:, :3].eq(0).all() and said[:, 1:, 3].eq(-1).all()


@torch.no_grad()
def test_every_input_reaches_the_output_through_patches() -> None:
    model = masked_pipeline().model
    scramble(model)
    steps = torch.full((1, 6), 500)
    given = [torch.randn(1, 6, 4, 16, 16), torch.randn(1, 4, 16, 16), torch.randn(1, 6, 6, 16, 16)]
    before = model(given[0], given[1], steps, None, given[2])
    for which in range(3):
        other = [part.flip(0) if i != which else part + 0.5 for i, part in enumerate(given)]
        assert not torch.allclose(model(other[0], other[1], steps, None, other[2]), before)


def test_sizes_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="in patches of 3"):
        UNetConfig(sample_size=64, patch=3)
