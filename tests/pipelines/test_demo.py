from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mouse_facelift.errors import InputError
from pipelines.demo import STAGES, DemoConfig, StageClock, demo


def test_the_clock_adds_up_interrupted_runs_and_does_not_count_finished_stages(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path)
    clock = StageClock(config)
    with pytest.raises(KeyboardInterrupt), clock.stage("record", "first part"):
        raise KeyboardInterrupt
    interrupted = json.loads((tmp_path / "demo.json").read_text())["stages"]["record"]
    assert not interrupted["finished"] and interrupted["seconds"] > 0

    with StageClock(config).stage("record", "second part"):
        pass
    finished = json.loads((tmp_path / "demo.json").read_text())["stages"]["record"]
    assert finished["finished"] and finished["seconds"] > interrupted["seconds"]

    again = StageClock(config)
    with again.stage("record", "nothing left to do"):
        pass
    assert again.stages["record"] == finished
    assert [name for name, _ in again.rows()] == ["record", "together"]


def test_a_folder_of_another_demo_is_left_alone(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path)
    with StageClock(config).stage("record", "x"):
        pass
    with pytest.raises(InputError, match="other settings"):
        StageClock(replace(config, seed=1))
    StageClock(config)


@pytest.mark.slow
def test_the_demo_makes_everything_and_again_nothing(
    tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DemoConfig(out=tmp_path / "demo", frames=16, width=288, height=256, steps=2, samples=1, workers=1)
    report = demo(config)
    printed = capsys.readouterr().out
    assert all(f"[{i}/5] {name}" in printed for i, name in enumerate(STAGES, start=1))
    assert {verdict.metric for verdict in report.verdicts} >= {"foreground PSNR", "mask IoU"}
    page = (config.out / "report.html").read_text(encoding="utf-8")
    assert "The recording" in page and "Training" in page and "turntable.mp4" in page

    products = [path for path in config.out.rglob("*") if path.suffix in (".mp4", ".parquet", ".ply", ".safetensors")]
    before = {path: path.stat().st_mtime_ns for path in products}
    assert {path.suffix for path in products} == {".mp4", ".parquet", ".ply", ".safetensors"}
    demo(config)
    assert {path: path.stat().st_mtime_ns for path in products} == before
