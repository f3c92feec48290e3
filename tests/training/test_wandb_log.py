"""When Weights & Biases is used, under which id, and that it can never stop a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mouse_facelift.config import RUN_FILE, write_run_record
from mouse_facelift.evaluation.images import write_png
from training.settings import TrainingConfig
from training.wandb_log import ID_KEY, Tracker, key_configured, start_tracker, tracking_id


def _config(folder: Path) -> TrainingConfig:
    return TrainingConfig(data="d", out=folder, steps=20, wandb="disabled")


def test_online_only_with_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not key_configured()
    assert start_tracker(replace(_config(tmp_path), wandb="auto")) is None
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    assert key_configured()
    (tmp_path / "netrc").write_text("machine example.org login user password x")
    assert not key_configured()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert key_configured()


def test_the_id_is_made_once_and_stays_with_the_run(tmp_path: Path) -> None:
    write_run_record(tmp_path / "run", "train gslrm", _config(tmp_path / "run"))
    first = tracking_id(tmp_path / "run")
    record = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert record[ID_KEY] == first and record["verb"] == "train gslrm"
    (tmp_path / "run").rename(tmp_path / "moved")
    assert tracking_id(tmp_path / "moved") == first
    write_run_record(tmp_path / "other", "train gslrm", _config(tmp_path / "other"))
    assert tracking_id(tmp_path / "other") != first


class BrokenRun:
    """A service that fails on every call."""

    def __init__(self) -> None:
        self.calls = 0

    def log(self, values: dict[str, Any], step: int) -> None:
        self.calls += 1
        raise OSError("network unreachable")


def test_a_failing_service_is_mentioned_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = BrokenRun()
    tracker = Tracker(run, tmp_path)
    for step in range(3):
        tracker.send({"event": "train", "step": step, "loss": 1.0})
    tracker.finish()
    assert run.calls == 1
    assert capsys.readouterr().err == "Weights & Biases stopped taking news (network unreachable)\n"


@pytest.mark.slow
def test_offline_runs_continue_under_one_id_without_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    (tmp_path / "panels").mkdir()
    write_png(tmp_path / "panels" / "00000001_sample0.png", np.zeros((4, 4, 3), np.uint8))
    ids = []
    for mode in ("offline", "online"):
        tracker = start_tracker(replace(_config(tmp_path), wandb=mode))
        assert tracker is not None
        tracker.send({"event": "train", "step": 1, "loss": 1.0})
        tracker.send({"event": "panels", "step": 1, "files": ["panels/00000001_sample0.png"]})
        assert tracker.run is not None, "nothing failed"
        ids.append(tracker.run.id)
        tracker.finish()
    assert ids[0] == ids[1] == tracking_id(tmp_path)
    assert list((tmp_path / "wandb").rglob("*.wandb"))
    assert "no API key is configured" in capsys.readouterr().err
