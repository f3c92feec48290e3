"""The one place where a process joins Ray: a cluster it was sent to, or its own machine.

Inside `ray job submit` and on a cluster `RAY_ADDRESS` is set and the process connects there; anywhere else a local
Ray starts with all CPUs and GPUs of the machine and ends with the process.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
import ray.data

from pipelines.placement import PlacementConfig, place_data
from pipelines.telemetry import log_in_jobs

TRAIN_POLL_SECONDS = "0.2"
"""How often Ray Train's controller looks at its workers. `ray.train.report` returns only when it has looked, so Ray's
default of 2 s makes every checkpoint wait up to 2 s; 0.2 s costs the controller nothing that could be measured."""


RAY_FOLDER = "/tmp/ray"
"""Where Ray keeps sessions and their logs; short, because sockets' paths may have 107 characters."""


def connect(
    placement: PlacementConfig | None = None, *, num_cpus: int | None = None, log_to_driver: bool = False
) -> None:
    """Join Ray, once per process; later calls change nothing but where Ray Data's tasks go.

    Args:
        placement: which machines do what; the default when None.
        num_cpus: logical CPUs of a local Ray; None for all of the machine. Ignored when connecting to a cluster.
        log_to_driver: print the workers' output here. Off by default: results, errors and progress reach the person
            by themselves, and workers' lines would tear the progress bar apart.
    """
    placement = placement or PlacementConfig()
    log_in_jobs()
    if not ray.is_initialized():
        _join(placement, num_cpus, log_to_driver)
    place_data(placement)


def _join(placement: PlacementConfig, num_cpus: int | None, log_to_driver: bool) -> None:
    # Ray Train reads this when a run starts and hands it to its controller and workers.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", TRAIN_POLL_SECONDS)
    quiet = {"log_to_driver": log_to_driver, "logging_level": logging.WARNING}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        # A machine of one's own is not reclaimed by a cloud; watching for it costs each run a process and 2 s.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # Ray's processes find "the cluster of this machine" through its temporary folder. Ray Train's cleaner asks that
        # cluster for the run's controller; where another Ray was started on the machine (`ray start`), it would ask
        # the wrong one, hear of no controller, and take the workers away. A folder of one's own keeps them apart.
        os.environ.setdefault("RAY_TMPDIR", f"{RAY_FOLDER}/{os.getpid()}")
        # Ray Train's bookkeeping asks the dashboard's state service for its own actors; without the dashboard it
        # fills the log with failed questions.
        spill: dict[str, Any] = {"object_spilling_directory": placement.spill_folder} if placement.spill_folder else {}
        ray.init("local", num_cpus=num_cpus or os.cpu_count(), include_dashboard=True, **quiet | spill)
    if not log_to_driver:
        _quieten_ray_data()


def _quieten_ray_data() -> None:
    """Leave the terminal to the applications' own progress; Ray Data's full log stays in its session's folder."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
            # It warns that the bars were switched off.
            handler.addFilter(lambda record: not record.getMessage().startswith("Progress bars disabled"))
