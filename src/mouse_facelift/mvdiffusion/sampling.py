"""Sampling: from one image of each object to all its views.

Each object has its own random generator, drawn from in FaceLift's order: the noise on the image embedding of every
view, the initial latents, then whatever the sampler draws per step. So one object with one generator gives FaceLift's
numbers, and an object's result does not depend on what else is in the batch.

What all views share is computed once per object rather than per view: the encodings of the reference image, the front
view's keys and values in every layer, and its attention (see `attention`). The views' noise levels differ, so the
denoiser itself runs on each of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import (
    ViewCameras,
    clip_embedding,
    clip_pixels,
    decode,
    image_vector,
    latents_from,
    posterior,
    ray_maps,
)
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.schedule import sampler
from mouse_facelift.mvdiffusion.unet import check_tokens


@dataclass(frozen=True)
class SamplingConfig:
    """How views are sampled; the defaults are FaceLift's, except for models that predict the picture.

    Those guess best in few steps and without guidance (`tests/benchmarks/generated_views.py`: on held-out frames
    4 steps beat 20 by 0.4 dB of foreground PSNR, and guidance of 3 costs another 0.3 dB and most of the front view).

    Raises:
        InputError: a value out of range.
    """

    steps: int | None = None
    """Denoising steps; none for 50, or 4 where the model predicts the picture."""
    guidance: float | None = None
    """Classifier-free guidance scale, 1 for none, which halves the work; none for 3, or 1 where the model predicts
    the picture."""
    eta: float = 1.0
    """DDIM's share of fresh noise per step, 0 to 1; other samplers ignore it."""
    scheduler: str | None = None
    """Class name of one of diffusers' samplers; none for the one stored with the model."""
    noise_level: int = 0
    """Noise level of the image embedding (steps of its own schedule)."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise InputError(f"sampling: steps is {self.steps}; it must be at least 1")
        if not 0.0 <= self.eta <= 1.0:
            raise InputError(f"sampling: eta is {self.eta}; it must lie between 0 and 1")
        if self.noise_level < 0:
            raise InputError(f"sampling: noise_level is {self.noise_level}; it must not be negative")

    def way(self, pipeline: MVDiffusion) -> tuple[int, float]:
        """(steps, guidance) for a model."""
        predicts = cast(Any, pipeline.scheduler).config.prediction_type
        steps, guidance = (4, 1.0) if predicts == "sample" else (50, 3.0)
        return self.steps or steps, guidance if self.guidance is None else self.guidance


@dataclass(frozen=True)
class _Conditions:
    """What the denoiser is told; for guidance, copies without image come first."""

    latents: Float[Tensor, "b c h w"]
    vectors: Float[Tensor, "b v e"] | None
    rays: Float[Tensor, "b v 6 h w"] | None
    tokens: Float[Tensor, "v n d"]

    def with_unconditional(self) -> _Conditions:
        """Twice the objects: image vector and condition latents zero, then as they are; the text is never dropped."""
        return _Conditions(
            torch.cat([torch.zeros_like(self.latents), self.latents]),
            None if self.vectors is None else torch.cat([torch.zeros_like(self.vectors), self.vectors]),
            None if self.rays is None else torch.cat([self.rays, self.rays]),
            self.tokens,
        )


@torch.no_grad()
def sample(
    pipeline: MVDiffusion,
    images: Float[Tensor, "b c h w"],
    generators: Sequence[torch.Generator],
    config: SamplingConfig | None = None,
    *,
    cameras: ViewCameras | None = None,
    tokens: Float[Tensor, "v n d"] | None = None,
) -> Float[Tensor, "b v c h w"]:
    """All views of each object, view 0 the reference as the model redraws it.

    Args:
        pipeline: the components, on one device.
        images: reference images in [0, 1], laid over the background that the model was trained with; where it makes
            masks (`MVDiffusion.image_channels` is 4) the mask is the fourth channel.
        generators: one per object, on the CPU or on the pipeline's device; `seeded` makes them.
        config: how to sample.
        cameras: of all views, for a model with camera conditioning; their number is the number of views.
        tokens: prompt embeddings in place of the model's own; one set per view.

    Returns:
        Images in [0, 1], fp32, with the same channels.

    Raises:
        InputError: sizes that do not fit the model, a wrong number of generators, or cameras or tokens that do not fit.
    """
    config = config or SamplingConfig()
    grid = _check(pipeline, images, generators, cameras)
    tokens = _tokens(pipeline, cameras, tokens)
    images = images.to(pipeline.device)
    conditions = _conditions(pipeline, images, generators, config, cameras, tokens, grid)
    shape = (len(tokens), pipeline.model.latent_channels, grid, grid)
    latents = draw(shape, generators, pipeline.device, pipeline.dtype)
    latents = _denoise(pipeline, latents, conditions, generators, config)
    return decode(latents.flatten(0, 1), pipeline.vae).unflatten(0, (len(images), len(tokens)))


def seeded(seeds: Sequence[int], device: str | torch.device = "cpu") -> list[torch.Generator]:
    """One generator per object. A seed gives different numbers on different kinds of device."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def draw(
    shape: tuple[int, ...], generators: Sequence[torch.Generator], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, " b *shape"]:
    """Standard normal numbers of `shape` from each generator, drawn where it lives and in the given type."""
    parts = [torch.randn(shape, generator=g, device=g.device, dtype=dtype) for g in generators]
    return torch.stack([part.to(device) for part in parts])


def to_eight_bit(images: Float[Tensor, "b v 3 h w"]) -> UInt8[Tensor, "b v h w 3"]:
    """Images as FaceLift writes them: rounded, not truncated."""
    return (images.clamp(0, 1) * 255).round().byte().movedim(-3, -1)


def _check(
    pipeline: MVDiffusion,
    images: Float[Tensor, "b c h w"],
    generators: Sequence[torch.Generator],
    cameras: ViewCameras | None,
) -> int:
    """Refuse what does not fit together; returns the side of the denoised grid."""
    channels = pipeline.image_channels
    if images.ndim != 4 or images.shape[1] != channels or images.shape[2] != images.shape[3]:
        kind = "RGB images" if channels == 3 else "RGB images with masks"
        raise InputError(
            f"sampling: images of shape {list(images.shape)}; give square {kind} [objects, {channels}, h, w]"
        )
    halvings = len(cast(Any, pipeline.model.unet.config).block_out_channels) - 1
    multiple = pipeline.cell * pipeline.model.adapter.patch * 2**halvings
    if images.shape[2] % multiple:
        raise InputError(
            f"sampling: images of {images.shape[2]} px; the model takes multiples of {multiple} px, resize them"
        )
    if len(generators) != len(images):
        raise InputError(f"sampling: {len(generators)} seeds for {len(images)} images; give one per image")
    if cameras is not None and len(cameras.w2c) != len(images):
        raise InputError(
            f"sampling: cameras of {len(cameras.w2c)} objects for {len(images)} images; give them for each"
        )
    return images.shape[2] // pipeline.cell


def _tokens(
    pipeline: MVDiffusion, cameras: ViewCameras | None, tokens: Float[Tensor, "v n d"] | None
) -> Float[Tensor, "v n d"]:
    """One set of tokens per view that is sampled."""
    model = pipeline.model
    views = len(model.slots) if cameras is None else cameras.w2c.shape[1]
    if tokens is None:
        tokens = model.tokens[model.slot_indices(views).to(model.tokens.device)]
    else:
        check_tokens(model.unet, tokens, tuple(f"view {i}" for i in range(views)), "sampling: prompt embeddings")
    return tokens.to(pipeline.device, pipeline.dtype)


def _conditions(
    pipeline: MVDiffusion,
    images: Float[Tensor, "b c h w"],
    generators: Sequence[torch.Generator],
    config: SamplingConfig,
    cameras: ViewCameras | None,
    tokens: Float[Tensor, "v n d"],
    grid: int,
) -> _Conditions:
    vectors = None
    if pipeline.embedder is not None:
        embedder = pipeline.embedder
        embedding = clip_embedding(clip_pixels(images, embedder.feature_extractor), embedder.image_encoder)
        # The first draw. Every view's copy of the embedding gets noise of its own.
        noise = draw((len(tokens), embedding.shape[-1]), generators, pipeline.device, embedding.dtype)
        copies = embedding[:, None].expand_as(noise)
        schedule, level = embedder.image_noising_scheduler, config.noise_level
        vectors = image_vector(copies, noise, embedder.image_normalizer, schedule, level)
    latents = latents_from(posterior(images, pipeline.vae), pipeline.vae_scale).to(pipeline.dtype)
    rays = None
    if cameras is not None and pipeline.model.cameras == "rays":
        moved = ViewCameras(cameras.w2c.to(pipeline.device), cameras.fxfycxcy.to(pipeline.device), cameras.image_size)
        rays = ray_maps(moved, grid).to(pipeline.dtype)
    return _Conditions(latents, vectors, rays, tokens)


def _denoise(
    pipeline: MVDiffusion,
    latents: Float[Tensor, "b v c h w"],
    conditions: _Conditions,
    generators: Sequence[torch.Generator],
    config: SamplingConfig,
) -> Float[Tensor, "b v c h w"]:
    scheduler = sampler(pipeline.scheduler, config.scheduler)
    steps, guidance = config.way(pipeline)
    scheduler.set_timesteps(steps, device=pipeline.device)
    latents = latents * scheduler.init_noise_sigma
    guided = guidance != 1.0
    if guided:
        conditions = conditions.with_unconditional()
    options = _step_options(scheduler, generators, config)
    for step in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, step)
        predicted = _predict(pipeline, torch.cat([scaled, scaled]) if guided else scaled, step, conditions)
        if guided:
            without, with_image = predicted.chunk(2)
            predicted = without + guidance * (with_image - without)
        latents = scheduler.step(predicted, step, latents, **options, return_dict=False)[0]
    return latents


def _step_options(scheduler: Any, generators: Sequence[torch.Generator], config: SamplingConfig) -> dict[str, Any]:
    """What a scheduler's step takes besides tensors; samplers without noise of their own take neither."""
    # From pure noise DDIM's remaining share of the predicted noise is exactly zero at eta 1, and the root of its
    # rounding error not a number.
    limit = 1.0 - 1e-4 if scheduler.config.get("rescale_betas_zero_snr") else 1.0
    # Of a list, diffusers' schedulers ask each generator for [1, view, ...]: what one alone would be asked for.
    options = {"eta": min(config.eta, limit), "generator": list(generators)}
    accepted = inspect.signature(scheduler.step).parameters
    return {name: value for name, value in options.items() if name in accepted}


def _predict(
    pipeline: MVDiffusion, noisy: Float[Tensor, "b v c h w"], step: Tensor, conditions: _Conditions
) -> Float[Tensor, "b v c h w"]:
    timesteps = step.to(noisy.device).expand(noisy.shape[:2])
    return pipeline.model(
        noisy.to(pipeline.dtype),
        conditions.latents,
        timesteps,
        conditions.vectors,
        conditions.rays,
        conditions.tokens,
    )
