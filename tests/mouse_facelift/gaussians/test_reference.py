from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.reference import rasterise
from mouse_facelift.gaussians.rendering import Backend, render

WIDTH, HEIGHT, FOCAL, DEPTH = 24, 18, 30.0, 2.0


def ball(u: float, v: float, sigma_px: float = 1.2, opacity: float = 0.8, depth: float = DEPTH) -> Gaussians:
    """A round Gaussian whose centre the camera of `shot` sees at pixel position (u, v)."""
    mean = torch.tensor([[(u - WIDTH / 2) * depth / FOCAL, (v - HEIGHT / 2) * depth / FOCAL, depth]])
    return Gaussians(
        mean,
        torch.full((1, 3), sigma_px * depth / FOCAL),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([opacity]),
        torch.tensor([[0.9, 0.5, 0.1]]),
    )


def shot(gaussians: Gaussians, backend: Backend, background: float = 0.0) -> tuple[Float[Tensor, "h w 3"], Tensor]:
    lens = torch.tensor([[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]])
    behind = torch.full((3,), background)
    image = render(gaussians, torch.eye(4)[None], lens, WIDTH, HEIGHT, background=behind, backend=backend)
    return image.rgb[0], image.alpha[0]


@pytest.mark.parametrize("backend", ["reference", "tiled"])
@pytest.mark.parametrize("place", [(10.5, 7.5), (12.1, 8.8), (9.0, 9.0), (5.3, 12.9)])
def test_centre_lands_where_the_camera_says(backend: Backend, place: tuple[float, float]) -> None:
    _, alpha = shot(ball(*place), backend)
    columns, rows = torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT) + 0.5
    assert float((alpha * columns).sum() / alpha.sum()) == pytest.approx(place[0], abs=0.02)
    assert float((alpha * rows[:, None]).sum() / alpha.sum()) == pytest.approx(place[1], abs=0.02)


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_alpha_is_the_gaussian_of_the_distance_with_the_low_pass_added(backend: Backend) -> None:
    rgb, alpha = shot(ball(12.0 + 0.5, 9.0 + 0.5, sigma_px=1.2, opacity=0.8), backend)
    # On the optical axis (half a pixel off it) perspective adds next to nothing to the variance.
    variance = 1.2**2 + CONVENTIONS.low_pass_px2
    for distance in (0, 1, 2, 3):
        expected = 0.8 * math.exp(-0.5 * distance**2 / variance)
        assert float(alpha[9, 12 + distance]) == pytest.approx(expected, rel=3e-3)
    torch.testing.assert_close(rgb[9, 12], 0.8 * torch.tensor([0.9, 0.5, 0.1]))
    far = 0.8 * math.exp(-0.5 * 5**2 / variance)
    assert far < CONVENTIONS.min_alpha and float(alpha[9, 17]) == 0.0


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_nearer_gaussians_hide_farther_ones_in_any_order_of_the_list(backend: Backend) -> None:
    near, far = ball(12.5, 9.5, opacity=0.6, depth=1.5), ball(12.5, 9.5, opacity=0.7, depth=3.0)
    far = Gaussians(far.means, far.scales, far.rotations, far.opacities, torch.tensor([[0.0, 1.0, 0.0]]))
    expected = 0.6 * near.colours[0] + 0.4 * 0.7 * far.colours[0]
    for pair in ([near, far], [far, near]):
        rgb, alpha = shot(Gaussians.concatenate(pair), backend)
        torch.testing.assert_close(rgb[9, 12], expected)
        assert float(alpha[9, 12]) == pytest.approx(1 - 0.4 * 0.3)


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_pixels_stop_before_the_gaussian_that_would_finish_them(backend: Backend) -> None:
    wall = [ball(12.5, 9.5, opacity=1.0, depth=1.0 + 0.5 * layer) for layer in range(3)]
    _, alpha = shot(Gaussians.concatenate(wall), backend)
    # Each layer is capped at 0.999; the second would leave 1e-6, so only the first is drawn.
    assert float(alpha[9, 12]) == pytest.approx(CONVENTIONS.max_alpha, abs=1e-6)


@pytest.mark.parametrize("backend", ["reference", "tiled"])
@pytest.mark.parametrize("depth", [0.19, -2.0])
def test_nothing_in_front_of_the_near_plane_is_drawn(backend: Backend, depth: float) -> None:
    _, alpha = shot(ball(12.5, 9.5, depth=depth).map(torch.abs) if depth > 0 else behind_camera(), backend)
    assert float(alpha.max()) == 0.0


def behind_camera() -> Gaussians:
    front = ball(12.5, 9.5)
    return Gaussians(-front.means, front.scales, front.rotations, front.opacities, front.colours)


def test_autograd_agrees_with_finite_differences() -> None:
    torch.manual_seed(3)
    w2c = torch.eye(4, dtype=torch.float64)[None]
    lens = torch.tensor([[9.0, 8.0, 3.2, 2.4]], dtype=torch.float64)
    means = torch.randn(4, 3, dtype=torch.float64) * 0.3 + torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)
    values = (
        means,
        torch.rand(4, 3, dtype=torch.float64) * 0.3 + 0.1,
        torch.randn(4, 4, dtype=torch.float64),
        torch.rand(4, dtype=torch.float64) * 0.6 + 0.3,
        torch.rand(4, 3, dtype=torch.float64),
    )

    def drawn(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return rasterise(Gaussians(*tensors), w2c, lens, 6, 5)

    assert drawn(*values)[1].max() > 0.3
    assert torch.autograd.gradcheck(
        drawn, tuple(value.requires_grad_() for value in values), eps=1e-7, atol=1e-5, fast_mode=True
    )
