"""Whether one driver keeps a cluster busy: the same units on 1, 2, 4 and 8 simulated nodes of one CPU each.

    python -m tests.benchmarks.cluster_scale --capture RECORDING [--nodes 1 2 4 8] [--units 16] [--idle-units 400]

* `idle`: units that do nothing, so that the driver is all there is to wait for.
* `real`: surveys of eight frames of the recording each, repeated until there are `--units` of them.

All nodes are on this machine (``ray.cluster_utils``) and share its CPUs: a node claims one (Ray takes no fraction), its
tasks ask for as much. Throughput of real units therefore grows no further than the machine's CPUs; what counts is the
driver's share - its processor time over the elapsed time - which must stay far below 1 as nodes are added.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro
from ray.cluster_utils import Cluster

from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.survey import survey_frames
from pipelines.session import connect
from pipelines.units_of_work import map_with_progress

_UNIT_FRAMES = 8


@dataclass(frozen=True)
class Config:
    """What is timed."""

    capture: Path
    """A recording with masks."""
    nodes: tuple[int, ...] = (1, 2, 4, 8)
    node_cpus: int = 1
    units: int = 16
    idle_units: int = 400


def idle(row: dict[str, Any]) -> dict[str, Any]:
    """A unit that does nothing."""
    return {"count": 1}


def surveyor(recording: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Units that survey a few frames of a recording."""
    capture = open_capture(recording)
    places = max(1, capture.frame_count // _UNIT_FRAMES)

    def survey(row: dict[str, Any]) -> dict[str, Any]:
        start = row["item"] % places * _UNIT_FRAMES
        frames = range(start, min(start + _UNIT_FRAMES, capture.frame_count))
        survey_frames(capture, frames, {}, MaskConfig(), CentreConfig(), "auto")
        return {"count": 1}

    return survey


def timed(task: Callable[[dict[str, Any]], dict[str, Any]], units: int, cpus: float) -> tuple[float, float]:
    """(units per second, the driver's processor time over the elapsed time)."""
    processor, elapsed = time.process_time(), time.perf_counter()
    map_with_progress("units", units, task, units, " units", cpus)
    processor, elapsed = time.process_time() - processor, time.perf_counter() - elapsed
    return units / elapsed, processor / elapsed


def on_nodes(config: Config, nodes: int) -> None:
    """Time both kinds of units on a new cluster and print a line."""
    # The driver's own node has no CPU to lend.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=config.node_cpus)
        os.environ["RAY_ADDRESS"] = str(cluster.address)
        connect()
        survey = surveyor(config.capture)
        timed(survey, nodes, config.node_cpus)  # Starts workers; they load what they need.
        idle_rate, idle_share = timed(idle, config.idle_units, config.node_cpus)
        real_rate, real_share = timed(survey, config.units, config.node_cpus)
        print(f"{nodes:5} {idle_rate:12.1f} {idle_share:8.0%} {real_rate:12.2f} {real_share:8.0%}", flush=True)
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        ray.shutdown()
        cluster.shutdown()


def main(config: Config) -> None:
    print(f"{'nodes':>5} {'idle units/s':>12} {'driver':>8} {'real units/s':>12} {'driver':>8}")
    for nodes in config.nodes:
        on_nodes(config, nodes)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
