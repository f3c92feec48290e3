"""A pipeline folder looked at in advance: refused as loading it would refuse it, and no weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion import components
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion, load_pipeline, save_pipeline
from mouse_facelift.mvdiffusion.preflight import check_pipeline
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET

UNET = "unet/diffusion_pytorch_model.safetensors"


def _edit(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _without(folder: Path, name: str) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _cut(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def _reshaped(folder: Path) -> None:
    weights = load_file(folder / UNET)
    weights["conv_out.bias"] = torch.zeros(7)
    save_file(weights, folder / UNET, metadata={"format": "pt"})


@pytest.fixture
def folder(pipeline_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline_folder, tmp_path / "pipeckpts"))


def test_a_whole_folder_passes_and_none_of_its_weights_are_read(
    folder: Path, pixel_pipeline: MVDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pipeline(pixel_pipeline, tmp_path / "pixels")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    for name in ("load_file", "read_unet"):
        monkeypatch.setattr(components, name, never)
    kept = {"scheduler", "image_noising_scheduler", "feature_extractor", "tokenizer"}
    readers = {name: read if name in kept else never for name, read in components.READERS.items()}
    monkeypatch.setattr(components, "READERS", readers)
    check_pipeline(folder)
    check_pipeline(folder, cameras="rays", slots=REFERENCE_AND_TARGET)
    check_pipeline(tmp_path / "pixels")


def test_pickled_weights_are_looked_at_too(folder: Path) -> None:
    weights = load_file(folder / UNET)
    (folder / UNET).unlink()
    torch.save(weights, folder / "unet" / "diffusion_pytorch_model.bin")
    check_pipeline(folder)
    weights["conv_out.bias"] = torch.zeros(7)
    torch.save(weights, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"'conv_out.bias' has shape \[7\], config.json says \[4\]"):
        check_pipeline(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _without(f, "model_index.json"), "model_index.json: cannot be read"),
        (lambda f: _without(f, "vae"), "component 'vae' is named in model_index.json but its folder is missing"),
        (lambda f: _without(f, "unet"), "component 'unet' is named in model_index.json but its folder is missing"),
        (lambda f: _edit(f, "model_index.json", vae=[None, None]), "denoises 4 channels, but pixels have 3"),
        (lambda f: _edit(f, "model_index.json", tokenizer=[None, None]), "'tokenizer' is missing; .* of no use"),
        (lambda f: _without(f, UNET), "the UNet has no weights, copy the file"),
        (lambda f: _without(f, "image_encoder/model.safetensors"), "model.safetensors: is missing; the component has"),
        (lambda f: _without(f, "text_encoder/config.json"), "text_encoder/config.json: cannot be read"),
        (lambda f: _cut(f, "vae/diffusion_pytorch_model.safetensors"), "vae/.*: cannot be read .* damaged, copy it"),
        (lambda f: _cut(f, UNET), "unet/.*: cannot be read .* damaged, copy it anew"),
        (lambda f: _edit(f, "unet/config.json", in_channels=14), r"'conv_in.weight' has shape \[16, 8, 3, 3\]"),
        (_reshaped, r"'conv_out.bias' has shape \[7\]"),
        (lambda f: _edit(f, "vae/config.json", latent_channels=16), "denoises 4 channels, but the VAE makes 16"),
        (lambda f: _edit(f, "image_encoder/config.json", projection_dim=99), "vectors of width 32, .* makes 198"),
        (lambda f: _edit(f, "text_encoder/config.json", hidden_size=768), "text_encoder: shape .*768.* width 24"),
    ],
)
def test_what_loading_would_refuse_is_refused_in_advance(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        check_pipeline(folder)
    with pytest.raises(InputError):
        load_pipeline(folder)


def test_the_customers_prompt_embeddings_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.save(torch.randn(6, 77, 768), tmp_path / "clr_embeds.pt")
    with pytest.raises(InputError, match=r"clr_embeds.pt: shape \[6, 77, 768\].*width 24"):
        check_pipeline(folder, tmp_path / "clr_embeds.pt")
    with pytest.raises(InputError, match="its tokens are of the slots front, .*, wanted are reference, target"):
        torch.save(torch.randn(6, 77, 24), tmp_path / "clr_embeds.pt")
        check_pipeline(folder, tmp_path / "clr_embeds.pt", slots=REFERENCE_AND_TARGET)
