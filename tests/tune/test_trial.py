"""A trial that cannot work is a reason in one line, and the next one's process is as good as new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mouse_facelift.errors import InputError
from tests.tune.plans import plan, two_samples
from training.dataset import Split
from tune import trial
from tune.plan import TRIALS_FOLDER
from tune.trial import ERROR_FILE, OUTCOME, OUTCOME_FILE, reason_of, run_trial


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("cannot take 8 GB\nat all"), "out of memory: cannot take 8 GB"),
        (MemoryError(), "out of memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory: CUDA out of memory. Tried"),
        (InputError("training diverged: step 31"), "training diverged: step 31"),
        (RuntimeError("shapes differ\nhint"), "RuntimeError: shapes differ"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_a_reason_is_one_line(error: BaseException, said: str) -> None:
    assert reason_of(error) == said


def test_a_trial_out_of_memory_is_an_outcome_that_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = plan(two_samples(tmp_path / "dataset"), tmp_path / "search").orders
    told: list[dict[str, Any]] = []
    tries: list[str] = []

    def starved(task: object, config: Any, *rest: object) -> None:
        tries.append(config.out.name)
        raise MemoryError("cannot take 8 GB")

    monkeypatch.setattr(trial, "train_alone", starved)
    monkeypatch.setattr(trial.ray.tune, "report", told.append)
    rows = Split.find(orders.base.data, "train").read(None)
    config = {"trial": {"trial_id": "t007", "stage": "search", "seed": 0}, "overrides": {"losses.alpha": 0.5}}
    for _ in range(2):
        run_trial(config, orders, rows, rows)
    assert tries == ["t007"], "what ended is not trained again"
    folder = tmp_path / "search" / TRIALS_FOLDER / "t007"
    assert "MemoryError" in (folder / ERROR_FILE).read_text()
    outcomes = [json.loads(said[OUTCOME]) for said in told]
    assert outcomes[0] == outcomes[1] == json.loads((folder / OUTCOME_FILE).read_text())
    assert (outcomes[0]["status"], outcomes[0]["reason"]) == ("failed", "out of memory: cannot take 8 GB")
