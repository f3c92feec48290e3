"""GS-LRM: posed images in, 3-D Gaussians out, in one pass of a plain transformer.

Every image is cut into patches; a patch, with the geometry of its rays, becomes a token; full self-attention runs over
the tokens of all views and a few learned ones; every pixel then gives one Gaussian on its own ray. Nothing tells the
views apart but their rays: any number of views, in any order, gives the same set of Gaussians (GS-LRM, Zhang et al.
2024, arXiv:2404.19702; sizes and constants as in FaceLift, Lyu et al. 2025, arXiv:2412.17812).

Parameter names and shapes are those of FaceLift's published checkpoints. Rays, the heads and the Gaussians' arithmetic
are fp32 always; a caller's `torch.autocast` reaches the transformer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gslrm.config import GAUSSIAN_CHANNELS, PIXEL_CHANNELS, GSLRMConfig
from mouse_facelift.gslrm.hull import hull_surface
from mouse_facelift.gslrm.rays import Rays, pixel_footprint, pixel_rays, pixel_vectors

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi)): colour = SH_C0 * coefficient + 0.5."""

ALPHA_FLOOR = 1e-4
"""Alpha of an empty pixel where opacities start from alpha; well below 1/255, which renderers skip."""

INIT_STD = 0.02
"""Standard deviation of all weights at the start, FaceLift's."""


@dataclass(frozen=True)
class BatchedGaussians:
    """Gaussians of a batch as the network states them, before activations.

    Order of the n Gaussians: the free ones, then by view, patch row, patch column, row in patch, column in patch.
    """

    means: Float[Tensor, "b n 3"]
    """World positions."""
    sh_dc: Float[Tensor, "b n 3"]
    """Colour coefficients."""
    log_scales: Float[Tensor, "b n 3"]
    """Logarithms of the standard deviations (world units)."""
    rotations: Float[Tensor, "b n 4"]
    """Quaternions w, x, y, z of any length."""
    opacity_logits: Float[Tensor, "b n 1"]
    free: int
    """How many of the n are free."""
    patch_size: int
    """Side of a patch (pixels)."""

    @property
    def pixel_means(self) -> Float[Tensor, "b m 3"]:
        """Positions of those Gaussians that belong to a pixel."""
        return self.means[:, self.free :]

    def per_pixel(self, images: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b m c"]:
        """The values of the input views' pixels in the order of `pixel_means`."""
        return to_patches(images, self.patch_size).flatten(1, 3)

    def __len__(self) -> int:
        return self.means.shape[0]

    def item(self, index: int) -> Gaussians:
        """The Gaussians of one sample with their activated values, ready to render."""
        return Gaussians(
            means=self.means[index],
            scales=self.log_scales[index].exp(),
            rotations=F.normalize(self.rotations[index], dim=-1),
            opacities=self.opacity_logits[index, :, 0].sigmoid(),
            colours=(SH_C0 * self.sh_dc[index] + 0.5).clamp_min(0.0),
        )


def to_patches(images: Float[Tensor, "b v c h w"], patch_size: int) -> Float[Tensor, "b v patches pixels c"]:
    """Cut images into patches: patches row by row, the pixels of a patch row by row, channels last."""
    b, v, c, h, w = images.shape
    p = patch_size
    grid = images.reshape(b, v, c, h // p, p, w // p, p).permute(0, 1, 3, 5, 4, 6, 2)
    return grid.reshape(b, v, (h // p) * (w // p), p * p, c)


class PatchTokens(nn.Module):
    """Pixel vectors of all views -> one flat vector per patch, views one after another."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, pixels: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b tokens features"]:
        return to_patches(pixels, self.patch_size).flatten(3).flatten(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection, its thirds in the order query, key, value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)

    def forward(self, x: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        query, key, value = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.fc(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with an exact GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, False))

    def forward(self, x: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        return self.mlp(x)


class Block(nn.Module):
    """A pre-norm transformer block without biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width)

    def forward(self, x: Float[Tensor, "b tokens d"]) -> Float[Tensor, "b tokens d"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class FreeHead(nn.Module):
    """A free token -> the raw numbers of one Gaussian."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width, bias=False)
        self.linear = nn.Linear(width, GAUSSIAN_CHANNELS, bias=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n 14"]:
        return self.linear(self.layernorm(tokens))


class GSLRM(nn.Module):
    """The reconstruction model. See the module's docstring."""

    def __init__(self, config: GSLRMConfig) -> None:
        super().__init__()
        self.config = config
        d, pixels = config.width, config.patch_size**2
        self.gaussian_position_embeddings = nn.Parameter(torch.empty(config.free_gaussians, d))
        self.patch_embedder = nn.Sequential(
            PatchTokens(config.patch_size), nn.Linear(pixels * PIXEL_CHANNELS, d, bias=False)
        )
        self.input_layer_norm = nn.LayerNorm(d, bias=False)
        self.transformer_layers = nn.ModuleList(Block(d, config.heads) for _ in range(config.layers))
        self.gaussian_upsampler = FreeHead(d)
        self.pixel_gaussian_decoder = nn.Sequential(
            nn.LayerNorm(d, bias=False), nn.Linear(d, pixels * GAUSSIAN_CHANNELS, bias=False)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew: linear maps and free tokens from N(0, 0.02), layer norms at one."""
        nn.init.trunc_normal_(self.gaussian_position_embeddings, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)

    def forward(
        self,
        images: Float[Tensor, "b v c h w"],
        w2c: Float[Tensor, "b v 4 4"],
        fxfycxcy: Float[Tensor, "b v 4"],
    ) -> BatchedGaussians:
        """Gaussians of every sample, one per pixel of every view and the free ones.

        Args:
            images: colours in [0, 1] on a known background; a fourth channel is alpha, which only a model that
                `needs_masks` reads.
            w2c: rigid world-to-camera matrices, the object around the world's origin.
            fxfycxcy: intrinsics in pixels of these images, origin at the image's top-left corner.

        Raises:
            InputError: the images' sides are not multiples of the patch size, or alpha is needed and missing.
        """
        channels, height, width = images.shape[-3:]
        if channels < (4 if self.config.needs_masks else 3):
            raise InputError(f"GS-LRM: images have {channels} channels, this model reads masks too; give RGBA images")
        if height % self.config.patch_size or width % self.config.patch_size:
            raise InputError(
                f"GS-LRM: images of {width}x{height} px cannot be cut into patches of {self.config.patch_size} px; "
                f"use image sides that are multiples of {self.config.patch_size}"
            )
        rays = pixel_rays(w2c, fxfycxcy, height, width)
        free, pixel = self._tokens(pixel_vectors(images[:, :, :3], rays))
        with torch.autocast(images.device.type, enabled=False):
            raw_free = self.gaussian_upsampler(free.float())
            raw_pixel = self.pixel_gaussian_decoder(pixel.float()).unflatten(-1, (-1, GAUSSIAN_CHANNELS)).flatten(1, 2)
            return self._gaussians(raw_free, raw_pixel, images.float(), rays, w2c, fxfycxcy)

    def _tokens(self, pixels: Float[Tensor, "b v 9 h w"]) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        """The transformer: output tokens of the free Gaussians and of the patches."""
        tokens = self.patch_embedder(pixels)
        free = self.gaussian_position_embeddings.expand(tokens.shape[0], -1, -1)
        # Under autocast the patches arrive in half precision; the residual stream stays fp32.
        x = self.input_layer_norm(torch.cat([free, tokens.float()], dim=1))
        group = self.config.checkpoint_every
        if group and torch.is_grad_enabled():
            for first in range(0, len(self.transformer_layers), group):
                x = cast(Tensor, checkpoint(self._run_blocks, x, first, first + group, use_reentrant=False))
        else:
            x = self._run_blocks(x, 0, len(self.transformer_layers))
        return x[:, : self.config.free_gaussians], x[:, self.config.free_gaussians :]

    def _run_blocks(self, x: Float[Tensor, "b tokens d"], first: int, last: int) -> Float[Tensor, "b tokens d"]:
        for block in self.transformer_layers[first:last]:
            x = block(x)
        return x

    def _gaussians(
        self,
        raw_free: Float[Tensor, "b n 14"],
        raw_pixel: Float[Tensor, "b m 14"],
        images: Float[Tensor, "b v c h w"],
        rays: Rays,
        w2c: Float[Tensor, "b v 4 4"],
        fxfycxcy: Float[Tensor, "b v 4"],
    ) -> BatchedGaussians:
        """Give the raw numbers their meaning: biases, clamps, and a place on the ray."""
        config = self.config
        parts = (3, 3, 3, 4, 1)
        free_means, free_colours, free_scales, free_rotations, free_opacities = raw_free.split(parts, dim=-1)
        pixel_means, colours, scales, rotations, opacities = raw_pixel.split(parts, dim=-1)

        if config.hard_pixelalign:
            pixel_means = self._on_ray(pixel_means, self._ray_bases(images, w2c, fxfycxcy, rays), rays)
        if config.clip_xyz:
            pixel_means = pixel_means.clamp(-1.0, 1.0)
        if config.colour_base == "pixel":
            colours = colours + (self._per_gaussian(images[:, :, :3]) - 0.5) / SH_C0
        if config.opacity_base == "alpha":
            opacities = opacities + self._per_gaussian(images[:, :, 3:]).clamp_min(ALPHA_FLOOR).log()
        scales = (scales + config.scale_bias).clamp_max(config.scale_max)
        if config.scale_unit == "pixel":
            scales = scales + self._per_gaussian(pixel_footprint(rays, fxfycxcy)).log()
            free_bias, free_max = GSLRMConfig.scale_bias, GSLRMConfig.scale_max
        else:
            free_bias, free_max = config.scale_bias, config.scale_max
        free_scales = (free_scales + free_bias).clamp_max(free_max)
        return BatchedGaussians(
            means=torch.cat([free_means, pixel_means], dim=1),
            sh_dc=torch.cat([free_colours, colours], dim=1),
            log_scales=torch.cat([free_scales, scales], dim=1),
            rotations=torch.cat([free_rotations, rotations], dim=1),
            opacity_logits=torch.cat([free_opacities, opacities], dim=1) + config.opacity_bias,
            free=config.free_gaussians,
            patch_size=config.patch_size,
        )

    def _ray_bases(
        self,
        images: Float[Tensor, "b v c h w"],
        w2c: Float[Tensor, "b v 4 4"],
        fxfycxcy: Float[Tensor, "b v 4"],
        rays: Rays,
    ) -> Float[Tensor, "b v 3 h w"]:
        """Where on each pixel's ray a raw depth of zero lies."""
        if self.config.depth_base == "nearest":
            return rays.nearest_points
        return hull_surface(images[:, :, 3], rays, w2c, fxfycxcy).points

    def _on_ray(
        self, raw: Float[Tensor, "b m 3"], bases: Float[Tensor, "b v 3 h w"], rays: Rays
    ) -> Float[Tensor, "b m 3"]:
        """Positions on the pixels' rays, within `depth_range` of their bases; only the raw numbers' mean counts."""
        offset = (2.0 * raw.mean(dim=-1, keepdim=True).sigmoid() - 1.0) * self.config.depth_range
        return self._per_gaussian(bases) + offset * self._per_gaussian(rays.directions)

    def _per_gaussian(self, values: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b m c"]:
        """An image's values in the order of the pixel Gaussians."""
        return to_patches(values, self.config.patch_size).flatten(1, 3)
