"""The same pictures and gradients as the direct way, with nothing kept between the two passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians import rendering
from mouse_facelift.gaussians.deferred import Deferred
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, Rendering, render


def draw(s, backend: Backend, deferred: bool, background: Tensor) -> tuple[Rendering, list[Tensor]]:
    """The picture, and the gradients of a nonlinear function of it, the background's last."""
    gaussians = s.gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    behind = background.clone().requires_grad_()
    image = render(
        gaussians, s.w2c, s.fxfycxcy, s.width, s.height, background=behind, backend=backend, deferred=deferred
    )
    wanted = torch.rand(image.rgb.shape, generator=torch.Generator().manual_seed(9))
    ((image.rgb - wanted).square().mean() + (image.alpha - 0.5).square().mean()).backward()
    gradients = [tensor.grad for tensor in (*gaussians.tensors(), behind)]
    assert all(gradient is not None for gradient in gradients)
    return image, [gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize("backend", ["tiled", "reference"])
@pytest.mark.parametrize("kind", ["mixed", "translucent", "opaque"])
def test_pictures_are_the_same_bits_and_gradients_equal_to_one_in_a_million(
    scene: Callable, backend: Backend, kind: str
) -> None:
    s, background = scene(kind, views=3), torch.tensor([0.2, 0.5, 0.9])
    direct, expected = draw(s, backend, False, background)
    found, gradients = draw(s, backend, True, background)
    assert torch.equal(found.rgb, direct.rgb) and torch.equal(found.alpha, direct.alpha)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm()


def test_the_engine_keeps_no_graph_and_meets_one_view_at_a_time_on_the_way_back(scene: Callable) -> None:
    s = scene("translucent", views=3)
    calls: list[tuple[int, bool]] = []
    engine = rendering.rasteriser("reference", s.gaussians.device)

    def watched(
        gaussians: Gaussians, w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"], width: int, height: int
    ) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
        calls.append((len(w2c), torch.is_grad_enabled()))
        return engine(gaussians, w2c, fxfycxcy, width, height)

    gaussians = s.gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    colour, alpha = Deferred(watched)(gaussians, s.w2c, s.fxfycxcy, s.width, s.height)
    assert calls == [(3, False)]
    (colour.mean() + alpha.mean()).backward()
    assert calls[1:] == [(1, True)] * 3


def test_a_picture_without_views_gives_zero_gradients(scene: Callable) -> None:
    s = scene("translucent", views=1)
    gaussians = s.gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    image = render(gaussians, s.w2c[:0], s.fxfycxcy[:0], s.width, s.height, deferred=True)
    image.rgb.sum().backward()
    assert all(tensor.grad is None or not tensor.grad.any() for tensor in gaussians.tensors())


def test_gradients_of_some_tensors_alone(scene: Callable) -> None:
    s = scene("translucent")
    colours = s.gaussians.colours.clone().requires_grad_()
    fixed = (s.gaussians.means, s.gaussians.scales, s.gaussians.rotations, s.gaussians.opacities)
    for deferred in (False, True):
        image = render(Gaussians(*fixed, colours), s.w2c, s.fxfycxcy, s.width, s.height, deferred=deferred)
        image.rgb.square().mean().backward()
    direct_and_deferred = colours.grad
    assert direct_and_deferred is not None
    colours.grad = None
    render(Gaussians(*fixed, colours), s.w2c, s.fxfycxcy, s.width, s.height).rgb.square().mean().backward()
    assert colours.grad is not None
    torch.testing.assert_close(direct_and_deferred, 2 * colours.grad, rtol=1e-5, atol=1e-10)
