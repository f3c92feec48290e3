"""What a trial costs beside its training: Ray Tune wrapped around Ray Train as in its manual, against `tune`.

    python -m tests.benchmarks.tune_overhead --data DATASET [--trials 6] [--steps 200] [--preset debug]

Both run the same configurations (a grid, none stopped) for the same number of steps on the same Ray, evaluate and
write checkpoints at the same steps, and have as many trials side by side. The naive one starts a Ray Train run of one
worker inside every trial, whose process, worker and samples are its own. Wall time is taken from the first trial's
start to the last one's end, with Ray started; "per trial" is what a trial's slot spent on anything but training steps.
Ray is told of twice as many CPUs as trials side by side: the naive trials need some for their drivers and Ray Data.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.tune
import tyro
import yaml

from pipelines.session import connect
from training.gslrm_settings import PRESETS
from training.launch import launch
from training.metrics_log import METRICS_FILE, read_metrics_log
from tune.plan import TRIALS_FOLDER, Orders, Plan, make_plan, prepared
from tune.resources import DRIVER_CPU
from tune.search import run_search
from tune.settings import TuneConfig


@dataclass(frozen=True)
class Config:
    """What is timed."""

    data: Path
    """A dataset."""
    trials: int = 6
    steps: int = 200
    preset: str = "debug"
    side_by_side: int = 2


@dataclass(frozen=True)
class Timing:
    """Seconds of a search."""

    wall: float
    train: float
    """Of all trials' steps together."""

    def row(self, name: str, trials: int, side_by_side: int) -> str:
        beside = (self.wall * side_by_side - self.train) / trials
        ratio = self.wall * side_by_side / self.train
        return f"{name:<8}{self.wall:>9.1f}{self.train:>9.1f}{beside:>12.1f}{ratio:>11.2f}"


def naive_trial(config: Mapping[str, Any], orders: Orders) -> None:
    """A Ray Train run of one worker inside a Ray Tune trial."""
    settings = orders.trial_config(config["name"], config["overrides"], 0)
    task, learned_from = prepared(orders, settings)
    launch(task, settings, "train gslrm", learned_from, lambda *_: contextlib.nullcontext())  # type: ignore[arg-type]
    ray.tune.report({"done": 1})


def naive(plan: Plan) -> float:
    """Seconds until every point of the plan's grid is trained, as Ray Tune's manual has it."""
    points = [{"name": f"t{n:03d}", "overrides": point} for n, point in enumerate(({}, *plan.grid))]
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(lambda config: naive_trial(config["point"], plan.orders), {"CPU": DRIVER_CPU}),
        param_space={"point": ray.tune.grid_search(points)},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=plan.orders.resources.side_by_side),
        run_config=ray.tune.RunConfig(storage_path=str(plan.settings.out / "ray"), verbose=0),
    )
    began = time.monotonic()
    results = tuner.fit()
    took = time.monotonic() - began
    assert not results.errors, results.errors
    return took


def ours(plan: Plan) -> float:
    """Seconds of the same search by `tune`."""
    began = time.monotonic()
    run_search(plan, lambda *_: None)
    return time.monotonic() - began


def train_seconds(out: Path) -> float:
    """Of all steps of all trials, by their logs."""
    total = 0.0
    for log in out.glob(f"{TRIALS_FOLDER}/*/{METRICS_FILE}"):
        last = 0
        for entry in read_metrics_log(log, "train"):
            total, last = total + (entry["step"] - last) * entry["step_seconds"], entry["step"]
    return total


def main(config: Config) -> None:
    """Print a line for each."""
    connect(num_cpus=2 * config.side_by_side)
    with tempfile.TemporaryDirectory() as scratch:
        options = [round(0.1 + 0.1 * n, 1) for n in range(config.trials - 1)]
        space = {"kind": "gslrm", "search": "grid", "scheduler": "none", "axes": {"losses.alpha": {"options": options}}}
        file = Path(scratch) / "space.yaml"
        file.write_text(yaml.safe_dump(space))
        print(f"{'':<8}{'wall s':>9}{'train s':>9}{'per trial s':>12}{'wall/train':>11}")
        for name, searched in (("naive", naive), ("tune", ours)):
            out = Path(scratch) / name
            plan = make_plan(_settings(config, file, out))
            out.mkdir(exist_ok=True)
            timing = Timing(searched(plan), train_seconds(out))
            print(timing.row(name, plan.trials, plan.orders.resources.side_by_side), flush=True)


def _settings(config: Config, space: Path, out: Path) -> TuneConfig:
    return TuneConfig(
        data=str(config.data),
        out=out,
        space=str(space),
        preset=config.preset,
        max_samples=config.steps * PRESETS[config.preset].batch_size,
        finalists=0,
        side_by_side=config.side_by_side,
        device="cpu",
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
