"""Learning rate, weight decay groups, and the refusal of gradients that are not finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.optimiser import apply_gradients, learning_rate, make_optimiser
from training.settings import OptimiserConfig

CONFIG = OptimiserConfig(lr=2.0, warmup_steps=4)


def test_learning_rate_rises_linearly_then_falls_as_half_a_cosine() -> None:
    rates = [learning_rate(step, 12, CONFIG) for step in range(12)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4] == pytest.approx(2.0) and rates[8] == pytest.approx(1.0)
    assert all(a >= b for a, b in zip(rates[4:], rates[5:], strict=False))
    assert learning_rate(12, 12, CONFIG) == pytest.approx(0.0)


def test_only_parameters_of_two_dimensions_decay() -> None:
    linear, norm = nn.Linear(3, 2), nn.LayerNorm(2)
    model = nn.Sequential(linear, norm)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optimiser = make_optimiser(model, OptimiserConfig(weight_decay=0.5, lr=0.1))
    apply_gradients(optimiser, model.parameters(), 0.1, 1.0)
    assert torch.allclose(linear.weight, torch.full((2, 3), 0.95))
    assert torch.equal(linear.bias, torch.ones(2)) and torch.equal(norm.weight, torch.ones(2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_change_nothing(bad: float) -> None:
    model = nn.Linear(2, 1)
    before = [parameter.clone() for parameter in model.parameters()]
    optimiser = make_optimiser(model, OptimiserConfig())
    model.weight.grad = torch.tensor([[bad, 1.0]])
    model.bias.grad = torch.ones(1)
    _, applied = apply_gradients(optimiser, model.parameters(), 0.1, 1.0)
    assert not applied and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_clipping_reports_the_norm_before() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.weight.detach().clone()
    norm, applied = apply_gradients(sgd, model.parameters(), 1.0, 1.0)
    assert applied and norm == pytest.approx(5.0)
    assert torch.allclose(before - model.weight.detach(), torch.tensor([[0.6, 0.8]]), atol=1e-5)


def test_a_constant_schedule_stays_after_the_warm_up() -> None:
    config = OptimiserConfig(lr=1.0, warmup_steps=4, schedule="constant")
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and set(rates[4:]) == {1.0}
