"""What the denoiser is told besides the noisy views: the targets' rays, the reference image and its embedding.

Rays. World z is up and is known, so only one freedom is left between datasets: the heading. The world is turned about
z until the reference camera's azimuth is 270 degrees, where FaceLift's front camera stands. A ray is given by its unit
direction and its point nearest to the world's origin (the animal's centre), as in GS-LRM: the nearest point says as
much as the Pluecker moment, whose length it shares, but lies where the animal is and so reads as a place.

Images are fp32 in [0, 1] on the way in; what comes out has the components' own type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras.poses import FACELIFT_FRONT_AZIMUTH_DEGREES
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.rays import pixel_rays

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

# A reference nearer than this to the vertical through the object (as a part of its distance) has no azimuth.
_OVERHEAD = 1e-3


@dataclass(frozen=True)
class ViewCameras:
    """Cameras of the views, view 0 the reference; the object lies around the world's origin, z up."""

    w2c: Float[Tensor, "b v 4 4"]
    fxfycxcy: Float[Tensor, "b v 4"]
    """Pixels of the `image_size` image, origin at its top-left corner."""
    image_size: int
    """Side of the square images that `fxfycxcy` speaks of."""


def ray_maps(cameras: ViewCameras, grid: int) -> Float[Tensor, "b v 6 grid grid"]:
    """Rays through the centres of a `grid` x `grid` raster over each view, relative to the reference; fp32.

    Channels: unit direction 3, nearest point to the origin 3.

    Raises:
        InputError: the reference stands straight above the object.
    """
    turned = cameras.w2c @ heading_rotation(cameras.w2c[:, 0])[:, None].transpose(-1, -2)
    rays = pixel_rays(turned, cameras.fxfycxcy * (grid / cameras.image_size), grid, grid)
    return torch.cat([rays.directions, rays.nearest_points], dim=2)


def heading_rotation(w2c: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 4 4"]:
    """Rotation of the world about z that brings a camera's azimuth to 270 degrees.

    Raises:
        InputError: the camera stands straight above or below the origin.
    """
    centre = -torch.einsum("bji,bj->bi", w2c[:, :3, :3], w2c[:, :3, 3])
    level = centre[:, :2].norm(dim=1)
    if bool((level < _OVERHEAD * centre.norm(dim=1)).any()):
        raise InputError(
            "the reference camera stands straight above the animal, so the other views have no direction relative "
            "to it; choose another reference"
        )
    angle = float(np.radians(FACELIFT_FRONT_AZIMUTH_DEGREES)) - torch.atan2(centre[:, 1], centre[:, 0])
    rotation = torch.eye(4, dtype=w2c.dtype, device=w2c.device).repeat(len(w2c), 1, 1)
    rotation[:, 0, 0] = rotation[:, 1, 1] = angle.cos()
    rotation[:, 1, 0] = angle.sin()
    rotation[:, 0, 1] = -angle.sin()
    return rotation


def clip_pixels(images: Float[Tensor, "b 3 h w"], extractor: CLIPImageProcessorPil) -> Float[Tensor, "b 3 s s"]:
    """Images as CLIP sees them at sampling: 8 bits, resized and cropped by the extractor's settings, normalised."""
    eight_bit = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return extractor(list(eight_bit), return_tensors="pt").pixel_values


def clip_pixels_for_training(
    images: Float[Tensor, "b 3 h w"], extractor: CLIPImageProcessorPil
) -> Float[Tensor, "b 3 s s"]:
    """Images as FaceLift's training gives them to CLIP: one antialiased bicubic resize, no 8-bit step and no crop."""
    settings = cast(Any, extractor)
    size = settings.crop_size
    resized = torch.nn.functional.interpolate(
        images, (size["height"], size["width"]), mode="bicubic", align_corners=False, antialias=True
    )
    mean, std = (torch.tensor(part, device=images.device)[:, None, None] for part in _statistics(extractor))
    return (resized - mean) / std


def clip_embedding(pixels: Float[Tensor, "b 3 s s"], encoder: CLIPVisionModelWithProjection) -> Float[Tensor, "b e"]:
    """The projected CLIP embedding of prepared images."""
    return encoder(pixels.to(encoder.device, encoder.dtype)).image_embeds


def image_vector(
    embedding: Float[Tensor, "*n e"],
    noise: Float[Tensor, "*n e"],
    normaliser: StableUnCLIPImageNormalizer,
    schedule: DDPMScheduler,
    level: int = 0,
) -> Float[Tensor, "*n e2"]:
    """What is added to the time embedding: the embedding with unCLIP's noise of a level, then that level's sinusoid.

    Even level 0 adds a little noise (sigma 0.0064 of the normalised embedding with the published schedule).
    """
    shape = embedding.shape
    flat, flat_noise = embedding.flatten(0, -2), noise.flatten(0, -2)
    levels = torch.full((len(flat),), level, device=embedding.device)
    noised = schedule.add_noise(normaliser.scale(flat), flat_noise, cast(Any, levels))
    encoded = get_timestep_embedding(levels, shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0)
    vector = torch.cat([normaliser.unscale(noised), encoded.to(embedding.dtype)], dim=-1)
    return vector.unflatten(0, shape[:-1])


def posterior(images: Float[Tensor, "n c h w"], vae: AutoencoderKL | None) -> Float[Tensor, "n m h8 w8"]:
    """What latents are drawn from: the VAE's mean and log-variance (2c channels); the pixels in [-1, 1] without VAE.

    Unscaled, so that it may be kept on disk and drawn from anew at every step.
    """
    pixels = images * 2 - 1
    if vae is None:
        return pixels
    return cast(Any, vae.encode(pixels.to(vae.device, vae.dtype))).latent_dist.parameters


def latents_from(
    posterior: Float[Tensor, "*n m h w"], scale: float | None, noise: Float[Tensor, "*n c h w"] | None = None
) -> Float[Tensor, "*n c h w"]:
    """Scaled latents: the posterior's mode, or with `noise` ~ N(0, 1) a sample.

    Args:
        posterior: see `posterior`.
        scale: the VAE's scaling factor; None without a VAE, where pixels are themselves.
        noise: what to draw with.
    """
    if scale is None:
        return posterior
    mean, log_variance = posterior.chunk(2, dim=-3)
    if noise is not None:
        # The clamp is the VAE's own (diffusers' DiagonalGaussianDistribution).
        mean = mean + (0.5 * log_variance.clamp(-30, 20)).exp() * noise
    return mean * scale


def decode(latents: Float[Tensor, "n c h w"], vae: AutoencoderKL | None) -> Float[Tensor, "n c8 h8 w8"]:
    """Latents to images in [0, 1], fp32."""
    if vae is not None:
        scale = cast(Any, vae.config).scaling_factor
        latents = cast(Any, vae.decode((latents / scale).to(vae.dtype))).sample
    return (latents.float() / 2 + 0.5).clamp(0, 1)


def _statistics(extractor: CLIPImageProcessorPil) -> tuple[list[float], list[float]]:
    settings = cast(Any, extractor)
    return list(settings.image_mean), list(settings.image_std)
