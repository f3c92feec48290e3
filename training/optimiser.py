"""The optimiser: which parameters decay, how the learning rate runs, and which gradients are refused."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from training.settings import OptimiserConfig


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and free tokens, and leaves one-dimensional parameters (norms, biases) alone."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = any(parameter.is_cuda for parameter in trained)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, fused=fused)


def learning_rate(step: int, steps: int, config: OptimiserConfig) -> float:
    """Learning rate of the step with this number (from 0): linear warm-up, then half a cosine that ends at zero."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * progress))


def apply_gradients(
    optimiser: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], lr: float, clip_norm: float
) -> tuple[float, bool]:
    """Clip the gradients and step, unless they are not finite; clears them either way.

    Under DDP every process holds the same averaged gradients, so all of them refuse the same steps.

    Returns:
        The gradients' norm before clipping, and whether the step was applied.
    """
    norm = float(nn.utils.clip_grad_norm_(parameters, clip_norm))
    applied = math.isfinite(norm)
    if applied:
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm, applied
