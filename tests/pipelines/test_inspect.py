"""`inspect` on a recording, a dataset and a training run: a page, lines for the terminal, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mouse_facelift import cli
from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.errors import InputError
from pipelines.inspect import InspectConfig, inspect, main
from tests.synthetic import blob, ring_sample, write_dataset
from tests.worlds import write_ball_recording


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_recording(tmp_path_factory.mktemp("captures") / "ball", 12, 4)


def test_a_recording_is_looked_at_and_audited(recording, tmp_path, capsys):
    assert main([str(recording), "--out", str(tmp_path / "page"), "--frames", "4", "--health.image-size", "96"]) == 0
    text = capsys.readouterr().out
    assert "MAMMAL recording, 4 views, 12 frames at 25 fps (0.5 s), masks: video" in text
    assert "OK      mask centroids' rays meet" in text and "slots by azimuth: front 0" in text
    exact = next(line for line in text.splitlines() if line.startswith("exact "))
    legacy = next(line for line in text.splitlines() if line.startswith("pixel_based_trained "))
    assert exact.split()[1:4] == ["0.00", "0.00", "0.00"] and float(legacy.split()[1]) > 1
    assert f"next: mouse-facelift preprocess --capture {recording}" in text
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count("<svg") == 1 and page.count("<img") == 1
    for word in ("Checks", "Slots", "Audit", "pixel_based_trained", "front_left"):
        assert word in page


def test_the_audit_can_be_left_out(recording):
    findings = inspect(InspectConfig(path=str(recording), frames=2, audit=False))
    assert all(section.title != "Audit" for section in findings.sections)
    assert not any("pixel_based" in line for line in findings.lines)


def test_more_frames_than_there_are_is_all_of_them(recording):
    findings = inspect(InspectConfig(path=str(recording), frames=99, audit=False))
    assert any("12 of 12 sampled frames" in check.finding for check in findings.checks)


def test_a_dataset_is_looked_at(tmp_path, capsys):
    samples = [ring_sample(blob(), number, size=24) for number in (0, 1, 2, 9)]
    folder = write_dataset(tmp_path / "rings", {"train": samples[:3], "val": samples[3:]})
    assert main([str(folder), "--out", str(tmp_path / "page")]) == 0
    text = capsys.readouterr().out
    assert "3 train + 1 val samples" in text and "next: mouse-facelift train gslrm --data" in text
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Splits" in page and "Silhouette agreement" in page and "<img" in page


def test_a_training_run_is_looked_at(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    entries = [{"event": "train", "step": s, "loss": 1 / s, "psnr_foreground": 10.0 + s} for s in (1, 2, 3)]
    held_out = {"event": "evaluate", "step": 3, "psnr_foreground": 9.5}
    held_out |= {"nearest_psnr_foreground": 8.0, "blank_psnr_foreground": 5.0}
    (run / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in [*entries, held_out]))
    (run / "config.yaml").write_text("steps: 3\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", str(run)]) == 0
    text = capsys.readouterr().out
    assert "3 steps, foreground PSNR 13.00 dB (training views), foreground PSNR 9.50 dB (held-out views)" in text
    assert "better than both baselines" in text
    page = (tmp_path / "inspect-run" / "report.html").read_text()
    assert "Training loss" in page and "steps: 3" in page


def test_a_diffusion_run_is_looked_at(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    held_out = {"psnr_foreground": 14.0, "nearest_psnr_foreground": 8.0, "mean_psnr_foreground": 15.0}
    entries = [{"event": "train", "step": 3, "loss": 0.5}, {"event": "evaluate", "step": 3, **held_out}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    findings = inspect(InspectConfig(path=str(run)))
    assert findings.lines[0] == "3 steps, foreground PSNR 14.00 dB (held-out views)"
    assert "mean training image" in findings.lines[1] and "below the mean picture" in findings.lines[2]


@pytest.mark.parametrize("imported", [None, {"file": "ckpt.pt", "step": 20000}])
def test_weights_without_a_log_are_no_unfinished_run(imported, tmp_path, capsys, monkeypatch):
    config = {"model": {}} | ({"imported": imported} if imported else {})
    metrics = {} if imported else {"psnr_foreground": 21.5, "blank_psnr_foreground": 3.0}
    weights = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    write_checkpoint(tmp_path / "kept", kind="gslrm", weights=weights, config=config, metrics=metrics)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", "kept"]) == 0
    text = capsys.readouterr().out
    assert "gslrm weights, 2 tensors, 17 parameters" in text
    assert ("imported from ckpt.pt (trained for 20000 steps)" in text) == bool(imported)
    assert ("21.50 dB" in text) == (not imported)
    verb = "train gslrm --init-from kept" if imported else "reconstruct --data DATASET --checkpoint kept"
    assert f"next: mouse-facelift {verb}" in text
    assert "Checkpoint kept" in (tmp_path / "inspect-kept" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/absent"], "is not a folder"),
        (["{tmp}/empty"], "holds no recording"),
        (["{tmp}/stopped"], "holds an unfinished run"),
        (["file:///nowhere/at/all"], "is not a complete dataset"),
        (["{tmp}/empty", "--frames", "0"], "frames must be at least 1"),
        (["{tmp}/empty", "--frame", "3"], "did you mean --frames?"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "config.yaml").write_text("out: x\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", *(a.format(tmp=tmp_path) for a in arguments)]) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("inspect-*"))


def test_a_damaged_recording_is_refused(tmp_path):
    folder = write_ball_recording(tmp_path / "cut", 12, 3)
    video = folder / "videos_undist" / "1.mp4"
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(InputError, match="1.mp4"):
        inspect(InspectConfig(path=str(folder)))
