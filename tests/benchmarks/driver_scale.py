"""What a plan of a million units costs the driver of `preprocess`: seconds and memory, without any work done.

    python -m tests.benchmarks.driver_scale [--units 1000000] [--tasks 10000] [--nodes 2]

* `plan`: units of synthetic recordings, made, described and laid out for the tasks.
* `similarity`: scale and smoothed centres from surveys made up on the spot (reading them is not in it).
* `hand out`: Ray tasks that do nothing, as many as `--tasks`, through the driver, on a simulated cluster.

A stage's processor time bounds how many units one driver can serve; its memory how long a plan it can hold.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

import numpy as np
import tyro

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.capture import Capture, View
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.similarity import find_similarity
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.survey import UnitPlaces
from mouse_facelift.samples.units import FrameSelection, Unit, describe_plan, plan_units
from mouse_facelift.storage import Store

_T = TypeVar("_T")


@dataclass(frozen=True)
class Config:
    """What is measured."""

    units: int = 1_000_000
    unit_frames: int = 64
    recordings: int = 100
    """Recordings that the units come from."""
    smoothed: int = 20_000
    """Units of the first recordings whose centres are smoothed; holds one recording at a time, so memory stays."""
    tasks: int = 10_000
    """Ray tasks that do nothing."""
    nodes: int = 2
    """Nodes of the simulated cluster, one CPU each."""


def memory_mb() -> tuple[float, float]:
    """(Resident memory of this process now, its peak so far) in MB."""
    status = Path("/proc/self/status").read_text()
    now, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def measured(title: str, work: Callable[[], _T], units: int) -> _T:
    """Do something and print what it took."""
    processor, elapsed = time.process_time(), time.perf_counter()
    result = work()
    processor, elapsed = time.process_time() - processor, time.perf_counter() - elapsed
    now, peak = memory_mb()
    rate = units / max(processor, 1e-9)
    print(
        f"{title:22} {processor:8.1f} s of processor time ({elapsed:.1f} s elapsed), {rate:10.0f} units/s of it, "
        f"{now:6.0f} MB resident, peak {peak:.0f} MB",
        flush=True,
    )
    return result


def made_up_surveys(units: Sequence[Unit]) -> Iterator[UnitPlaces]:
    """A centre for every frame, far from constant."""
    for unit in units:
        frames = np.array(unit.frames)
        centres = np.stack([np.sin(frames / 50), np.cos(frames / 70), frames % 7], axis=-1)
        yield UnitPlaces(frames, centres, np.ones(len(frames), bool), np.zeros(len(frames)), frozenset())


def plan_stages(config: Config, folder: Path) -> None:
    """Plan, lay out, decide; as `preprocess` does."""
    from pipelines.preprocess_units import CentresWriter, Job, write_plan

    frames = -(-config.units * config.unit_frames // config.recordings)
    captures = tuple(
        Capture(f"recording_{i:03d}", folder, "mammal", (), frames, 100.0) for i in range(config.recordings)
    )
    splits = SplitConfig()
    units, _ = measured(
        "plan", lambda: plan_units(captures, FrameSelection(), splits, config.unit_frames), config.units
    )
    measured("describe the split", lambda: describe_plan(captures, units, splits), config.units)
    job = cast(Job, SimpleNamespace(store=Store.at(folder)))
    measured("lay the plan out", lambda: write_plan(job, units), config.units)
    writer, some = CentresWriter(job), units[: config.smoothed]
    camera = Camera("a", 64, 64, np.diag([60.0, 60.0, 1.0]), np.eye(3), np.array([0, 0, 300.0]))
    seen = [replace(capture, views=(View("a", camera, folder / "a.mp4"),)) for capture in captures]
    measured(
        "similarity, smoothing",
        lambda: find_similarity(seen, some, made_up_surveys(some), 1.0, "auto", CentreConfig(), writer.add),
        len(some),
    )
    writer.flush()


def hand_out(config: Config) -> None:
    """Tasks that do nothing, through the driver."""
    import ray
    from ray.cluster_utils import Cluster

    from pipelines.session import connect
    from pipelines.units_of_work import map_with_progress

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(config.nodes):
            cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = str(cluster.address)
        connect()
        map_with_progress("start workers", 2 * config.nodes, lambda row: {"count": 1}, 2 * config.nodes)
        measured(
            "hand out",
            lambda: map_with_progress("hand out", config.tasks, lambda row: {"count": 1}, config.tasks),
            config.tasks,
        )
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        ray.shutdown()
        cluster.shutdown()


def main(config: Config) -> None:
    print(f"{config.units} units of {config.unit_frames} frames, {config.recordings} recordings")
    with tempfile.TemporaryDirectory() as scratch:
        plan_stages(config, Path(scratch))
    if config.tasks:
        hand_out(config)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
