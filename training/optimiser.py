"""The optimiser: which parameters decay, how the learning rate runs, and which gradients are refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from training.settings import OptimiserConfig


def make_optimiser(
    model: nn.Module, config: OptimiserConfig, scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW that decays matrices and free tokens, and leaves one-dimensional parameters (norms, biases) alone.

    Args:
        model: parameters that require gradients are trained.
        config: rates.
        scales: factor on the learning rate by parameter name; 1 for those it does not name.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays, scale = parameter.ndim >= 2, (scales or {}).get(name, 1.0)
        empty = {"params": [], "weight_decay": config.weight_decay if decays else 0.0, "lr_scale": scale}
        groups.setdefault((decays, scale), empty)["params"].append(parameter)
    fused = any(parameter.is_cuda for parameter in model.parameters())
    ordered = [groups[key] for key in sorted(groups, reverse=True)]
    return torch.optim.AdamW(ordered, lr=config.lr, betas=config.betas, fused=fused)


def learning_rate(step: int, steps: int, config: OptimiserConfig) -> float:
    """Learning rate of the step with this number (from 0): linear warm-up, then what `config.schedule` says."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
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
            group["lr"] = lr * group.get("lr_scale", 1.0)
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm, applied
