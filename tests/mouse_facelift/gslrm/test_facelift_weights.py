"""FaceLift's file: read strictly, written so that it can be read, and the same Gaussians from the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.facelift_weights import (
    infer_config,
    read_facelift_weights,
    vgg_shapes,
    write_facelift_weights,
)
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.rays import invert_rigid
from mouse_facelift.perceptual.weights import FACELIFT_PREFIX
from tests.facelift_gslrm import FaceLift

TINY = GSLRMConfig(image_size=32, width=128, layers=2, free_gaussians=3)


def random_state(config: GSLRMConfig, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return GSLRM(config).state_dict()


@pytest.fixture(scope="session")
def vgg() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(shape, generator=generator) for name, shape in vgg_shapes().items()}


def save_as_trained(file: Path, state: dict[str, Tensor], vgg: dict[str, Tensor], **extra: Any) -> Path:
    """As FaceLift's trainer leaves it."""
    model = state | {FACELIFT_PREFIX + name: tensor for name, tensor in vgg.items()}
    optimiser = {"state": {0: {"step": torch.tensor(21125.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1}]}
    counters = {"fwdbwd_pass_step": 21125, "param_update_step": 21125}
    torch.save({"model": model, "optimizer": optimiser, "lr_scheduler": {"last_epoch": 1}, **counters, **extra}, file)
    return file


def test_everything_of_use_is_taken_exactly(tmp_path: Path, vgg: dict[str, Tensor]) -> None:
    state = random_state(TINY)
    lpips = {"loss_calculator.lpips_loss_module.net.weight": torch.ones(2)}
    weights = read_facelift_weights(save_as_trained(tmp_path / "ckpt.pt", state | lpips, vgg), image_size=32)
    assert weights.config == TINY and weights.step == 21125
    assert list(weights.model) == list(state)
    assert all(torch.equal(weights.model[name], state[name]) for name in state)
    assert list(weights.vgg) == list(vgg) and all(torch.equal(weights.vgg[name], vgg[name]) for name in vgg)
    assert weights.dropped == {"loss_calculator.lpips_loss_module": 1, "optimizer": 1, "lr_scheduler": 1}


def test_the_published_perceptual_network_is_described() -> None:
    shapes = vgg_shapes()
    assert len(shapes) == 32 and sum(int(np.prod(shape)) for shape in shapes.values()) == 20_024_384
    assert shapes["conv9.weight"] == (512, 256, 3, 3) and list(shapes)[-1] == "conv16.bias"


def test_written_files_are_read_back_exactly(tmp_path: Path, vgg: dict[str, Tensor]) -> None:
    config = replace(TINY, add_refsrc_marker=True)
    state = random_state(config)
    for perceptual in (vgg, None):
        write_facelift_weights(tmp_path / "out" / "ckpt.pt", config, state, perceptual)
        content = torch.load(tmp_path / "out" / "ckpt.pt", weights_only=True)
        assert content.keys() == {"model", "fwdbwd_pass_step", "param_update_step"}
        assert content["param_update_step"] == content["fwdbwd_pass_step"] == 0
        weights = read_facelift_weights(tmp_path / "out" / "ckpt.pt", image_size=32)
        assert weights.config == config and weights.step == 0 and not weights.dropped
        assert all(torch.equal(weights.model[name], state[name]) for name in state)
        assert weights.vgg.keys() == (perceptual or {}).keys()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ckpt.pt"]


def test_models_that_facelift_cannot_run_are_not_written(tmp_path: Path) -> None:
    config = replace(TINY, colour_base="pixel")
    with pytest.raises(InputError, match="colour_base 'pixel'"):
        write_facelift_weights(tmp_path / "ckpt.pt", config, random_state(config))
    with pytest.raises(InputError, match="'conv1.weight' is missing"):
        write_facelift_weights(tmp_path / "ckpt.pt", TINY, random_state(TINY), {"conv1.bias": torch.zeros(64)})
    assert not list(tmp_path.iterdir())


NORM, QKV = "transformer_layers.1.norm1.weight", "transformer_layers.0.attn.to_qkv.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update({"epoch": 3}), "holds 'epoch', which is no tensor"),
        (lambda state: state.pop(NORM), f"'{NORM}' is missing"),
        (lambda state: state.pop("gaussian_position_embeddings"), "'gaussian_position_embeddings' is missing"),
        (lambda state: state.update({"camera_head.weight": torch.ones(1)}), "'camera_head.weight' is unexpected"),
        (lambda state: state.update({QKV: torch.ones(128, 128)}), rf"'{QKV}' has shape \(128, 128\).*\(384, 128\)"),
        (lambda state: state.update({NORM: torch.full((128,), torch.nan)}), f"'{NORM}' holds .* not finite"),
        (lambda state: state.update({"patch_embedder.1.weight": torch.ones(128, 768)}), "takes 768 numbers per patch"),
        (lambda state: state.update({FACELIFT_PREFIX + "conv17.bias": torch.ones(1)}), "'conv17.bias' is unexpected"),
        (lambda state: state.update({"patch_embedder.1.weight": torch.ones(9)}), "is not a matrix"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, vgg: dict[str, Tensor], change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = dict(random_state(TINY))
    change(state)
    file = save_as_trained(tmp_path / "ckpt.pt", state, vgg)
    with pytest.raises(InputError, match=message) as caught:
        read_facelift_weights(file)
    assert str(caught.value).startswith(str(file))


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.pt"
    with pytest.raises(InputError, match="no such file"):
        read_facelift_weights(file)
    file.write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match="ckpt.pt: "):
        read_facelift_weights(file)
    torch.save(random_state(TINY), file)
    with pytest.raises(InputError, match="key 'model' is missing .found gaussian_position_embeddings"):
        read_facelift_weights(file)
    save_as_trained(file, random_state(TINY), {}, payload=Path("x").exists)
    with pytest.raises(InputError, match="more than tensors"):
        read_facelift_weights(file)


def test_sizes_are_told_by_shapes() -> None:
    for config in (GSLRMConfig(), GSLRMConfig(image_size=64, patch_size=4, width=64, layers=1, free_gaussians=5)):
        with torch.device("meta"):
            state = GSLRM(config).state_dict()
        assert infer_config(state, config.image_size) == config


@pytest.mark.slow
@torch.no_grad()
def test_the_full_size_model_gives_the_same_gaussians(tmp_path: Path, vgg: dict[str, Tensor]) -> None:
    file = save_as_trained(tmp_path / "ckpt_0000000000021125.pt", random_state(GSLRMConfig()), vgg)
    weights = read_facelift_weights(file)
    assert weights.config == GSLRMConfig() and len(weights.model) == 151 and len(weights.vgg) == 32
    with torch.device("meta"):
        model = GSLRM(weights.config)
    model.load_state_dict(weights.model, assign=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 303_565_824
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    w2c, fxfycxcy = (torch.as_tensor(array).float()[:2] for array in stack_cameras(facelift_rig()))
    fxfycxcy = fxfycxcy / 8
    found = model(images[None], w2c[None], fxfycxcy[None])
    state = torch.load(file, weights_only=True, mmap=True)["model"]
    wanted = FaceLift({name: t for name, t in state.items() if "loss" not in name}).gaussians(
        images, invert_rigid(w2c), fxfycxcy
    )
    for name, part in zip(
        ("means", "sh_dc", "log_scales", "rotations", "opacity_logits"), wanted.split((3, 3, 3, 4, 1), 1), strict=True
    ):
        torch.testing.assert_close(getattr(found, name)[0], part, atol=1e-5, rtol=1e-5)
