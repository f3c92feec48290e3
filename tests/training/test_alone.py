"""A run in one process: the same model as through Ray Train, and as if it had never been stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mouse_facelift.checkpoints import read_weights
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample
from tests.training.tiny import TinyTask
from training.alone import train_alone
from training.folder_reporter import NEWEST
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.settings import OptimiserConfig, TrainingConfig


class Stop(Exception):
    """What ends a run from outside."""


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row_from_sample(ring_sample(blob(seed), seed, size=16)) for seed in range(4)]


def config(out: Path) -> TrainingConfig:
    return TrainingConfig(
        data="unused",
        out=out,
        steps=12,
        batch_size=2,
        optimiser=OptimiserConfig(lr=0.05, warmup_steps=2),
        evaluate_every=3,
        checkpoint_every=3,
        panels_every=12,
        log_every=3,
    )


def test_a_stopped_run_goes_on_to_the_same_model(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    whole = train_alone(TinyTask(), config(tmp_path / "whole"), rows, rows[:2])

    def stop_at_nine(entry: dict[str, Any]) -> None:
        if entry["event"] == "evaluate" and entry["step"] == 9:
            raise Stop

    stopped = config(tmp_path / "stopped")
    with pytest.raises(Stop):
        train_alone(TinyTask(), stopped, rows, rows[:2], stop_at_nine)
    assert (stopped.out / NEWEST).is_dir()
    assert train_alone(TinyTask(), stopped, rows, rows[:2]) == whole
    steps = [entry["step"] for entry in read_metrics_log(stopped.out / METRICS_FILE, "evaluate")]
    assert steps == [3, 6, 9, 12]
    one, other = (read_weights(tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (stopped.out / NEWEST).exists(), "a finished run keeps its model alone"


def test_another_checkpoint_can_be_taken_over(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    def stop_at_six(entry: dict[str, Any]) -> None:
        if entry["event"] == "checkpoint" and entry["step"] == 6:
            raise Stop

    donor, heir = config(tmp_path / "donor"), config(tmp_path / "heir")
    with pytest.raises(Stop):
        train_alone(TinyTask(), donor, rows, rows[:1], stop_at_six)
    seen: list[int] = []
    faster = replace(heir, optimiser=OptimiserConfig(lr=0.1, warmup_steps=2))
    train_alone(TinyTask(), faster, rows, rows[:1], lambda e: seen.append(e["step"]), donor.out / NEWEST)
    assert min(seen) > 6
