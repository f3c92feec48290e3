"""The two distances against their formulas written out with random weights, and gradients where nothing is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.perceptual.distances import LPIPS, PerceptualDistance
from mouse_facelift.perceptual.weights import lpips_heads


@pytest.fixture(scope="module")
def perceptual(vgg19: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> PerceptualDistance:
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.safetensors"
    save_file(vgg19, path)
    return PerceptualDistance.load(path)


@pytest.fixture(scope="module")
def lpips(vgg16_file: Path) -> LPIPS:
    return LPIPS.load(vgg16_file)


def pictures(height: int = 32, width: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, height, width, 3, generator=generator)
    return 1.3 * a, b


def relu_features(
    x: Tensor, layers: dict[str, Tensor], pool_after: tuple[int, ...], average: bool
) -> dict[int, Tensor]:
    found = {}
    for number in range(1, 17):
        if f"conv{number}.weight" not in layers:
            break
        x = F.relu(F.conv2d(x, layers[f"conv{number}.weight"], layers[f"conv{number}.bias"], padding=1))
        found[number] = x
        if number in pool_after:
            x = F.avg_pool2d(x, 2) if average else F.max_pool2d(x, 2)
    return found


def test_perceptual_loss_is_facelifts_formula(perceptual: PerceptualDistance, vgg19: dict[str, Tensor]) -> None:
    a, b = pictures()
    scaled = [255 * x.permute(0, 3, 1, 2) - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1) for x in (a, b)]
    fa, fb = (relu_features(x, vgg19, (2, 4, 8, 12), average=True) for x in scaled)
    terms = [(scaled[0] - scaled[1]).abs().mean()]
    terms += [(fa[layer] - fb[layer]).abs().mean() for layer in (2, 4, 6, 10, 14)]
    weights = (1, 1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
    expected = sum(w * float(t) for w, t in zip(weights, terms, strict=True)) / 255
    assert float(perceptual(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(perceptual(b, b)) == 0.0


def test_lpips_is_its_formula(lpips: LPIPS, vgg16: dict[str, Tensor], vgg16_file: Path) -> None:
    a, b = pictures()
    heads = lpips_heads(None, vgg16_file)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    fa, fb = (
        relu_features(((2 * x - 1).permute(0, 3, 1, 2) - shift) / scale, vgg16, (2, 4, 7, 10), average=False)
        for x in (a, b)
    )
    expected = torch.zeros(2)
    for layer, head in zip((2, 4, 7, 10, 13), heads, strict=True):
        ua, ub = (f[layer] / ((f[layer] ** 2).sum(1, keepdim=True).sqrt() + 1e-10) for f in (fa, fb))
        expected += F.conv2d((ua - ub) ** 2, head).mean(dim=(1, 2, 3))
    torch.testing.assert_close(lpips(a, b), expected, rtol=1e-4, atol=1e-7)
    assert float(lpips(b, b).max()) == 0.0


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gradients_are_finite_on_flat_pictures(perceptual: PerceptualDistance, lpips: LPIPS, level: float) -> None:
    for other in (level, 1.0 - level):
        rgb = torch.full((1, 16, 16, 3), level, requires_grad=True)
        target = torch.full((1, 16, 16, 3), other)
        (perceptual(rgb, target) + lpips(rgb, target).mean()).backward()
        assert rgb.grad is not None and torch.isfinite(rgb.grad).all()


def test_a_pixel_without_features_gives_no_nan(lpips: LPIPS) -> None:
    dead = LPIPS()
    for layer in range(5):
        dead.get_buffer(f"head{layer}").copy_(lpips.get_buffer(f"head{layer}"))
    for parameter in dead.net.parameters():
        parameter.zero_()
    rgb = torch.rand(1, 16, 16, 3, requires_grad=True)
    distance = dead(rgb, torch.rand(1, 16, 16, 3))
    distance.sum().backward()
    assert float(distance.detach()) == 0.0 and rgb.grad is not None and not rgb.grad.any()


def test_the_gradient_of_the_perceptual_loss_points_away_from_the_target(perceptual: PerceptualDistance) -> None:
    a, b = pictures(16, 16)
    a.requires_grad_()
    before = perceptual(a, b)
    before.backward()
    assert a.grad is not None
    after = perceptual((a - 1e-3 * a.grad / a.grad.abs().max()).detach(), b)
    assert float(after) < float(before)


def test_half_precision_of_the_caller_does_not_reach_the_networks(perceptual: PerceptualDistance, lpips: LPIPS) -> None:
    a, b = pictures(16, 16)
    expected = perceptual(a, b), lpips(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        found = perceptual(a, b), lpips(a, b)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_small_pictures_are_refused(perceptual: PerceptualDistance, lpips: LPIPS) -> None:
    small = torch.zeros(1, 15, 40, 3)
    for measure in (perceptual, lpips):
        with pytest.raises(InputError, match="at least 16 px"):
            measure(small, small)
