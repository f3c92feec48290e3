"""The metrics log survives crashes and resumption, and can be followed while it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.metrics_log import LogFollower, MetricsLog, read_metrics_log


def _entry(step: int, event: str = "train") -> dict[str, object]:
    return {"event": event, "step": step, "loss": step / 3}


def test_written_lines_come_back_exactly(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert read_metrics_log(log.path) == []
    for step in range(4):
        log.append(_entry(step, "evaluate" if step == 2 else "train"))
    assert read_metrics_log(log.path) == [_entry(0), _entry(1), _entry(2, "evaluate"), _entry(3)]
    assert read_metrics_log(log.path, "evaluate") == [_entry(2, "evaluate")]


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        MetricsLog(tmp_path / "m").append({"event": "train", "step": 1, "loss": float("nan")})


def test_rewinding_forgets_later_steps_and_a_torn_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in range(6):
        log.append(_entry(step))
    with log.path.open("a") as file:
        file.write('{"event": "tra')
    log.rewind(3)
    assert read_metrics_log(log.path) == [_entry(step) for step in range(4)]
    log.rewind(-1)
    assert read_metrics_log(log.path) == []


def test_following_gives_every_line_once_also_after_a_rewind(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    follower = LogFollower(log.path)
    assert list(follower.news()) == []
    log.append(_entry(1))
    log.append(_entry(2))
    assert list(follower.news()) == [_entry(1), _entry(2)]
    with log.path.open("a") as file:
        file.write('{"event": "train", ')
    assert list(follower.news()) == [], "half a line is not news"
    with log.path.open("a") as file:
        file.write('"step": 3, "loss": 1.0}\n')
    assert list(follower.news()) == [_entry(3)]
    log.rewind(1)
    assert list(follower.news()) == []
    log.append(_entry(2))
    assert list(follower.news()) == [_entry(2)]


def test_a_new_follower_skips_what_was_there(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(_entry(1))
    follower = LogFollower(log.path)
    log.append(_entry(2))
    assert list(follower.news()) == [_entry(2)]
