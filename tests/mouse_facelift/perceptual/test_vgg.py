"""The network's layout, tap by tap, against the paper's table and plain PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mouse_facelift.perceptual.vgg import VGG, VGG16_BLOCKS, VGG19_BLOCKS, Pooling, layer_channels, smallest_side


def test_layers_of_the_two_networks() -> None:
    assert layer_channels(VGG16_BLOCKS)[0] == (3, 64) and len(layer_channels(VGG16_BLOCKS)) == 13
    wide = [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512]
    assert [outputs for _, outputs in layer_channels(VGG19_BLOCKS)] == wide
    assert [inputs for inputs, _ in layer_channels(VGG19_BLOCKS)] == [3, *wide[:-1]]


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_features_are_those_of_the_layers_written_out(pooling: Pooling) -> None:
    torch.manual_seed(0)
    network = VGG((1, 2, 1), (1, 3, 4), pooling)
    x = torch.randn(2, 3, 8, 12)
    w = {name: value for name, value in network.named_parameters()}
    pool = F.max_pool2d if pooling == "max" else F.avg_pool2d

    def layer(number: int, y: torch.Tensor) -> torch.Tensor:
        return F.conv2d(y, w[f"conv{number}.weight"], w[f"conv{number}.bias"], padding=1).clamp_min(0)

    first = layer(1, x)
    third = layer(3, layer(2, pool(first, 2)))
    fourth = layer(4, pool(third, 2))
    for found, expected in zip(network(x), (first, third, fourth), strict=True):
        torch.testing.assert_close(found, expected)


def test_layers_after_the_last_tap_are_not_built_and_weights_are_frozen() -> None:
    network = VGG(VGG19_BLOCKS, (2, 3), "average")
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"conv1", "conv2", "conv3"}
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("taps", "side"), [((2,), 1), ((2, 3), 2), ((2, 4, 7, 10, 13), 16)])
def test_smallest_picture(taps: tuple[int, ...], side: int) -> None:
    assert smallest_side(VGG16_BLOCKS, taps) == side
    network = VGG(VGG16_BLOCKS, taps, "max")
    assert all(feature.numel() for feature in network(torch.zeros(1, 3, side, side)))
    if side > 1:
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 3, side - 1, side - 1))
