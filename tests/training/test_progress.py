"""What a person sees of a run, and when Weights & Biases is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.metrics_log import MetricsLog
from training.progress import shown, start_wandb, wandb_key_configured
from training.settings import TrainingConfig

VERDICT = ("score", "blank_score")


def _config(folder: Path) -> TrainingConfig:
    return TrainingConfig(data="d", out=folder, steps=20, wandb="disabled")


def test_plain_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    train = {"event": "train", "loss": 0.5, "step_seconds": 9.0, "samples_per_second": 1.0, "data_wait": 0.25}
    with shown(_config(tmp_path), VERDICT):
        log.append({"event": "start", "step": 0, "parameters": 1234})
        log.append(train | {"step": 1})
        log.append(train | {"step": 5})
        log.append(train | {"step": 6})
        judged = {"event": "evaluate", "step": 20, "samples": 3, "score": 9.0, "blank_score": 12.0}
        log.append(judged | {"beats_baseline": False})
        log.append(train | {"step": 20, "loss": None})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "parameters 1234",
        "step 5/20: loss 0.5000, 1.0 samples/s, waiting for data 25%, 2 min 15 s left",
        "step 20/20: held out (3 samples): score 9.00 (baseline 12.00)  ** BELOW THE BASELINE **",
        "step 20/20: loss undefined, 1.0 samples/s, waiting for data 25%, 0 s left",
    ]


def test_wandb_is_online_only_with_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not wandb_key_configured()
    assert start_wandb(replace(_config(tmp_path), wandb="auto")) is None
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    assert wandb_key_configured()
    (tmp_path / "netrc").write_text("machine example.org login user password x")
    assert not wandb_key_configured()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_key_configured()


@pytest.mark.slow
def test_offline_runs_continue_under_one_id(tmp_path: Path) -> None:
    config = replace(_config(tmp_path), wandb="offline")
    ids = []
    for _ in range(2):
        run = start_wandb(config)
        assert run is not None
        run.log({"train/loss": 1.0}, step=1)
        ids.append(run.id)
        run.finish()
    assert ids[0] == ids[1]
    assert list((tmp_path / "wandb").rglob("*.wandb"))
