"""Settings that cannot train are refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.errors import InputError
from training.settings import OptimiserConfig, TrainingConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0"),
        ({"batch_size": 1, "num_workers": 2}, "batch_size of 1 leaves some of 2 workers without a sample"),
        ({"min_workers": 3, "num_workers": 2}, "min_workers 3 exceeds num_workers 2"),
        ({"micro_batch": -1}, "micro_batch is -1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
    ],
)
def test_counts(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(data="d", out=Path("o"), **changes)


@pytest.mark.parametrize("changes", [{"lr": 0.0}, {"lr": float("nan")}, {"warmup_steps": -1}, {"clip_norm": 0.0}])
def test_optimiser(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="optimiser"):
        OptimiserConfig(**changes)
