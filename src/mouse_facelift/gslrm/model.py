"""GS-LRM: posed images in, 3-D Gaussians out, in one pass of a plain transformer.

Every image is cut into patches; a patch, with the geometry of its rays, becomes a token; full self-attention runs over
the tokens of all views and a few learned ones; every pixel then gives one Gaussian on its own ray. Nothing tells the
views apart but their rays: any number of views, in any order, gives the same set of Gaussians (GS-LRM, Zhang et al.
2024, arXiv:2404.19702; sizes and constants as in FaceLift, Lyu et al. 2025, arXiv:2412.17812).

Parameter names and shapes are those of FaceLift's published checkpoints. Rays, the heads and the Gaussians' arithmetic
are fp32; a caller's `torch.autocast` reaches the transformer alone (unless the configuration says `compat`).
"""

from __future__ import annotations

import contextlib
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.batched_gaussians import SH_C0, BatchedGaussians
from mouse_facelift.gslrm.blocks import Block, FreeHead, PatchTokens
from mouse_facelift.gslrm.config import GAUSSIAN_CHANNELS, PIXEL_CHANNELS, GSLRMConfig
from mouse_facelift.gslrm.hull import HullSurface, hull_surface
from mouse_facelift.gslrm.patches import ShownPatches, shown_patches, to_patches
from mouse_facelift.gslrm.rays import Rays, pixel_footprint, pixel_rays, pixel_vectors

ALPHA_FLOOR = 1e-4
"""Alpha of an empty pixel where opacities start from alpha; well below 1/255, which renderers skip."""

INIT_STD = 0.02
"""Standard deviation of all weights at the start, FaceLift's."""


class GSLRM(nn.Module):
    """The reconstruction model. See the module's docstring."""

    def __init__(self, config: GSLRMConfig) -> None:
        super().__init__()
        self.config = config
        d, pixels = config.width, config.patch_size**2
        self.gaussian_position_embeddings = nn.Parameter(torch.empty(config.free_gaussians, d))
        if config.add_refsrc_marker:
            self.view_type_embeddings = nn.Parameter(torch.empty(2, d))
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
        if self.config.add_refsrc_marker:
            nn.init.normal_(self.view_type_embeddings, std=INIT_STD)
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
        device, half = images.device.type, self._half(images.device.type)
        rays = pixel_rays(w2c, fxfycxcy, height, width, half)
        shown = shown_patches(images[:, :, 3:], self.config.patch_size) if self.config.tokens == "foreground" else None
        with torch.autocast(device, half) if half else contextlib.nullcontext():
            free, patch = self._tokens(pixel_vectors(images[:, :, :3], rays), shown)
        # The residual stream is fp32 in either case; what follows is fp32 too, or half from here to the positions.
        with torch.autocast(device, half, enabled=half is not None):
            raw_free = self.gaussian_upsampler(free)
            raw_patch = self.pixel_gaussian_decoder(patch)
        raw_patch = raw_patch if shown is None else shown.put_back(raw_patch)
        raw_pixel = raw_patch.unflatten(-1, (-1, GAUSSIAN_CHANNELS)).flatten(1, 2)
        with torch.autocast(device, enabled=False):
            return self._gaussians(raw_free, raw_pixel, images.float(), rays, w2c, fxfycxcy)

    def depth_of(self, name: str) -> int:
        """How deep in the network a parameter lies: 0 what makes tokens, 1 .. `layers` the blocks, then the heads."""
        parts = name.split(".")
        if parts[0] == "transformer_layers":
            return int(parts[1]) + 1
        return self.config.layers + 1 if parts[0] in ("gaussian_upsampler", "pixel_gaussian_decoder") else 0

    def _half(self, device: str) -> torch.dtype | None:
        """What to round to, if anything."""
        if self.config.precision == "exact":
            return None
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float16

    def _tokens(
        self, pixels: Float[Tensor, "b v 9 h w"], shown: ShownPatches | None
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        """The transformer: output tokens of the free Gaussians and of the patches (those shown), fp32."""
        tokens = self.patch_embedder(pixels)
        if self.config.add_refsrc_marker:
            first = torch.arange(pixels.shape[1], device=pixels.device).clamp_max(1)
            marks = self.view_type_embeddings[first].repeat_interleave(tokens.shape[1] // pixels.shape[1], dim=0)
            tokens = tokens + marks
        real = None
        if shown is not None:
            tokens, real = shown.take(tokens), shown.attended(always=self.config.free_gaussians)
        free = self.gaussian_position_embeddings.expand(tokens.shape[0], -1, -1)
        # Under autocast the patches arrive in half precision; the residual stream stays fp32.
        x = self.input_layer_norm(torch.cat([free, tokens.float()], dim=1))
        group = self.config.checkpoint_every
        if group and torch.is_grad_enabled():
            for first in range(0, len(self.transformer_layers), group):
                x = cast(Tensor, checkpoint(self._run_blocks, x, real, first, first + group, use_reentrant=False))
        else:
            x = self._run_blocks(x, real, 0, len(self.transformer_layers))
        return x[:, : self.config.free_gaussians], x[:, self.config.free_gaussians :]

    def _run_blocks(
        self, x: Float[Tensor, "b tokens d"], real: Bool[Tensor, "b 1 1 tokens"] | None, first: int, last: int
    ) -> Float[Tensor, "b tokens d"]:
        for block in self.transformer_layers[first:last]:
            x = block(x, real)
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

        surface = hull_surface(images[:, :, 3], rays, w2c, fxfycxcy) if config.needs_hull else None
        if config.hard_pixelalign:
            pixel_means = self._on_ray(pixel_means, surface, rays)
        if config.clip_xyz:
            pixel_means = pixel_means.clamp(-1.0, 1.0)
        if config.colour_base == "pixel":
            colours = colours + (self._per_gaussian(images[:, :, :3]) - 0.5) / SH_C0
        opacities = _shifted(opacities, config.opacity_bias)
        if config.opacity_base != "constant":
            share = images[:, :, 3:] if surface is None or config.opacity_base == "alpha" else surface.support
            opacities = (opacities.sigmoid() * self._per_gaussian(share).clamp_min(ALPHA_FLOOR)).logit()
        scales = _shifted(scales, config.scale_bias).clamp_max(config.scale_max)
        if config.scale_unit == "pixel":
            scales = scales + self._per_gaussian(pixel_footprint(rays, fxfycxcy)).log()
            free_bias, free_max = GSLRMConfig.scale_bias, GSLRMConfig.scale_max
        else:
            free_bias, free_max = config.scale_bias, config.scale_max
        free_scales = _shifted(free_scales, free_bias).clamp_max(free_max)
        return BatchedGaussians(
            means=torch.cat([free_means, pixel_means], dim=1).float(),
            sh_dc=torch.cat([free_colours, colours], dim=1).float(),
            log_scales=torch.cat([free_scales, scales], dim=1).float(),
            rotations=torch.cat([free_rotations, rotations], dim=1).float(),
            opacity_logits=torch.cat([_shifted(free_opacities, config.opacity_bias), opacities], dim=1).float(),
            free=config.free_gaussians,
            patch_size=config.patch_size,
        )

    def _on_ray(self, raw: Float[Tensor, "b m 3"], surface: HullSurface | None, rays: Rays) -> Float[Tensor, "b m 3"]:
        """Positions on the pixels' rays, within `depth_range` of where they start; only the mean of `raw` counts."""
        bases = rays.nearest_points if surface is None or self.config.depth_base == "nearest" else surface.points
        offset = (2.0 * raw.mean(dim=-1, keepdim=True).sigmoid() - 1.0) * self.config.depth_range
        return self._per_gaussian(bases) + offset * self._per_gaussian(rays.directions)

    def _per_gaussian(self, values: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b m c"]:
        """An image's values in the order of the pixel Gaussians."""
        return to_patches(values, self.config.patch_size).flatten(1, 3)


def _shifted(values: Float[Tensor, "*shape"], bias: float) -> Float[Tensor, "*shape"]:
    """Values plus a number, rounded once: in half precision a CPU would round the number first, a GPU does not."""
    return (values.float() + bias).to(values.dtype)


def compiled(model: GSLRM) -> GSLRM:
    """The model itself, its blocks compiled by `torch.compile` when they first run; names of parameters stay.

    Blocks alone, because they are where the time goes and all share one graph. Another number of tokens (views or
    image size) is compiled once more, as a graph for any number.
    """
    for block in model.transformer_layers:
        block.compile()
    return model
