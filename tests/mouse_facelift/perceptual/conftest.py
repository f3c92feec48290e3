"""Weight files as their publishers lay them out, with random numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mouse_facelift.perceptual.vgg import VGG16_BLOCKS, VGG19_BLOCKS, layer_channels


def random_layers(blocks: tuple[int, ...], seed: int) -> dict[str, Tensor]:
    """Convolutions that neither blow up nor fade out, under the names convK.weight and convK.bias."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for number, (inputs, outputs) in enumerate(layer_channels(blocks), start=1):
        spread = (2 / (9 * inputs)) ** 0.5
        tensors[f"conv{number}.weight"] = spread * torch.randn(outputs, inputs, 3, 3, generator=generator)
        tensors[f"conv{number}.bias"] = 0.05 * torch.randn(outputs, generator=generator)
    return tensors


@pytest.fixture(scope="session")
def vgg19() -> dict[str, Tensor]:
    return random_layers(VGG19_BLOCKS, 1)


@pytest.fixture(scope="session")
def vgg16() -> dict[str, Tensor]:
    return random_layers(VGG16_BLOCKS, 2)


@pytest.fixture(scope="session")
def vgg16_file(vgg16: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's names: indices of its Sequential, where ReLUs and poolings count as well."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    named = {
        f"features.{place}.{part}": vgg16[f"conv{number}.{part}"]
        for number, place in enumerate(places, start=1)
        for part in ("weight", "bias")
    }
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.pth"
    torch.save(named | {"classifier.0.bias": torch.zeros(7)}, path)
    return path
