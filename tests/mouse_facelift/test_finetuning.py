"""Fine-tuning starts from the very same outputs, trains what it says, and leaves plain weights behind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.checkpoints import load_gslrm, write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.finetuning import (
    FinetuneConfig,
    LoRALinear,
    learning_rate_scales,
    load_lora_state,
    lora_state,
    merge_lora,
    merged_state_dict,
    prepare,
)
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM

TINY = GSLRMConfig(image_size=16, width=64, layers=3)


@pytest.fixture
def model() -> GSLRM:
    torch.manual_seed(0)
    return GSLRM(TINY)


def outputs(model: nn.Module) -> Float[Tensor, "n 7"]:
    w2c, fxfycxcy = (torch.as_tensor(a).float()[None, :2] for a in stack_cameras(facelift_rig()))
    images = torch.rand(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    gaussians = model(images, w2c, fxfycxcy / 32)
    return torch.cat([gaussians.means[0], gaussians.rotations[0]], dim=1)


def with_gradients(model: nn.Module) -> set[str]:
    outputs(model).square().sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


def trained(model: nn.Module) -> set[str]:
    """Random steps on everything trainable, large enough to matter."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name in sorted(names):
            parameter = model.get_parameter(name)
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return names


ATTENTION = ("attn.to_qkv", "attn.fc")
MLP = ("mlp.mlp.0", "mlp.mlp.2")


@pytest.mark.parametrize(
    ("targets", "freeze", "layers", "maps"),
    [
        ("both", 0, (0, 1, 2), ATTENTION + MLP),
        ("attention", 0, (0, 1, 2), ATTENTION),
        ("mlp", 2, (2,), MLP),
    ],
)
def test_lora_starts_equal_and_trains_the_corrections_alone(
    model: GSLRM, targets: Any, freeze: int, layers: tuple[int, ...], maps: tuple[str, ...]
) -> None:
    before = outputs(model)
    config = FinetuneConfig(mode="lora", lora_rank=4, lora_targets=targets, freeze_layers=freeze)
    assert prepare(model, config) is model
    assert torch.equal(outputs(model), before)
    wrapped = {f"transformer_layers.{layer}.{name}" for layer in layers for name in maps}
    # The other factor's gradient is zero while `lora_up` is.
    assert with_gradients(model) == {f"{name}.lora_up" for name in wrapped}
    names = trained(model)
    assert names == {f"{name}.{part}" for name in wrapped for part in ("lora_up", "lora_down")}
    assert not torch.allclose(outputs(model), before, atol=1e-3)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_lora_starts_equal_in_half_precision_too(model: GSLRM, half: torch.dtype) -> None:
    with torch.autocast("cpu", half):
        before = outputs(model)
        assert torch.equal(outputs(prepare(model, FinetuneConfig(mode="lora"))), before)


@torch.no_grad()
def test_merging_gives_the_plain_model_that_does_the_same(model: GSLRM) -> None:
    plain, names = copy.deepcopy(model), list(model.state_dict())
    prepare(model, FinetuneConfig(mode="lora", lora_rank=4, lora_alpha=8.0))
    trained(model)
    wrapped = outputs(model)
    merged = merged_state_dict(model)
    assert list(merged) == names and any(isinstance(m, LoRALinear) for m in model.modules())
    plain.load_state_dict(merged)
    torch.testing.assert_close(outputs(plain), wrapped, atol=1e-6, rtol=1e-5)
    assert merge_lora(model) is model and not any(isinstance(m, LoRALinear) for m in model.modules())
    state = model.state_dict()
    assert list(state) == names and all(torch.equal(state[name], merged[name]) for name in names)


@torch.no_grad()
def test_a_lora_run_exports_a_plain_checkpoint_and_resumes_to_the_bit(model: GSLRM, tmp_path: Any) -> None:
    config = FinetuneConfig(mode="lora", lora_rank=2)
    trained(prepare(model, config))
    folder, state = tmp_path / "checkpoint", {"lora": lora_state(model)}
    settings = {"model": to_plain(TINY)}
    weights = merged_state_dict(model)
    write_checkpoint(folder, kind="gslrm", weights=weights, config=settings, metrics={}, state=state)
    again = load_gslrm(folder)
    torch.testing.assert_close(outputs(again), outputs(model), atol=1e-6, rtol=1e-5)
    load_lora_state(prepare(again, config), torch.load(folder / "state.pt", weights_only=True)["lora"])
    assert torch.equal(outputs(again), outputs(model))
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(InputError, match="only in one"):
        load_lora_state(GSLRM(TINY), lora_state(model))
    with pytest.raises(InputError, match="has shape"):
        load_lora_state(prepare(GSLRM(TINY), FinetuneConfig(mode="lora", lora_rank=3)), lora_state(model))


def test_freezing_and_heads_train_what_they_say(model: GSLRM) -> None:
    every = {name for name, _ in model.named_parameters()}
    heads = {name for name in every if model.depth_of(name) == 4}
    assert with_gradients(prepare(copy.deepcopy(model), FinetuneConfig())) == every
    assert with_gradients(prepare(copy.deepcopy(model), FinetuneConfig(mode="heads"))) == heads
    found = with_gradients(prepare(copy.deepcopy(model), FinetuneConfig(freeze_layers=2)))
    assert found == heads | {name for name in every if name.startswith("transformer_layers.2.")}
    # What was frozen before may be trained again.
    assert with_gradients(prepare(prepare(model, FinetuneConfig(mode="heads")), FinetuneConfig())) == every


def test_learning_rates_fall_towards_the_input(model: GSLRM) -> None:
    config = FinetuneConfig(layer_lr_decay=0.5)
    scales = learning_rate_scales(prepare(model, config), config)
    assert scales.keys() == {name for name, _ in model.named_parameters()}
    assert scales["pixel_gaussian_decoder.1.weight"] == scales["gaussian_upsampler.layernorm.weight"] == 1.0
    blocks = [scales[f"transformer_layers.{n}.norm1.weight"] for n in range(3)]
    assert blocks == [0.125, 0.25, 0.5]
    assert scales["gaussian_position_embeddings"] == scales["patch_embedder.1.weight"] == 0.0625
    config = FinetuneConfig(mode="lora", lora_targets="mlp", layer_lr_decay=0.5, freeze_layers=2)
    scales = learning_rate_scales(prepare(model, config), config)
    assert set(scales.values()) == {0.5} and len(scales) == 4
    assert set(learning_rate_scales(model, FinetuneConfig()).values()) == {1.0}


def test_the_linear_maps_of_diffusers_are_found() -> None:
    from diffusers.models.attention import BasicTransformerBlock

    torch.manual_seed(0)
    model = BasicTransformerBlock(32, 2, 16, cross_attention_dim=24)
    x, context = torch.rand(1, 5, 32), torch.rand(1, 3, 24)
    before = model(x, encoder_hidden_states=context)
    prepare(model, FinetuneConfig(mode="lora", lora_rank=4))
    assert torch.equal(model(x, encoder_hidden_states=context), before)
    attention = {f"{a}.{b}" for a in ("attn1", "attn2") for b in ("to_q", "to_k", "to_v", "to_out.0")}
    wrapped = {name for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    assert wrapped == attention | {"ff.net.0.proj", "ff.net.2"}
    trained(model)
    after = model(x, encoder_hidden_states=context)
    assert not torch.allclose(after, before, atol=1e-3)
    merged = merge_lora(model)(x, encoder_hidden_states=context)
    torch.testing.assert_close(merged, after, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_is_refused(model: GSLRM) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"freeze_layers": -1}, "freeze_layers"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_alpha": 0.0}, "lora_alpha"),
        ({"layer_lr_decay": 1.1}, "layer_lr_decay"),
        ({"layer_lr_decay": 0.0}, "layer_lr_decay"),
    ]
    for fields, message in wrong:
        with pytest.raises(InputError, match=message):
            FinetuneConfig(**fields)
    with pytest.raises(InputError, match="the model has 3 layers"):
        prepare(model, FinetuneConfig(freeze_layers=4))
    with pytest.raises(InputError, match="lora_targets"):
        prepare(model, FinetuneConfig(mode="lora", freeze_layers=3))
    plain = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(InputError, match="which layers come first"):
        prepare(plain, FinetuneConfig(mode="heads"))
    with pytest.raises(InputError, match="which layers come first"):
        learning_rate_scales(plain, FinetuneConfig(layer_lr_decay=0.9))
    assert prepare(plain, FinetuneConfig()) is plain
