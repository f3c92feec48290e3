"""Input that a worker refuses: no retry, one line, and all workers ended."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from ray.exceptions import RayTaskError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from torch import nn

from mouse_facelift.errors import InputError
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import TinyTask
from training.launch import launch
from training.refusals import RefusalsAreFinal, input_error_of
from training.settings import TrainingConfig
from training.task import Moment, Tensors


@dataclass(frozen=True)
class ChoosyTask(TinyTask):
    """One of its workers refuses a step, while the others wait for its gradients; it notes every worker that starts."""

    folder: Path = Path("never")

    def build_model(self) -> nn.Module:
        (self.folder / str(os.getpid())).touch()
        return super().build_model()

    def loss(self, model: nn.Module, batch: Tensors, moment: Moment) -> Any:
        if moment.step == 2 and torch.distributed.get_rank() == 1:
            raise InputError("sample 7: its picture cannot be read; make the dataset again")
        return super().loss(model, batch, moment)


@pytest.mark.slow
def test_refused_input_ends_a_run_without_a_retry(tmp_path: Path, ray_session: None) -> None:
    samples = [ring_sample(blob(seed), seed, views=2, size=16) for seed in range(3)]
    data = write_dataset(tmp_path / "data", {"train": samples[:2], "val": samples[2:]})
    started = tmp_path / "started"
    started.mkdir()
    config = TrainingConfig(
        data=str(data),
        out=tmp_path / "run",
        steps=4,
        batch_size=2,
        num_workers=2,
        max_failures=3,
        wandb="disabled",
        device="cpu",
    )
    with pytest.raises(InputError, match="^sample 7: its picture cannot be read; make the dataset again$"):
        launch(ChoosyTask(folder=started), config, "train tiny")
    workers = [int(file.name) for file in started.iterdir()]
    assert len(workers) == 2, "both were started, and once"
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker is left waiting for the one that refused"
        time.sleep(0.1)


def test_a_workers_input_error_reaches_the_person_bare() -> None:
    cause = InputError("training diverged; lower --optimiser.lr")
    failed = WorkerGroupError("rank 1 failed", {1: UserExceptionWithTraceback(cause, "Traceback ...")})
    assert input_error_of(failed) is cause
    assert input_error_of(ControllerError(cause)) is cause
    from_a_task = RayTaskError("read", "Traceback ...", cause).as_instanceof_cause()
    assert input_error_of(WorkerGroupError("rank 0 failed", {0: from_a_task})) is cause
    bug = UserExceptionWithTraceback(ValueError("a bug"), "Traceback ...")
    assert input_error_of(WorkerGroupError("rank 0 failed", {0: bug})) is None


def test_only_a_refusal_is_final() -> None:
    final = RefusalsAreFinal()
    lost, refused = RuntimeError("connection reset by peer"), InputError("sample 7: cannot be read")
    final.after_exception(None, {0: lost, 1: ValueError("a bug")})
    with pytest.raises(InputError) as caught:
        final.after_exception(None, {0: lost, 1: refused})
    assert caught.value is refused
