"""A pipeline with every component FaceLift's has, tiny and with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from mouse_facelift.mvdiffusion.pipeline import ImageEmbedder, MVDiffusion, Prompter, save_pipeline
from mouse_facelift.mvdiffusion.presets import new_pipeline, preset
from mouse_facelift.mvdiffusion.prompts import encode_slots
from mouse_facelift.mvdiffusion.schedule import ScheduleConfig, denoising_schedule, image_noising_schedule
from mouse_facelift.mvdiffusion.unet import MultiViewUNet, UNetConfig, build_unet

TINY = UNetConfig(
    sample_size=8,
    block_channels=(16, 32),
    attention_levels=(True, False),
    layers_per_block=1,
    head_width=8,
    norm_groups=8,
    token_width=24,
    class_width=32,
)
IMAGE_SIZE = 16
EMBEDDING = 16


def tiny_embedder() -> ImageEmbedder:
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            projection_dim=EMBEDDING,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
    )
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    normaliser = StableUnCLIPImageNormalizer(embedding_dim=EMBEDDING)
    with torch.no_grad():
        normaliser.mean.normal_()
        normaliser.std.uniform_(0.5, 2)
    return ImageEmbedder(extractor, encoder.eval(), normaliser, image_noising_schedule())


def tiny_prompter() -> Prompter:
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=24,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    return Prompter(CLIPTextModel(config).eval(), tokenizer)


def tiny_pipeline(**unet: Any) -> MVDiffusion:
    """All components, as FaceLift's pipeline has them."""
    torch.manual_seed(0)
    # diffusers annotates the tuples with their default's length.
    levels: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    vae = AutoencoderKL(**levels, latent_channels=4, norm_num_groups=4, scaling_factor=0.18215)
    prompter = tiny_prompter()
    tokens = encode_slots(prompter.text_encoder, prompter.tokenizer)
    model = MultiViewUNet(build_unet(replace(TINY, **unet)), tokens.tokens, tokens.slots)
    scramble(model)
    parts = (model.eval(), denoising_schedule(ScheduleConfig()), cast(AutoencoderKL, vae.eval()))
    return MVDiffusion(*parts, tiny_embedder(), prompter)


def scramble(model: torch.nn.Module) -> None:
    """Weights large enough that every input shows in the output."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.fixture(scope="module")
def pipeline() -> MVDiffusion:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def pixel_pipeline() -> MVDiffusion:
    torch.manual_seed(0)
    made = new_pipeline(preset("debug"))
    scramble(made.model.unet)
    made.model.eval()
    return made


def masked_pipeline() -> MVDiffusion:
    """As the `small` preset: RGBA pixels in patches, rays, the picture predicted as a difference to a first guess."""
    torch.manual_seed(0)
    sizes = replace(preset("debug").unet, latent_channels=4, patch=2, residual=True, camera_conditioning="rays")
    made = new_pipeline(
        replace(preset("debug"), unet=sizes, schedule=ScheduleConfig(prediction="sample", zero_terminal_snr=True))
    )
    made.model.eval()
    return made


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline in FaceLift's layout, without tokens of its own."""
    folder = tmp_path_factory.mktemp("pipeline") / "pipeckpts"
    save_pipeline(tiny_pipeline(), folder)
    (folder / "prompt_embeddings.safetensors").unlink()
    return folder
