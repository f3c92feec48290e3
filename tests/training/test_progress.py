"""What a person sees of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.metrics_log import MetricsLog
from training.progress import shown
from training.settings import TrainingConfig

VERDICT = ("score", "blank_score")


def _config(folder: Path) -> TrainingConfig:
    return TrainingConfig(data="d", out=folder, steps=20, wandb="disabled")


def test_plain_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    train = {
        "event": "train",
        "loss": 0.5,
        "step_seconds": 9.0,
        "refused_steps": 0,
        "samples_per_second": 1.0,
        "data_wait": 0.25,
    }
    with shown(_config(tmp_path), VERDICT):
        log.append({"event": "start", "step": 0, "parameters": 1234})
        log.append(train | {"step": 1})
        log.append(train | {"step": 5})
        log.append(train | {"step": 6})
        judged = {"event": "evaluate", "step": 20, "samples": 3, "score": 9.0, "blank_score": 12.0}
        log.append(judged | {"beats_baseline": False})
        log.append(train | {"step": 20, "loss": None, "refused_steps": 3})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "parameters 1,234",
        "step 5/20: loss 0.5000, 1.0 samples/s, waiting for data 25%, 2 min 15 s left",
        "step 20/20: held out (3 samples): score 9.00 (baseline 12.00)  ** BELOW THE BASELINE **",
        "step 20/20: loss undefined, 3 steps refused, 1.0 samples/s, waiting for data 25%, 0 s left",
    ]


def test_a_run_goes_on_when_nobody_reads_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with open(write, "w", buffering=1) as pipe:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stderr", pipe)
            with shown(_config(tmp_path), VERDICT):
                log.append({"event": "start", "step": 0, "parameters": 1234})
        with pytest.raises(BrokenPipeError):
            pipe.flush()
        # Closing it would fail for the same line.
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
    assert (tmp_path / "report.html").exists()
