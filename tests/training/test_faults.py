"""What can go wrong during a run: each either costs the steps since the last checkpoint or ends in one clear line."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mouse_facelift.checkpoints import read_weights
from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import ListReporter, TinyTask
from training.data import memory_batches, rows_of_step
from training.launch import launch
from training.loop import train
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.settings import OptimiserConfig, TrainingConfig
from training.task import Moment, Tensors

SAMPLES = [ring_sample(blob(seed), seed, views=2, size=16) for seed in range(7)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), {"train": SAMPLES[:5], "val": SAMPLES[5:]})


def _config(dataset: Path, out: Path, **changes: Any) -> TrainingConfig:
    config = TrainingConfig(
        data=str(dataset),
        out=out,
        steps=12,
        batch_size=4,
        micro_batch=1,
        log_every=1,
        evaluate_every=100,
        checkpoint_every=4,
        optimiser=OptimiserConfig(lr=1e-2, warmup_steps=2),
        wandb="disabled",
        device="cpu",
    )
    return replace(config, **changes)


def _undisturbed(task: TinyTask, config: TrainingConfig, folder: Path) -> tuple[dict[str, Tensor], list[float]]:
    """Weights and losses of the same run in one process, without a fault."""
    rows: list[dict[str, Any]] = [row_from_sample(sample) for sample in SAMPLES[:5]]

    def batches(start: int) -> Iterator[Tensors]:
        return memory_batches(rows, task.collate, batch_size=4, seed=0, rank=0, world_size=1, start=start)

    reporter = ListReporter(folder)
    train(task, config, batches, [], reporter)
    losses = [line["loss"] for line in reporter.lines if line["event"] == "train"]
    return read_weights(folder / f"step{config.steps}"), losses


def _agree(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class KilledTask(TinyTask):
    """Its worker is killed at a step, once per marker file."""

    marker: Path = Path("never")
    at: int = 6

    def loss(self, model: nn.Module, batch: Tensors, moment: Moment) -> Any:
        if moment.step == self.at and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch, moment)


@pytest.mark.slow
def test_an_elastic_run_survives_a_killed_worker(dataset: Path, tmp_path: Path, ray_session: None) -> None:
    config = _config(dataset, tmp_path / "run", num_workers=2, min_workers=1, max_failures=2)
    result = launch(KilledTask(marker=tmp_path / "killed"), config, "train tiny")
    log = read_metrics_log(config.out / METRICS_FILE, "train")
    assert (tmp_path / "killed").exists() and [entry["step"] for entry in log] == list(range(1, 13))
    expected, _ = _undisturbed(TinyTask(), config, tmp_path / "alone")
    _agree(read_weights(result.checkpoint), expected)


@dataclass(frozen=True)
class UnluckyTask(TinyTask):
    """Takes its time until its driver has been killed; later its worker cannot write files of more than 20 kB, once."""

    killed: Path = Path("never")
    full: Path = Path("never")

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 2000), nn.Tanh(), nn.Linear(2000, 4))

    def loss(self, model: nn.Module, batch: Tensors, moment: Moment) -> Any:
        if not self.killed.exists():
            time.sleep(0.1)
        if moment.step == FULL_AT and not self.full.exists():
            self.full.touch()
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        return super().loss(model, batch, moment)


STEPS, FULL_AT = 40, 30
DRIVER = f"""
import sys
from pathlib import Path
from tests.training.test_faults import UnluckyTask, _config
from training.launch import launch
data, out, killed = map(Path, sys.argv[1:])
launch(UnluckyTask(killed=killed), _config(data, out, steps={STEPS}), "train tiny")
"""


@pytest.mark.slow
def test_a_run_whose_driver_is_killed_and_whose_disk_is_full_resumes_to_the_same_losses(
    dataset: Path, tmp_path: Path, ray_address: str
) -> None:
    config = _config(dataset, tmp_path / "run", steps=STEPS)
    task = UnluckyTask(killed=tmp_path / "killed", full=tmp_path / "full")
    command = [sys.executable, "-c", DRIVER, str(dataset), str(config.out), str(task.killed)]
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    log, deadline = config.out / METRICS_FILE, time.monotonic() + 240
    while not read_metrics_log(log, "checkpoint"):
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() < deadline, "the run did not get to its first checkpoint"
        time.sleep(0.02)
    driver.kill()
    driver.communicate()
    assert max(entry["step"] for entry in read_metrics_log(log)) < FULL_AT
    task.killed.touch()

    # The full disk ends the run in one line; what was whole is kept.
    with pytest.raises(InputError, match="no space left to write the checkpoint of step 32; .* --resume"):
        launch(task, replace(config, resume=True), "train tiny")
    assert task.full.exists()
    result = launch(task, replace(config, resume=True), "train tiny")
    assert [entry["step"] for entry in read_metrics_log(log, "checkpoint")] == list(range(4, STEPS + 1, 4))
    expected, losses = _undisturbed(task, config, tmp_path / "alone")
    _agree(read_weights(result.checkpoint), expected)
    entries = read_metrics_log(log, "train")
    assert [entry["step"] for entry in entries] == list(range(1, STEPS + 1)), "every step once, in order"
    assert [entry["loss"] for entry in entries] == pytest.approx(losses, rel=1e-4)


def test_a_sample_that_is_not_finite_costs_its_steps_alone(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [row_from_sample(sample) for sample in SAMPLES[:5]]
    rows[2] = rows[2] | {"fxfycxcy": [[float("nan")] * 4 for _ in rows[2]["fxfycxcy"]]}
    config = _config(Path("unused"), Path("unused"), batch_size=2, ema_decay=0.5)
    met = sum(2 in rows_of_step(step, 5, 2, 0) for step in range(config.steps))
    assert 0 < met < config.steps

    def batches(start: int) -> Iterator[Tensors]:
        return memory_batches(rows, TinyTask().collate, batch_size=2, seed=0, rank=0, world_size=1, start=start)

    reporter = ListReporter(tmp_path)
    train(TinyTask(), config, batches, [], reporter)
    lines = [line for line in reporter.lines if line["event"] == "train"]
    assert lines[-1]["refused_steps"] == met
    assert all(tensor.isfinite().all() for tensor in read_weights(tmp_path / "step12").values())
