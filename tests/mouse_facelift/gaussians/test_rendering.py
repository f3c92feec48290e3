from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, rasteriser, render

CPU_BACKENDS = ["reference", "tiled"]


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_colour_plus_transmittance_times_background(scene: Callable, backend: Backend) -> None:
    s = scene("translucent")
    camera = (s.w2c, s.fxfycxcy, s.width, s.height)
    colour, alpha = rasteriser(backend, torch.device("cpu"))(s.gaussians, *camera)
    through = (1 - alpha)[..., None]
    per_view = torch.rand(2, 3)
    cases = [(None, torch.ones(3)), (torch.zeros(3), torch.zeros(3)), (per_view, per_view[:, None, None])]
    assert 0.05 < float(through.mean()) < 0.95
    for background, expected in cases:
        image = render(s.gaussians, *camera, background=background, backend=backend)
        torch.testing.assert_close(image.rgb, colour + through * expected)
        assert torch.equal(image.alpha, alpha)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_gaussians_draw_the_background_and_can_be_differentiated(scene: Callable, backend: Backend) -> None:
    s = scene("opaque")
    nothing = Gaussians.empty().map(torch.Tensor.requires_grad_)
    background = torch.tensor([0.1, 0.2, 0.3])
    image = render(nothing, s.w2c, s.fxfycxcy, 11, 7, background=background, backend=backend)
    assert torch.equal(image.rgb, background.expand(2, 7, 11, 3)) and not image.alpha.any()
    image.rgb.sum().backward()
    assert nothing.means.grad is not None and nothing.means.grad.shape == (0, 3)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_views_give_no_images(scene: Callable, backend: Backend) -> None:
    s = scene("opaque")
    image = render(s.gaussians, s.w2c[:0], s.fxfycxcy[:0], 11, 7, backend=backend)
    assert image.rgb.shape == (0, 7, 11, 3) and image.alpha.shape == (0, 7, 11)


def test_background_receives_its_gradient(scene: Callable) -> None:
    s = scene("translucent")
    background = torch.rand(3, requires_grad=True)
    image = render(s.gaussians, s.w2c, s.fxfycxcy, s.width, s.height, background=background)
    image.rgb.sum().backward()
    assert background.grad is not None
    torch.testing.assert_close(background.grad, (1 - image.alpha).sum().expand(3))


def test_what_does_not_fit_is_refused(scene: Callable) -> None:
    s = scene("opaque")
    with pytest.raises(ValueError, match="w2c"):
        render(s.gaussians, s.w2c[0], s.fxfycxcy, 8, 8)
    with pytest.raises(ValueError, match="background"):
        render(s.gaussians, s.w2c, s.fxfycxcy, 8, 8, background=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="at least one pixel"):
        render(s.gaussians, s.w2c, s.fxfycxcy, 0, 8)
    with pytest.raises(ValueError, match="unknown"):
        render(s.gaussians, s.w2c, s.fxfycxcy, 8, 8, backend="vulkan")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="CUDA"):
        render(s.gaussians, s.w2c, s.fxfycxcy, 8, 8, backend="gsplat")
