"""`train gslrm --overfit`: one command with a verdict, on a tiny world with a low bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.synthetic import blob, ring_sample, write_dataset
from training.gslrm import main
from training.metrics_log import METRICS_FILE, read_metrics_log


@pytest.mark.slow
def test_one_command_with_a_verdict(tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [ring_sample(blob(seed), seed) for seed in range(3)]
    # No validation split: the test judges what it trains on.
    data = write_dataset(tmp_path / "data", {"train": samples})
    command = f"--preset demo --data {data} --out {tmp_path / 'run'} --overfit 2 --overfit-steps 60 --overfit-bar 12"
    command += " --model.width 64 --model.layers 1 --views.num-inputs 3 --views.num-targets 4 --num-workers 1"
    status = main([*command.split(), "--device", "cpu", "--wandb", "disabled", "--batch-size", "2"])
    out = capsys.readouterr().out
    assert "overfitting test: PASS: psnr foreground" in out and status == 0
    last = read_metrics_log(tmp_path / "run" / METRICS_FILE, "evaluate")[-1]
    assert last["step"] == 60 and last["samples"] == 2 and last["psnr_foreground"] > 12
    assert "Overfitting test: PASS" in (tmp_path / "run" / "report.html").read_text()
