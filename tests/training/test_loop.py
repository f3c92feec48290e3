"""The loop in one process: exact resumption, starting from other weights, evaluation, divergence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mouse_facelift.checkpoints import read_config, read_metrics, read_state, read_weights
from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample
from tests.training.tiny import ListReporter, TinyTask
from training.data import memory_batches, prefetched
from training.gslrm import PRESETS, GSLRMTask
from training.loop import MAX_REFUSED_STEPS, step_seed, train
from training.settings import OptimiserConfig, TrainingConfig
from training.task import Moment, Task, Tensors, World

CONFIG = TrainingConfig(
    data="unused",
    out=Path("unused"),
    steps=8,
    batch_size=2,
    log_every=2,
    evaluate_every=4,
    checkpoint_every=4,
    optimiser=OptimiserConfig(lr=1e-2, warmup_steps=2),
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row_from_sample(ring_sample(blob(seed), seed, views=4, size=32)) for seed in range(5)]


def run(
    task: Task, config: TrainingConfig, rows: list[dict[str, Any]], folder: Path, resume_from: Path | None = None
) -> ListReporter:
    reporter = ListReporter(folder)

    def batches(start: int) -> Iterator[Tensors]:
        endless = memory_batches(
            rows, task.collate, batch_size=config.batch_size, seed=config.seed, rank=0, world_size=1, start=start
        )
        return prefetched(endless, 1)

    train(task, config, batches, rows[:2], reporter, resume_from=resume_from)
    return reporter


def debug_gslrm() -> tuple[Task, TrainingConfig]:
    preset = PRESETS["debug"]
    config = replace(preset, data="unused", out=Path("unused"), steps=4, evaluate_every=2, checkpoint_every=2)
    return GSLRMTask(config), config


def test_resumed_equals_uninterrupted_bit_for_bit(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    task, config = debug_gslrm()
    whole = run(task, config, rows, tmp_path / "whole")
    resumed = run(task, config, rows, tmp_path / "resumed", resume_from=tmp_path / "whole" / "step2")
    expected, got = read_weights(tmp_path / "whole" / "step4"), read_weights(tmp_path / "resumed" / "step4")
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(_weights(tmp_path / "whole" / "step2"), _weights(tmp_path / "whole" / "step4"), strict=True)
    )
    state, again = (read_state(tmp_path / name / "step4") for name in ("whole", "resumed"))
    assert state["step"] == again["step"] == 4
    assert _flat(state["optimiser"]) == _flat(again["optimiser"])
    scores = [line for line in whole.lines if line["event"] == "evaluate"][-1]
    assert [line for line in resumed.lines if line["event"] == "evaluate"][-1]["psnr"] == scores["psnr"]
    assert resumed.lines[0]["step"] > 2, "a resumed run repeats no step and does not start over"


def _weights(folder: Path) -> list[Tensor]:
    return list(read_weights(folder).values())


def _flat(state: dict[str, Any]) -> list[Any]:
    return [v.tolist() for moments in state["state"].values() for v in moments.values()]


def test_init_from_takes_weights_and_no_counters(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    run(TinyTask(), CONFIG, rows, tmp_path / "first")
    start = tmp_path / "first" / "step8"
    frozen = replace(CONFIG, init_from=start, steps=1, optimiser=OptimiserConfig(lr=1e-30, warmup_steps=0))
    second = run(TinyTask(), frozen, rows, tmp_path / "second")
    sizes = {"parameters": 76, "trained_parameters": 76, "samples_per_pass": 2}
    assert second.lines[0] == {"event": "start", "step": 0, "steps": 1, "workers": 1} | sizes
    assert read_state(tmp_path / "second" / "step1")["step"] == 1
    ours, theirs = read_weights(start), read_weights(tmp_path / "second" / "step1")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_learns_and_says_so(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    config = replace(CONFIG, steps=200, log_every=50, evaluate_every=200, checkpoint_every=200)
    lines = run(TinyTask(), config, rows, tmp_path).lines
    losses = [line["loss"] for line in lines if line["event"] == "train"]
    assert losses[-1] < losses[0] / 3
    assert [line["step"] for line in lines if line["event"] == "train"] == [1, 5, 50, 100, 150, 200]
    evaluation = next(line for line in lines if line["event"] == "evaluate")
    assert evaluation["beats_baseline"] is True and evaluation["samples"] == 2 and evaluation["number"] == 0.5
    assert all(json.loads(json.dumps(line, allow_nan=False)) == line for line in lines)


def test_checkpoint_says_what_it_is(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    task, config = debug_gslrm()
    run(task, config, rows, tmp_path)
    config_read = read_config(tmp_path / "step4")
    assert config_read["kind"] == "gslrm" and config_read["model"]["width"] == 64
    metrics = read_metrics(tmp_path / "step4")
    assert metrics["step"] == 4 and {"psnr_foreground", "blank_psnr_foreground", "nearest_mask_iou"} <= set(metrics)


class BadTask(TinyTask):
    """Its loss is nan at chosen steps."""

    bad = frozenset({1, 3})

    def loss(self, model: nn.Module, batch: Tensors, moment: Moment) -> Any:
        loss, scalars = super().loss(model, batch, moment)
        spoilt = moment.step in self.bad
        return (loss * float("nan"), {"loss": loss.detach() * float("nan")}) if spoilt else (loss, scalars)


class HopelessTask(BadTask):
    bad = frozenset(range(1000))


def test_steps_without_finite_gradients_are_counted_and_harmless(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    lines = run(BadTask(), CONFIG, rows, tmp_path).lines
    assert [line["refused_steps"] for line in lines if line["event"] == "train"][-1] == 2
    assert all(torch.isfinite(tensor).all() for tensor in _weights(tmp_path / "step8"))


def test_divergence_ends_the_run_with_advice(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{MAX_REFUSED_STEPS} steps .*lower --optimiser.lr"):
        run(HopelessTask(), replace(CONFIG, steps=100), rows, tmp_path)
    # A run that is stopped and goes on is given up at the same step.
    with pytest.raises(InputError, match=f"up to step {MAX_REFUSED_STEPS} "):
        run(HopelessTask(), replace(CONFIG, steps=100), rows, tmp_path, resume_from=tmp_path / "step12")


def test_step_seeds_differ_between_steps_ranks_and_seeds() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(4) for step in range(200) for rank in range(8)}
    assert len(seeds) == 4 * 200 * 8 and all(0 <= seed < 2**63 for seed in seeds)


def test_ranks_share_the_held_out_set(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    numbers: list[float] = []

    def gather(scores: list[dict[str, float]]) -> list[dict[str, float]]:
        numbers.extend(score["number"] for score in scores)
        return scores

    config = replace(CONFIG, steps=1)
    for rank in range(2):
        batch = TinyTask().collate(rows[:1])
        world = World(rank=rank, size=2, gather=gather)
        train(TinyTask(), config, lambda start, b=batch: iter([b]), rows, ListReporter(tmp_path / str(rank)), world)
    assert numbers == [0.0, 2.0, 4.0, 1.0, 3.0]
