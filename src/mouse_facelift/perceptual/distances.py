"""Two distances between pictures, differentiable in the first: FaceLift's VGG-19 loss, and LPIPS.

Pictures are [n, h, w, 3] in [0, 1], RGB, not clamped. Both compute in fp32, whatever autocast the caller is in.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.perceptual.vgg import VGG, VGG16_BLOCKS, VGG19_BLOCKS, layer_channels, smallest_side
from mouse_facelift.perceptual.weights import fill, lpips_heads, vgg16_tensors, vgg19_tensors

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""ImageNet's mean colour in RGB, on the scale 0..255 that the Caffe-lineage VGG was trained on."""

PERCEPTUAL_TAPS = (2, 4, 6, 10, 14)
"""relu1_2, relu2_2, relu3_2, relu4_2, relu5_2."""

PERCEPTUAL_WEIGHTS = (1.0, 1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
"""Of the picture itself and of the taps (Chen and Koltun, "Photographic image synthesis", 2017; FaceLift's)."""

LPIPS_TAPS = (2, 4, 7, 10, 13)
"""relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""

LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What LPIPS subtracts from, and divides, pictures in [-1, 1] by (Zhang et al. 2018)."""


class PerceptualDistance(nn.Module):
    """FaceLift's perceptual loss: mean absolute differences of VGG-19 features, with average pooling.

    sum_l w_l mean|phi_l(a) - phi_l(b)| / 255, where phi_0 is the picture itself on 0..255 less the mean colour.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = VGG(VGG19_BLOCKS, PERCEPTUAL_TAPS, pooling="average")
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN)[:, None, None], persistent=False)

    @classmethod
    def load(cls, path: Path) -> PerceptualDistance:
        """With the weights of a file; see `perceptual.weights`.

        Raises:
            InputError: the file is absent, damaged, or of another network.
        """
        distance = cls()
        fill(distance.net, vgg19_tensors(path), path)
        return distance

    def forward(self, rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"]) -> Float[Tensor, ""]:
        """Mean distance over the batch.

        Raises:
            InputError: pictures under 16 px.
        """
        _require_side(rgb, smallest_side(VGG19_BLOCKS, PERCEPTUAL_TAPS), "perceptual loss")
        with torch.autocast(rgb.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._features(target)
            total = rgb.new_zeros((), dtype=torch.float32)
            for weight, found, other in zip(PERCEPTUAL_WEIGHTS, self._features(rgb), wanted, strict=True):
                total = total + weight * (found - other).abs().mean()
        return total / 255.0

    def _features(self, rgb: Float[Tensor, "n h w 3"]) -> list[Float[Tensor, "n _ _ _"]]:
        scaled = rgb.float().permute(0, 3, 1, 2) * 255.0 - self.get_buffer("mean")
        return [scaled, *self.net(scaled)]


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, VGG variant, version 0.1 (Zhang et al. 2018); 0 for equal pictures.

    Every pixel's features are scaled to length 1; squared differences, weighted per channel by the learned heads,
    are averaged over the pixels and summed over five layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = VGG(VGG16_BLOCKS, LPIPS_TAPS, pooling="max")
        channels = layer_channels(VGG16_BLOCKS)
        for layer, tap in enumerate(LPIPS_TAPS):
            self.register_buffer(f"head{layer}", torch.zeros(1, channels[tap - 1][1], 1, 1))
        self.register_buffer("shift", torch.tensor(LPIPS_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(LPIPS_SCALE)[:, None, None], persistent=False)

    @classmethod
    def load(cls, backbone: Path, heads: Path | None = None) -> LPIPS:
        """With the weights of files; see `perceptual.weights`. Without `heads`, torchmetrics' copy is taken.

        Raises:
            InputError: a file is absent, damaged, or of another network.
        """
        distance = cls()
        fill(distance.net, vgg16_tensors(backbone), backbone)
        for layer, head in enumerate(lpips_heads(heads, backbone)):
            own = distance.get_buffer(f"head{layer}")
            if head.shape != own.shape:
                raise InputError(
                    f"{heads or backbone}: head {layer} has shape {tuple(head.shape)} instead of {tuple(own.shape)}; "
                    "give the heads of LPIPS' VGG variant"
                )
            own.copy_(head)
        return distance

    def forward(self, rgb: Float[Tensor, "n h w 3"], target: Float[Tensor, "n h w 3"]) -> Float[Tensor, " n"]:
        """Distance of every pair.

        Raises:
            InputError: pictures under 16 px.
        """
        _require_side(rgb, LPIPS_SMALLEST_SIDE, "LPIPS")
        with torch.autocast(rgb.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._features(target)
            total = rgb.new_zeros(rgb.shape[0], dtype=torch.float32)
            for layer, (found, other) in enumerate(zip(self._features(rgb), wanted, strict=True)):
                difference = (found - other).square() * self.get_buffer(f"head{layer}")
                total = total + difference.sum(dim=1).mean(dim=(1, 2))
        return total

    def _features(self, rgb: Float[Tensor, "n h w 3"]) -> list[Float[Tensor, "n _ _ _"]]:
        scaled = 2.0 * rgb.float().permute(0, 3, 1, 2) - 1.0
        found = self.net((scaled - self.get_buffer("shift")) / self.get_buffer("scale"))
        # A pixel without any feature stays zero, and gets no gradient, instead of 0 / 0.
        return [F.normalize(feature, dim=1, eps=1e-10) for feature in found]


LPIPS_SMALLEST_SIDE = smallest_side(VGG16_BLOCKS, LPIPS_TAPS)
"""Pictures must have at least this side (pixels)."""


def _require_side(rgb: Float[Tensor, "n h w 3"], smallest: int, measure: str) -> None:
    height, width = rgb.shape[1:3]
    if min(height, width) < smallest:
        raise InputError(f"{measure}: a {width}x{height} px image is too small; use sides of at least {smallest} px")
