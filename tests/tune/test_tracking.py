"""Every trial is a run of its search's group."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.evaluation.trials import Point, Trial
from tests.tune.plans import plan, two_samples
from training.settings import TrainingConfig
from tune import tracking
from tune.tracking import SearchTracker


class Recorder:
    """A run that keeps what it is sent."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.sent = sent

    def send(self, entry: dict[str, Any]) -> None:
        self.sent.append(entry)

    def finish(self) -> None:
        self.sent.append({"event": "finished"})


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_trials_are_runs_of_one_group(mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str, str | None, float]] = []
    sent: list[dict[str, Any]] = []

    def start(config: TrainingConfig, group: str | None = None) -> Recorder:
        started.append((config.out.name, config.wandb, group, config.losses.alpha))  # type: ignore[attr-defined]
        return Recorder(sent)

    monkeypatch.setattr(tracking, "start_tracker", start)
    made = plan(two_samples(tmp_path / "dataset"), tmp_path / "my-search")
    tracker = SearchTracker(dataclasses.replace(made, settings=dataclasses.replace(made.settings, wandb=mode)))
    (tmp_path / "my-search/trials/t001").mkdir(parents=True)
    curve = (Point(10, 1.0, {"psnr_foreground": 9.0}), Point(20, 2.0, {"psnr_foreground": 11.0}))
    tracker(Trial("t001", 1, {"losses.alpha": 0.5}, 0, "search", "stopped", curve=curve))
    tracker.finish()
    if mode == "disabled":
        assert not started and not sent
        return
    assert started == [("t001", "offline", "my-search", 0.5)]
    assert [(e.get("step"), e.get("psnr_foreground")) for e in sent] == [(10, 9.0), (20, 11.0), (None, None)]
