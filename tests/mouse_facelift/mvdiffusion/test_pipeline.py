"""The pipeline folder: read and written in FaceLift's layout, strictly, and refused in one line when incomplete."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.components import published_config, stock_config
from mouse_facelift.mvdiffusion.conditioning import ViewCameras
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion, load_pipeline, save_pipeline
from mouse_facelift.mvdiffusion.sampling import SamplingConfig, sample, seeded
from tests.mouse_facelift.mvdiffusion.conftest import IMAGE_SIZE, masked_pipeline, scramble, tiny_pipeline

SHORT = SamplingConfig(steps=3)


def images(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))


def test_a_saved_pipeline_samples_bit_for_bit_alike(pipeline: MVDiffusion, tmp_path: Path) -> None:
    save_pipeline(pipeline, tmp_path / "kept")
    again = load_pipeline(tmp_path / "kept")
    before, after = (sample(p, images(), seeded([5]), SHORT) for p in (pipeline, again))
    assert torch.equal(before, after) and before.std() > 0.01
    assert again.model.slots == FACELIFT_SLOTS and again.prompter is not None


def test_saving_and_reading_say_nothing(
    pipeline: MVDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_pipeline(pipeline, tmp_path / "kept")
    load_pipeline(tmp_path / "kept")
    assert capfd.readouterr() == ("", ""), "the libraries' bars would tear an application's own apart"


def test_a_pixel_model_keeps_its_learned_tokens(pixel_pipeline: MVDiffusion, tmp_path: Path) -> None:
    save_pipeline(pixel_pipeline, tmp_path / "kept")
    again = load_pipeline(tmp_path / "kept")
    assert again.model.learned and again.vae is None and again.embedder is None and again.prompter is None
    before, after = (sample(p, images(), seeded([5]), SHORT) for p in (pixel_pipeline, again))
    assert torch.equal(before, after)


def test_a_model_that_makes_masks_is_kept_whole(tmp_path: Path) -> None:
    pipeline = masked_pipeline()
    scramble(pipeline.model)
    save_pipeline(pipeline, tmp_path / "kept")
    again = load_pipeline(tmp_path / "kept")
    assert again.model.adapter == pipeline.model.adapter and again.image_channels == 4
    w2c, fxfycxcy = (torch.from_numpy(part).float()[None] for part in stack_cameras(facelift_rig()))
    cameras, given = ViewCameras(w2c, fxfycxcy, 512), torch.rand(1, 4, IMAGE_SIZE, IMAGE_SIZE)
    before, after = (sample(p, given, seeded([5]), SHORT, cameras=cameras) for p in (pipeline, again))
    assert before.shape == (1, 6, 4, IMAGE_SIZE, IMAGE_SIZE) and torch.equal(before, after)
    with pytest.raises(InputError, match="RGB images with masks"):
        sample(again, given[:, :3], seeded([5]), SHORT, cameras=cameras)
    (tmp_path / "kept" / "adapter.json").write_text('{"patch": 2, "shape": 1}')
    with pytest.raises(InputError, match="adapter.json"):
        load_pipeline(tmp_path / "kept")


def test_the_folder_is_facelifts(pipeline_folder: Path) -> None:
    names = {path.name for path in pipeline_folder.iterdir()}
    assert names == {
        *("feature_extractor", "image_encoder", "image_noising_scheduler", "image_normalizer", "scheduler"),
        *("text_encoder", "tokenizer", "unet", "vae", "model_index.json"),
    }
    index = json.loads((pipeline_folder / "model_index.json").read_text())
    assert index["unet"] == ["mvdiffusion.models.unet_mv2d_condition", "UNetMV2DConditionModel"]
    assert index["scheduler"] == ["diffusers", "DDIMScheduler"] and index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert index["feature_extractor"] == ["transformers", "CLIPImageProcessor"]
    config = json.loads((pipeline_folder / "unet" / "config.json").read_text())
    assert config["down_block_types"] == ["CrossAttnDownBlockMV2D", "DownBlock2D"]
    assert config["mid_block_type"] == "UNetMidBlockMV2DCrossAttn" and config["selfattn_block"] == "custom"


def test_reading_imports_no_foreign_module_and_makes_the_prompts_itself(pipeline_folder: Path) -> None:
    loaded = load_pipeline(pipeline_folder)
    assert not any(name.split(".")[0] == "mvdiffusion" for name in sys.modules)
    assert torch.equal(loaded.model.tokens, tiny_pipeline().model.tokens)


def test_weights_in_half_precision_are_read_in_the_type_asked_for(pipeline_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline_folder, tmp_path / "half")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    loaded = load_pipeline(folder, dtype=torch.bfloat16)
    assert loaded.vae is not None and loaded.embedder is not None
    for part in (loaded.model, loaded.vae, loaded.embedder.image_encoder, loaded.embedder.image_normalizer):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.bfloat16}


def test_published_options_are_translated_there_and_back() -> None:
    stock = dict(tiny_pipeline().model.unet.config)
    published = published_config(stock)
    back = stock_config(published, "config.json")
    assert {name: back[name] for name in stock} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in stock.items()
    }
    for option, value in (("sparse_mv_attention", False), ("cd_attention_mid", True), ("selfattn_block", "rows")):
        with pytest.raises(InputError, match=f"config.json: option {option} is"):
            stock_config(published | {option: value}, "config.json")


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _index(folder: Path, **entries: Any) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def _drop_weight(folder: Path, component: str) -> None:
    file = next((folder / component).glob("*.safetensors"))
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file, metadata={"format": "pt"})


def _edit_unet(folder: Path, **values: Any) -> None:
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _remove(f, "model_index.json"), "model_index.json: cannot be read"),
        (lambda f: _remove(f, "vae"), "component 'vae' is named in model_index.json but its folder is missing"),
        (lambda f: _index(f, vae=[None, None]), "denoises 4 channels, but pixels have 3"),
        (lambda f: _index(f, unet=[None, None]), "component 'unet' is missing"),
        (lambda f: _index(f, image_normalizer=[None, None]), "'image_normalizer' is missing; .* of no use without it"),
        (lambda f: _remove(f, "unet/diffusion_pytorch_model.safetensors"), "the UNet has no weights"),
        (lambda f: _remove(f, "image_encoder/model.safetensors"), "image_encoder: component cannot be read"),
        (lambda f: _remove(f, "scheduler/scheduler_config.json"), "scheduler_config.json: cannot be read"),
        (lambda f: _remove(f, "tokenizer"), "'tokenizer' is named in"),
        (lambda f: _drop_weight(f, "unet"), "unet/.*'class_embedding.linear_1.bias' is missing"),
        (lambda f: _drop_weight(f, "vae"), "vae: component cannot be read .missing keys: decoder.conv_in.bias"),
        (lambda f: _drop_weight(f, "image_encoder"), "image_encoder: component cannot be read .missing keys"),
        (lambda f: _edit_unet(f, in_channels=14), r"'conv_in.weight' has shape \[16, 8, 3, 3\]"),
        (lambda f: _edit_unet(f, down_block_types=["Unheard", "DownBlock2D"]), "no UNet can be built"),
        (lambda f: _index(f, text_encoder=[None, None], tokenizer=[None, None]), "nor a text encoder"),
    ],
)
def test_an_incomplete_folder_is_one_clear_line(
    pipeline_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(pipeline_folder, tmp_path / "pipeckpts")
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(folder)
    assert str(tmp_path) in str(caught.value)


def test_prompt_embeddings_of_another_width_are_refused(pipeline_folder: Path, tmp_path: Path) -> None:
    torch.save(torch.randn(6, 77, 768), tmp_path / "clr_embeds.pt")
    with pytest.raises(InputError, match=r"clr_embeds.pt: shape \[6, 77, 768\].*width 24"):
        load_pipeline(pipeline_folder, tmp_path / "clr_embeds.pt")
