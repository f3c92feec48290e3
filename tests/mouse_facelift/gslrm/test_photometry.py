"""Known gains and biases are found again, and nothing is made up where pictures say nothing."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gslrm.photometry import GainBias, GainBiasConfig, fit_gain_bias

EXACT = GainBiasConfig(ridge=0.0)
GAIN, BIAS = torch.tensor([[0.8, 1.0, 1.3], [1.1, 0.7, 0.9]]), torch.tensor([[0.1, 0.0, -0.05], [0.02, 0.2, 0.0]])


@pytest.fixture
def pictures() -> tuple[Float[Tensor, "2 12 10 3"], Float[Tensor, "2 12 10"]]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 12, 10)
    mask[:, 3:9, 2:7] = 1.0
    return torch.rand(2, 12, 10, 3, generator=generator), mask


def test_known_adjustments_are_found_and_undone(pictures: tuple[Tensor, Tensor]) -> None:
    rendered, mask = pictures
    seen = GainBias(GAIN, BIAS).apply(rendered, torch.ones_like(mask))
    # What lies outside the mask must not matter.
    target = torch.where(mask[..., None] > 0, seen, torch.rand_like(seen))
    fit = fit_gain_bias(rendered, target, mask, EXACT)
    torch.testing.assert_close(fit.gain, GAIN, atol=1e-5, rtol=0)
    torch.testing.assert_close(fit.bias, BIAS, atol=1e-5, rtol=0)
    adjusted = fit.apply(rendered, mask)
    torch.testing.assert_close(adjusted[mask > 0], seen[mask > 0], atol=1e-5, rtol=0)
    assert torch.equal(adjusted[mask == 0], rendered[mask == 0])


def test_the_fit_is_the_least_squares_optimum(pictures: tuple[Tensor, Tensor]) -> None:
    rendered, mask = pictures
    weight = mask * torch.rand_like(mask)
    target = 0.4 * rendered + 0.2 * torch.rand_like(rendered) + 0.3
    fit = fit_gain_bias(rendered, target, weight, GainBiasConfig(gain=(0.1, 3.0), bias=(-1.0, 1.0), ridge=0.0))

    def error(gain: Tensor, bias: Tensor) -> Float[Tensor, ""]:
        residual = gain[:, None, None] * rendered + bias[:, None, None] - target
        return (weight[..., None] * residual.square()).sum()

    best = error(fit.gain, fit.bias)
    for step in (-1e-2, 1e-2):
        assert error(fit.gain + step, fit.bias) > best and error(fit.gain, fit.bias + step) > best


def test_limits_hold_and_the_bias_follows_a_clamped_gain(pictures: tuple[Tensor, Tensor]) -> None:
    rendered, mask = pictures
    fit = fit_gain_bias(0.1 * rendered, rendered, mask)
    assert fit.gain.max() <= 2.0 and fit.bias.abs().max() <= 0.25
    fit = fit_gain_bias(rendered, 0.8 - rendered, mask)
    assert (fit.gain == 0.5).all()
    means = (mask[..., None] * fit.apply(rendered, mask)).sum((1, 2)) / mask.sum((1, 2))[:, None]
    wanted = (mask[..., None] * (0.8 - rendered)).sum((1, 2)) / mask.sum((1, 2))[:, None]
    torch.testing.assert_close(means, wanted, atol=1e-5, rtol=0)


def test_pictures_that_say_nothing_keep_what_they_are(pictures: tuple[Tensor, Tensor]) -> None:
    rendered, mask = pictures
    empty = fit_gain_bias(rendered, 1.0 - rendered, torch.zeros_like(mask))
    assert torch.equal(empty.gain, torch.ones(2, 3)) and torch.equal(empty.bias, torch.zeros(2, 3))
    flat = fit_gain_bias(torch.full_like(rendered, 0.5), rendered, mask)
    torch.testing.assert_close(flat.gain, torch.ones(2, 3), atol=1e-3, rtol=0)
    assert flat.bias.abs().max() < 0.25


def test_gradients_reach_the_rendering_and_not_the_fit(pictures: tuple[Tensor, Tensor]) -> None:
    rendered, mask = pictures
    rendered.requires_grad_()
    fit = fit_gain_bias(rendered, 0.5 * rendered.detach(), mask)
    assert not fit.gain.requires_grad
    fit.apply(rendered, mask).sum().backward()
    assert rendered.grad is not None
    wanted = 1.0 + mask[..., None] * (fit.gain[:, None, None] - 1.0)
    torch.testing.assert_close(rendered.grad, wanted.expand_as(rendered))
