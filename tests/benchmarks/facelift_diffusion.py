"""FaceLift's multi-view diffusion, written from its description, for benchmarks to race against.

The networks are this project's, to the weights, and so are the formulas of noise, target and weight: what is compared
is how often what is computed. FaceLift's pipeline takes the reference image as six pictures, so CLIP and VAE see it six
times; in training the VAE and CLIP run in every step (the text encoder does not: its tokens come from a file); and
every self-attention gives every view, the front too, the front's keys and values before its own.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.mvdiffusion.attention import TextAttention
from mouse_facelift.mvdiffusion.conditioning import (
    clip_embedding,
    clip_pixels,
    clip_pixels_for_training,
    decode,
    image_vector,
    latents_from,
    posterior,
)
from mouse_facelift.mvdiffusion.pipeline import ImageEmbedder, MVDiffusion
from mouse_facelift.mvdiffusion.schedule import (
    ScheduleConfig,
    denoising_schedule,
    image_noising_schedule,
    prediction_type,
    signal_level,
)
from mouse_facelift.mvdiffusion.step import (
    DiffusionLossConfig,
    condition_dropout,
    draw_timesteps,
    min_snr_weights,
    noised,
)
from mouse_facelift.mvdiffusion.unet import MultiViewUNet, UNetConfig, build_unet

VIEWS = len(FACELIFT_SLOTS)
PUBLISHED_SIZE = 512
TOKENS = 77
# Widths of FaceLift's components; all are divided alike, their depths are kept.
_UNET, _UNET_HEAD, _VAE, _TEXT = (320, 640, 1280, 1280), 64, (128, 256, 512, 512), 1024
# CLIP ViT-H/14: 32 layers of 1280 in 16 heads, an MLP of 5120, embeddings of 1024, pictures of 224 px.
_CLIP, _CLIP_MLP, _CLIP_HEADS, _CLIP_LAYERS, _CLIP_EMBEDDING, _CLIP_PX, _PATCH = 1280, 5120, 16, 32, 1024, 224, 14


def reduced_pipeline(image_size: int, divisor: int) -> MVDiffusion:
    """FaceLift's pipeline with random weights, all widths divided by `divisor`.

    CLIP's picture is smaller by as much as `image_size` is below 512 px, so that the components' costs keep the
    proportions they have at full size.
    """
    torch.manual_seed(0)
    channels = tuple(width // divisor for width in _VAE)
    levels: dict[str, Any] = {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae = AutoencoderKL(
        **levels, latent_channels=4, layers_per_block=2, norm_num_groups=32 // divisor, scaling_factor=0.18215
    )
    config = UNetConfig(
        sample_size=image_size // 8,
        block_channels=tuple(width // divisor for width in _UNET),
        head_width=_UNET_HEAD // divisor,
        norm_groups=32 // divisor,
        token_width=_TEXT // divisor,
        class_width=2 * _CLIP_EMBEDDING // divisor,
    )
    model = MultiViewUNet(build_unet(config), torch.randn(VIEWS, TOKENS, config.token_width))
    parts = (model.eval(), denoising_schedule(ScheduleConfig()), cast(AutoencoderKL, vae.eval().requires_grad_(False)))
    return MVDiffusion(*parts, _embedder(image_size, divisor))


def _embedder(image_size: int, divisor: int) -> ImageEmbedder:
    side = max(_PATCH, _CLIP_PX * image_size // PUBLISHED_SIZE // _PATCH * _PATCH)
    config = CLIPVisionConfig(
        hidden_size=_CLIP // divisor,
        intermediate_size=_CLIP_MLP // divisor,
        projection_dim=_CLIP_EMBEDDING // divisor,
        num_hidden_layers=_CLIP_LAYERS,
        num_attention_heads=_CLIP_HEADS,
        image_size=side,
        patch_size=_PATCH,
    )
    encoder = CLIPVisionModelWithProjection(config).eval().requires_grad_(False)
    extractor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    normaliser = StableUnCLIPImageNormalizer(embedding_dim=_CLIP_EMBEDDING // divisor)
    return ImageEmbedder(extractor, encoder, normaliser, image_noising_schedule())


def sizes(pipeline: MVDiffusion) -> str:
    """How large the components are, for the head of a table."""
    embedder, vae = pipeline.embedder, cast(Any, pipeline.vae)
    assert embedder is not None
    networks = {"UNet": pipeline.model.unet, "VAE encoder": vae.encoder, "CLIP": embedder.image_encoder}
    counts = [f"{name} {sum(p.numel() for p in part.parameters()) / 1e6:.0f} M" for name, part in networks.items()]
    return f"{', '.join(counts)} parameters, CLIP sees {embedder.image_encoder.config.image_size} px"


class DuplicatedFrontAttention:
    """The published rule as it is written: every view attends to the front's keys and then its own, the front too.

    With `project_again` the front's keys and values are computed once for each view instead of once per object.
    """

    def __init__(self, project_again: bool = False) -> None:
        self.project_again = project_again

    def __call__(
        self, attn: Attention, hidden_states: Float[Tensor, "bv n c"], num_views: int, **_: Any
    ) -> Float[Tensor, "bv n c"]:
        """The attention's output, projected."""
        to_q, to_k, to_v = cast(Any, (attn.to_q, attn.to_k, attn.to_v))
        query = _heads(to_q(hidden_states), attn.heads)
        seen = []
        for project in (to_k, to_v):
            if self.project_again:
                pairs = torch.cat([_front(hidden_states, num_views), hidden_states], dim=1)
                seen.append(_heads(project(pairs), attn.heads))
            else:
                own = project(hidden_states)
                seen.append(_heads(torch.cat([_front(own, num_views), own], dim=1), attn.heads))
        out = scaled_dot_product_attention(query, *seen)
        linear, dropout = cast(Any, attn.to_out)
        return dropout(linear(out.transpose(1, 2).flatten(2)))


def _front(tokens: Float[Tensor, "bv n c"], views: int) -> Float[Tensor, "bv n c"]:
    """The front view's tokens of each object, once per view."""
    return tokens.unflatten(0, (-1, views))[:, :1].expand(-1, views, -1, -1).flatten(0, 1)


def _heads(tokens: Float[Tensor, "bv n c"], heads: int) -> Float[Tensor, "bv h n d"]:
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def install_duplicated(unet: UNet2DConditionModel, project_again: bool = False) -> None:
    """Give every self-attention the rule as it is written."""
    processors: dict[str, Any] = {
        name: DuplicatedFrontAttention(project_again) if name.endswith("attn1.processor") else TextAttention()
        for name in unet.attn_processors
    }
    unet.set_attn_processor(processors)


def facelift_loss(
    pipeline: MVDiffusion,
    images: Float[Tensor, "b 6 3 h w"],
    losses: DiffusionLossConfig,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """A training step's loss from pictures, drawn in the order of `mvdiffusion.step.training_loss`.

    So with one generator both are the same number, to rounding.
    """
    embedder, objects = pipeline.embedder, len(images)
    assert embedder is not None
    given, wanted = images[:, :1].expand(-1, VIEWS, -1, -1, -1).flatten(0, 1), images.flatten(0, 1)
    dropped = condition_dropout(objects, losses.condition_drop_rate, generator)
    with torch.no_grad():
        pixels = clip_pixels_for_training(given, embedder.feature_extractor)
        embedding = clip_embedding(pixels, embedder.image_encoder)
        noise = torch.randn((objects, VIEWS, embedding.shape[1]), generator=generator).flatten(0, 1)
        vectors = image_vector(embedding, noise, embedder.image_normalizer, embedder.image_noising_scheduler)
        condition = latents_from(posterior(given, pipeline.vae), pipeline.vae_scale)
        targets = posterior(wanted, pipeline.vae)
        shape = (objects, VIEWS, *condition.shape[1:])
        clean = latents_from(targets, pipeline.vae_scale, torch.randn(shape, generator=generator).flatten(0, 1))
    vectors = vectors * (~dropped.vector).repeat_interleave(VIEWS)[:, None]
    condition = condition * (~dropped.latents).repeat_interleave(VIEWS)[:, None, None, None]
    noise = torch.randn(shape, generator=generator)
    steps = len(cast(Any, pipeline.scheduler).alphas_cumprod)
    timesteps = draw_timesteps(objects, VIEWS, steps, losses.timesteps, generator)
    signal, kind = signal_level(pipeline.scheduler, timesteps), prediction_type(pipeline.scheduler)
    noisy, target = noised(clean.unflatten(0, shape[:2]), noise, signal, kind)
    predicted = _denoised(pipeline, noisy.flatten(0, 1), condition, timesteps.flatten(), vectors)
    errors = (predicted - target.flatten(0, 1)).square().mean(dim=(1, 2, 3))
    return (min_snr_weights(signal, kind, losses).flatten() * errors).mean()


@torch.no_grad()
def facelift_sample(
    pipeline: MVDiffusion, image: Float[Tensor, "3 h w"], generator: torch.Generator, steps: int, guidance: float
) -> Float[Tensor, "6 3 h w"]:
    """All views of one object, as `mvdiffusion.sampling.sample` draws them."""
    embedder, scheduler = pipeline.embedder, cast(Any, pipeline.scheduler)
    assert embedder is not None
    six = image.expand(VIEWS, -1, -1, -1)
    embedding = clip_embedding(clip_pixels(six, embedder.feature_extractor), embedder.image_encoder)
    noise = torch.randn(embedding.shape, generator=generator)
    vectors = image_vector(embedding, noise, embedder.image_normalizer, embedder.image_noising_scheduler)
    condition = latents_from(posterior(six, pipeline.vae), pipeline.vae_scale)
    vectors, condition = (torch.cat([torch.zeros_like(part), part]) for part in (vectors, condition))
    latents = torch.randn(condition[:VIEWS].shape, generator=generator)
    scheduler.set_timesteps(steps)
    for step in scheduler.timesteps:
        timesteps = step.expand(2 * VIEWS)
        both = _denoised(pipeline, torch.cat([latents, latents]), condition, timesteps, vectors)
        without, with_image = both.chunk(2)
        predicted = without + guidance * (with_image - without)
        latents = scheduler.step(predicted, step, latents, eta=1.0, generator=generator).prev_sample
    return decode(latents, pipeline.vae)


def _denoised(
    pipeline: MVDiffusion,
    noisy: Float[Tensor, "n c h w"],
    condition: Float[Tensor, "n c h w"],
    timesteps: Tensor,
    vectors: Float[Tensor, "n e"],
) -> Float[Tensor, "n c h w"]:
    tokens = pipeline.model.tokens.repeat(len(noisy) // VIEWS, 1, 1)
    options: Any = {"class_labels": vectors, "cross_attention_kwargs": {"num_views": VIEWS}}
    return pipeline.model.unet(torch.cat([noisy, condition], dim=1), timesteps, tokens, **options).sample
