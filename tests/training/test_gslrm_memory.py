"""The memory estimate against what autograd really keeps, and the settings that profiles choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.presets import PRESETS as MODELS
from tests.synthetic import blob, ring_sample
from training.gslrm import PRESETS
from training.gslrm_memory import BLOCK_BYTES, GIB, PROFILES, USABLE, estimate_memory, parameter_count, with_profile

BIG = replace(PRESETS["mouse-512"], data="d", out=Path("o"))


@pytest.mark.parametrize("config", [MODELS["debug"], MODELS["demo"], GSLRMConfig(width=64, add_refsrc_marker=True)])
def test_parameters_are_counted_exactly(config: GSLRMConfig) -> None:
    with torch.device("meta"):
        model = GSLRM(config)
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())


def _kept(config: GSLRMConfig, half: bool) -> int:
    """Bytes that autograd keeps of a forward pass, besides the weights and their half-precision copies."""
    torch.manual_seed(0)
    model, sample = GSLRM(config), ring_sample(blob(), views=3, size=32)
    w2c, fxfycxcy = (torch.from_numpy(a).float()[None] for a in stack_cameras(sample.cameras))
    images = torch.from_numpy(sample.images).permute(0, 3, 1, 2)[None].float() / 255
    shapes = {p.shape for p in model.parameters()} | {p.T.shape for p in model.parameters() if p.ndim == 2}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.shape not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            gaussians = model(images, w2c, fxfycxcy)
    assert len(gaussians) == 1
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_block_keeps_what_the_estimate_says(precision: str) -> None:
    small = GSLRMConfig(image_size=32, width=128, layers=1)
    half = precision == "bf16"
    per_block = (_kept(replace(small, layers=3), half) - _kept(small, half)) / 2
    tokens = 3 * 16 + 2
    assert per_block / (tokens * small.width) == pytest.approx(BLOCK_BYTES[precision], rel=0.15)


def test_recomputing_and_deferring_save_memory() -> None:
    plain = replace(BIG, model=replace(BIG.model, checkpoint_every=0))
    kept, recomputed = (estimate_memory(c, 512).per_sample for c in (plain, BIG))
    deferred = estimate_memory(replace(BIG, views=replace(BIG.views, deferred=True)), 512).per_sample
    assert kept > 3 * recomputed > 3 * deferred
    assert estimate_memory(BIG, 256).per_sample < recomputed / 3.5
    assert estimate_memory(replace(BIG, ema_decay=0.99), 512).weights > estimate_memory(BIG, 512).weights


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_fit_their_gpu_and_keep_the_batch(profile: str) -> None:
    config = with_profile(replace(BIG, profile=profile))  # type: ignore[arg-type]
    estimate = estimate_memory(config, config.model.image_size)
    assert estimate.total(config.micro_batch) <= USABLE * PROFILES[profile] * GIB
    assert 1 <= config.micro_batch <= config.batch_size == BIG.batch_size
    assert with_profile(config) == config
    assert replace(config, profile="none", micro_batch=0, model=BIG.model, views=BIG.views) == BIG


def test_larger_gpus_recompute_less() -> None:
    chosen = {
        name: with_profile(replace(BIG, profile=name))  # type: ignore[arg-type]
        for name in PROFILES
    }
    assert chosen["gpu-12"].model.checkpoint_every == 1 and chosen["gpu-80"].model.checkpoint_every == 0
    assert chosen["gpu-24"].model.image_size == 512
    assert chosen["gpu-12"].micro_batch <= chosen["gpu-24"].micro_batch


def test_what_cannot_fit_is_refused() -> None:
    huge = replace(BIG, profile="gpu-12", model=replace(BIG.model, width=4096, layers=48))
    with pytest.raises(InputError, match="--profile gpu-12: a model of 9,.* parameters does not fit"):
        with_profile(huge)
