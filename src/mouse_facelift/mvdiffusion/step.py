"""One training step of multi-view diffusion as a plain function of a model and a batch.

The recipe is FaceLift's with its slips put right: noise and time steps come from the caller's generator (which must
differ between processes), and the Min-SNR weight has the form that belongs to what is predicted. What the frozen
encoders say about a sample never changes, so a step takes it ready-made (`EncodedBatch`), from disk or `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import (
    ViewCameras,
    clip_embedding,
    clip_pixels_for_training,
    image_vector,
    latents_from,
    posterior,
    ray_maps,
)
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.schedule import Prediction, prediction_type, signal_level


@dataclass(frozen=True)
class DiffusionLossConfig:
    """The loss and what is dropped; the defaults are FaceLift's except for the weight's form.

    Raises:
        InputError: a value out of range.
    """

    min_snr_gamma: float = 5.0
    """Signal-to-noise ratio above which a time step's weight no longer grows (Hang et al. 2023); 0 weighs all alike."""
    min_snr_form: Literal["matched", "facelift"] = "matched"
    """"matched": min(snr, gamma) / (snr + 1) for v, / snr for epsilon, / 1 for the picture, so that all weigh the
    picture's error by min(snr, gamma). "facelift" divides by snr whatever is predicted, as FaceLift trained."""
    condition_drop_rate: float = 0.05
    """p: of all objects a part p lose their image vector, p the condition latents, and p both; the text stays."""
    timesteps: Literal["object", "view"] = "object"
    """Whether the views of an object share their time step."""

    def __post_init__(self) -> None:
        if self.min_snr_gamma < 0:
            raise InputError(f"loss: min_snr_gamma is {self.min_snr_gamma}; use 0 to weigh all time steps alike")
        if not 0 <= self.condition_drop_rate <= 1 / 3:
            raise InputError(
                f"loss: condition_drop_rate is {self.condition_drop_rate}; three times it must not exceed 1"
            )


@dataclass(frozen=True)
class EncodedBatch:
    """Objects as the frozen encoders see them, on the model's device; view 0 of the targets is the reference."""

    targets: Float[Tensor, "b v m h w"]
    """Unscaled posterior of every view (`conditioning.posterior`): mean and log-variance, or pixels in [-1, 1]."""
    reference: Float[Tensor, "b m h w"]
    """The same of the reference image; the posterior's mode is used."""
    embeddings: Float[Tensor, "b e"] | None = None
    """CLIP embeddings of the reference images, for a model with an image encoder."""
    cameras: ViewCameras | None = None
    """Of all views, for a model with camera conditioning."""


@torch.no_grad()
def encode(
    pipeline: MVDiffusion, images: Float[Tensor, "b v c h w"], cameras: ViewCameras | None = None
) -> EncodedBatch:
    """What the frozen encoders say about objects, for a step at once or to be kept.

    Args:
        pipeline: the frozen components.
        images: all views in slot order over the background, in [0, 1], with `pipeline.image_channels`; view 0 is the
            reference.
        cameras: handed on.

    Raises:
        InputError: images that are not square, or not a multiple of what the model takes.
    """
    objects, views = images.shape[:2]
    if images.shape[-1] != images.shape[-2] or images.shape[-1] % pipeline.cell:
        raise InputError(
            f"training: images of {images.shape[-1]}x{images.shape[-2]} px; give square ones of a multiple of "
            f"{pipeline.cell} px"
        )
    targets = posterior(images.flatten(0, 1), pipeline.vae).unflatten(0, (objects, views))
    embeddings = None
    if pipeline.embedder is not None:
        pixels = clip_pixels_for_training(images[:, 0], pipeline.embedder.feature_extractor)
        embeddings = clip_embedding(pixels, pipeline.embedder.image_encoder)
    return EncodedBatch(targets, targets[:, 0], embeddings, cameras)


def training_loss(
    model: nn.Module,
    pipeline: MVDiffusion,
    batch: EncodedBatch,
    config: DiffusionLossConfig,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Noise a batch, predict, and compare, ready for `backward()`.

    Call it inside `torch.autocast` to run the UNet in half precision; the loss is fp32.

    Args:
        model: a `MultiViewUNet`, or a wrapper of one (DDP, compiled) with the same call.
        pipeline: the frozen components and the noise schedule.
        batch: encoded objects.
        config: the loss.
        generator: a CPU generator, of its own on every process; it alone decides the draw.

    Returns:
        The loss and detached scalars: `loss`, `mse` (unweighted), `mse_reference` and `mse_sides`.

    Raises:
        InputError: the batch lacks what the model is conditioned on.
    """
    objects, views = batch.targets.shape[:2]
    device = batch.targets.device
    dropped = condition_dropout(objects, config.condition_drop_rate, generator)
    vectors = _image_vectors(pipeline, batch, views, dropped.vector, generator)
    keep = (~dropped.latents).to(device)[:, None, None, None]
    condition = latents_from(batch.reference.float(), pipeline.vae_scale) * keep
    targets = batch.targets.float()
    latent_shape = (objects, views, condition.shape[1], *targets.shape[-2:])
    posterior_noise = None if pipeline.vae_scale is None else _normal(latent_shape, generator, device)
    clean = latents_from(targets, pipeline.vae_scale, posterior_noise)

    noise = _normal(latent_shape, generator, device)
    timesteps = draw_timesteps(objects, views, _steps(pipeline), config.timesteps, generator).to(device)
    signal = signal_level(pipeline.scheduler, timesteps)
    noisy, wanted = noised(clean, noise, signal, prediction_type(pipeline.scheduler))
    rays = None if batch.cameras is None else ray_maps(batch.cameras, targets.shape[-1])
    predicted = model(noisy, condition, timesteps, vectors, rays)

    errors = (predicted.float() - wanted).square().mean(dim=(2, 3, 4))
    weights = min_snr_weights(signal, prediction_type(pipeline.scheduler), config)
    loss = (weights * errors).mean()
    seen = errors.detach()
    scalars = {"loss": loss.detach(), "mse": seen.mean(), "mse_reference": seen[:, 0].mean()}
    return loss, scalars | {"mse_sides": seen[:, 1:].mean()}


@dataclass(frozen=True)
class Dropout:
    """Which objects lose which condition."""

    vector: Bool[Tensor, " b"]
    latents: Bool[Tensor, " b"]


def condition_dropout(objects: int, rate: float, generator: torch.Generator) -> Dropout:
    """One number r ~ U(0, 1) per object: the vector goes if r < 2p, the condition latents if p <= r < 3p."""
    r = torch.rand(objects, generator=generator)
    return Dropout(r < 2 * rate, (rate <= r) & (r < 3 * rate))


def draw_timesteps(
    objects: int, views: int, steps: int, shared: Literal["object", "view"], generator: torch.Generator
) -> Int[Tensor, "b v"]:
    """Uniform time steps, one per object or one per view."""
    drawn = torch.randint(0, steps, (objects, 1 if shared == "object" else views), generator=generator)
    return drawn.expand(objects, views)


def noised(
    clean: Float[Tensor, "b v c h w"],
    noise: Float[Tensor, "b v c h w"],
    signal: Float[Tensor, "b v"],
    prediction: Prediction,
) -> tuple[Float[Tensor, "b v c h w"], Float[Tensor, "b v c h w"]]:
    """What the model sees, sqrt(a) x + sqrt(1-a) e, and what it should say: e, x, or v = sqrt(a) e - sqrt(1-a) x."""
    kept = signal.sqrt()[..., None, None, None]
    added = (1 - signal).sqrt()[..., None, None, None]
    wanted = {"epsilon": noise, "sample": clean}.get(prediction)
    return kept * clean + added * noise, kept * noise - added * clean if wanted is None else wanted


def min_snr_weights(
    signal: Float[Tensor, "*n"], prediction: Prediction, config: DiffusionLossConfig
) -> Float[Tensor, "*n"]:
    """Weight of the squared error at each signal level (the cumulative product of the alphas)."""
    if config.min_snr_gamma == 0:
        return torch.ones_like(signal)
    snr = signal / (1 - signal)
    capped = snr.clamp_max(config.min_snr_gamma)
    if config.min_snr_form == "matched" and prediction != "epsilon":
        return capped / (snr + 1) if prediction == "v_prediction" else capped
    # Where nothing is left of the picture min(snr, gamma) / snr tends to one.
    return torch.where(snr > 0, capped / snr, 1.0)


def _steps(pipeline: MVDiffusion) -> int:
    return len(pipeline.scheduler.alphas_cumprod)  # pyright: ignore[reportAttributeAccessIssue]


def _image_vectors(
    pipeline: MVDiffusion, batch: EncodedBatch, views: int, dropped: Bool[Tensor, " b"], generator: torch.Generator
) -> Float[Tensor, "b v e"] | None:
    if pipeline.embedder is None:
        return None
    if batch.embeddings is None:
        raise InputError("training: the batch has no image embeddings, but the model needs them; encode it with CLIP")
    embeddings = batch.embeddings.float()
    shape = (len(embeddings), views, embeddings.shape[1])
    noise = _normal(shape, generator, embeddings.device)
    normaliser, schedule = pipeline.embedder.image_normalizer, pipeline.embedder.image_noising_scheduler
    vectors = image_vector(embeddings[:, None].expand(shape), noise, normaliser, schedule)
    return vectors * (~dropped).to(vectors.device)[:, None, None]


def _normal(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Float[Tensor, "*shape"]:
    return torch.randn(shape, generator=generator).to(device)
