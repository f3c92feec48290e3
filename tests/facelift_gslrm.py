"""FaceLift's GS-LRM as arithmetic on its checkpoint's tensors, written from the description of the published code.

It shares nothing with `mouse_facelift.gslrm`: one sample, a loop over views, every rounding spelt out. With `half` it
follows the types that values take inside CUDA autocast; a product of half-precision matrices sums in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

HEAD_WIDTH, PATCH = 64, 8


class FaceLift:
    """One network; `half` is None for exact fp32."""

    def __init__(self, state: Mapping[str, Tensor], half: torch.dtype | None = None) -> None:
        self.state, self.half = state, half
        self.width = state["patch_embedder.1.weight"].shape[0]
        self.layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("transformer_layers."))

    def round(self, x: Tensor) -> Tensor:
        return x if self.half is None else x.to(self.half).float()

    def product(self, x: Tensor, name: str) -> Tensor:
        return self.round(self.round(x) @ self.round(self.state[f"{name}.weight"]).T)

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * self.state[f"{name}.weight"]

    def block(self, x: Float[Tensor, "n d"], name: str) -> Float[Tensor, "n d"]:
        qkv = self.product(self.norm(x, f"{name}.norm1"), f"{name}.attn.to_qkv")
        mixed = torch.zeros_like(x)
        for start in range(0, self.width, HEAD_WIDTH):
            q, k, v = (qkv[:, start + i * self.width : start + i * self.width + HEAD_WIDTH] for i in range(3))
            mixed[:, start : start + HEAD_WIDTH] = self.round(torch.softmax(q @ k.T / HEAD_WIDTH**0.5, -1) @ v)
        x = x + self.product(mixed, f"{name}.attn.fc")
        inner = self.product(self.norm(x, f"{name}.norm2"), f"{name}.mlp.mlp.0")
        return x + self.product(self.round(0.5 * inner * (1 + torch.erf(inner / 2**0.5))), f"{name}.mlp.mlp.2")

    def rays(self, c2w: Float[Tensor, "4 4"], intrinsics: Float[Tensor, " 4"], size: int) -> tuple[Tensor, Tensor]:
        """Directions [h, w, 3] and distances to the point nearest to the origin [h, w, 1]."""
        fx, fy, cx, cy = intrinsics.tolist()
        at = torch.arange(size) + 0.5
        k = torch.ones(size, size, 3)
        k[..., 0], k[..., 1] = (at - cx) / fx, ((at - cy) / fy)[:, None]
        k = k / k.norm(dim=-1, keepdim=True)
        d = self.round(self.round(k) @ self.round(c2w[:3, :3]).T)
        d = d / d.norm(dim=-1, keepdim=True)
        return d, -(d @ c2w[:3, 3])[..., None]

    def gaussians(
        self, images: Float[Tensor, "v 3 s s"], c2w: Float[Tensor, "v 4 4"], intrinsics: Float[Tensor, "v 4"]
    ) -> Float[Tensor, "n 14"]:
        """Stored values: position, colour coefficients, log-scales, quaternion, opacity logit."""
        size, tokens, geometry = images.shape[-1], [self.state["gaussian_position_embeddings"]], []
        for image, pose, each in zip(images, c2w, intrinsics, strict=True):
            d, t0 = self.rays(pose, each, size)
            o = pose[:3, 3].expand_as(d)
            pixels = torch.cat([2 * image.permute(1, 2, 0) - 1, d, o + t0 * d], -1)
            tokens.append(self.product(_cut(pixels).flatten(1), "patch_embedder.1"))
            geometry.append(_cut(torch.cat([o, d, t0], -1)).flatten(0, 1))
        x = self.norm(torch.cat(tokens), "input_layer_norm")
        for layer in range(self.layers):
            x = self.block(x, f"transformer_layers.{layer}")
        free = self.product(self.norm(x[:2], "gaussian_upsampler.layernorm"), "gaussian_upsampler.linear")
        pixel = self.product(self.norm(x[2:], "pixel_gaussian_decoder.0"), "pixel_gaussian_decoder.1")
        raw = torch.cat([free, pixel.reshape(-1, 14)])
        o, d, t0 = torch.cat(geometry).split((3, 3, 1), -1)
        s = self.round(torch.sigmoid(self.round(raw[2:, :3].mean(-1, keepdim=True))))
        depth = self.round(self.round(self.round(2 * s) - 1) * 1.8) + t0
        scales = self.round(raw[:, 6:9] - 2.3).minimum(self.round(torch.tensor(-1.2)))
        means = torch.cat([raw[:2, :3], o + depth * d])
        return torch.cat([means, raw[:, 3:6], scales, raw[:, 9:13], self.round(raw[:, 13:] - 2.0)], -1)


def _cut(values: Float[Tensor, "s s c"]) -> Float[Tensor, "patches pixels c"]:
    side, c = values.shape[0] // PATCH, values.shape[-1]
    corners = [(row * PATCH, column * PATCH) for row in range(side) for column in range(side)]
    return torch.stack([values[y : y + PATCH, x : x + PATCH].reshape(PATCH * PATCH, c) for y, x in corners])
