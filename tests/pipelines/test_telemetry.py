"""Every unit leaves a line, a metric that Prometheus can read, and its part in the account beside the output."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.storage import Store
from pipelines import telemetry
from pipelines.telemetry import LOGGER, STATS_FILE, Stage, exposed_wait, log_in_jobs, training_event
from pipelines.units_of_work import map_with_progress


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]


def metrics() -> str:
    """What a Prometheus on this machine would read."""
    import ray

    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return page.read().decode()


def dig(row: dict[str, Any]) -> dict[str, Any]:
    return {"count": 2, "rejected": row["item"] % 2}


@pytest.mark.slow
def test_units_are_told_exported_and_kept(tmp_path: Path, ray_session: None, caplog: pytest.LogCaptureFixture) -> None:
    store = Store.at(tmp_path / "out")
    with caplog.at_level(logging.INFO, LOGGER):
        map_with_progress("dig (with spades)", 4, dig, 8, " holes", kept_in=store)
        map_with_progress("fill", 1, dig, 2, " holes", kept_in=store)
        training_event("run7", {"event": "train", "step": 3, "samples_per_second": 12.5, "data_wait": 0.25} | _PACE)
    told = lines(caplog)
    assert [line["event"] for line in told] == ["unit"] * 5 + ["train"]
    assert sorted(line["unit"] for line in told[:4]) == [0, 1, 2, 3]
    last = told[3]
    assert (last["stage"], last["units_done"], last["units"], last["holes"], last["total"]) == ("dig", 4, 4, 8, 8)
    assert last["rejected"] == 2 and last["per_second"] == pytest.approx(8 / last["seconds"], rel=0.02)
    stages = store.read_json(STATS_FILE)["stages"]
    assert [(stage["stage"], stage["holes"]) for stage in stages] == [("dig", 8), ("fill", 2)]
    assert any("Remote wall time" in line or "wall time" in line.lower() for line in stages[0]["ray_data"])
    wanted = ("ray_mouse_facelift_units_total{", "ray_mouse_facelift_train_samples_per_second{")
    page, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline and not all(name in page for name in wanted):
        time.sleep(1)
        page = metrics()
    told_lines = [line for line in page.splitlines() if "mouse_facelift" in line and not line.startswith("#")]
    # Labels may hold spaces, such as those of another test's stages.
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in told_lines)}
    units = {name: value for name, value in values.items() if name.startswith(wanted[0]) and 'stage="dig"' in name}
    assert list(units.values()) == [4.0]
    assert [v for name, v in values.items() if name.startswith(wanted[1]) and 'run="run7"' in name] == [12.5]


_PACE = {"step_seconds": 0.1, "loss": None}


def test_the_wait_for_data_is_weighted_by_time() -> None:
    early = {"step": 1, "step_seconds": 10.0, "data_wait": 0.5}
    later = {"step": 101, "step_seconds": 0.1, "data_wait": 0.1}
    assert exposed_wait([early, later]) == {"seconds": 20.0, "waited_for_data_seconds": 6.0}
    assert exposed_wait([]) == {"seconds": 0.0, "waited_for_data_seconds": 0.0}


def test_accounts_of_later_runs_come_after_those_of_earlier_ones(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    for name in ("survey", "write"):
        Stage(name, 1, 1, "view-frames").keep(store, "Operator 0\n  1 task")
    stages = store.read_json(STATS_FILE)["stages"]
    assert [stage["stage"] for stage in stages] == ["survey", "write"]
    assert stages[0]["ray_data"] == ["Operator 0", "  1 task"] and stages[0]["view_frames"] == 0


def test_only_a_job_writes_lines_to_its_output(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    before = logger.level
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    log_in_jobs()
    telemetry.log_event("unit", {"count": 1})
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    log_in_jobs()
    log_in_jobs()
    telemetry.log_event("unit", {"count": 2})
    logger.setLevel(before)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["count"] for line in told] == [2]
