"""How many trials fit at once: a sum over the cluster's machines, shown where it does not come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mouse_facelift.errors import InputError
from training.launch import DATA_CPUS

DRIVER_CPU = 0.01
"""Logical CPUs of the process that looks after a trial whose workers are processes of their own."""


@dataclass(frozen=True)
class TrialResources:
    """What one trial gets, and how many run side by side."""

    workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    """0 where trials train on CPUs."""
    side_by_side: int

    def described(self) -> str:
        """For the plan."""
        gpu = f" + {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        worker = f"{self.cpus_per_worker:g} CPU{gpu}"
        return worker if self.workers == 1 else f"{self.workers} workers x ({worker})"


def plan_trials(
    machines: Sequence[Mapping[str, float]],
    *,
    workers: int,
    cpus_per_worker: float | None,
    gpus_per_worker: float,
    use_gpu: bool,
    stream: bool,
    most: int,
) -> TrialResources:
    """Trials side by side.

    A worker never spans machines, so whole workers per machine are counted, not CPUs in all. Ray Data's share is set
    aside first: one CPU for every trial that streams its samples, one in all for trials whose samples are read once
    at their start. A trial of one worker with its samples in memory needs none.

    Args:
        machines: resources of every machine, in Ray's names.
        workers: per trial.
        cpus_per_worker: one by default.
        gpus_per_worker: where GPUs are used.
        use_gpu: whether they are.
        stream: whether trials read their samples anew every epoch.
        most: trials there are.

    Raises:
        InputError: not one trial fits; the line shows the sum.
    """
    cpus = 1.0 if cpus_per_worker is None else cpus_per_worker
    gpus = gpus_per_worker if use_gpu else 0.0
    alone = workers == 1 and not stream
    shared, own = (0.0, 0.0) if alone else ((0.0, DATA_CPUS) if stream else (DATA_CPUS, 0.0))
    total = sum(machine.get("CPU", 0.0) for machine in machines)
    slots = sum(_workers_of(machine, cpus, gpus) for machine in machines)
    driver = 0.0 if alone else DRIVER_CPU
    per_trial = workers * cpus + own + driver
    # Floating sums of shares such as 0.1 must not cost a trial.
    fitting = min(slots // workers, int((total - shared) / per_trial + 1e-6))
    if fitting < 1:
        raise InputError(_sum(machines, workers, cpus, gpus, shared + own, driver))
    return TrialResources(workers, cpus, gpus, min(fitting, most))


def _workers_of(machine: Mapping[str, float], cpus: float, gpus: float) -> int:
    by_cpu = int(machine.get("CPU", 0.0) / cpus + 1e-6)
    if not gpus:
        return by_cpu
    # A part of a GPU cannot be put together from two.
    return min(by_cpu, int(machine.get("GPU", 0.0)) * int(1.0 / gpus + 1e-6))


def _sum(
    machines: Sequence[Mapping[str, float]], workers: int, cpus: float, gpus: float, data: float, driver: float
) -> str:
    parts = f"{workers} worker{'s' if workers > 1 else ''} x {cpus:g} CPU"
    parts += f" + {data:g} CPU for Ray Data" if data else ""
    parts += f" + {driver:g} CPU for its driver" if driver else ""
    have = " + ".join(f"{machine.get('CPU', 0.0):g}" for machine in machines) or "0"
    line = f"one trial needs {parts} = {workers * cpus + data + driver:g} CPU, Ray's machines have {have}"
    if gpus:
        have = " + ".join(f"{machine.get('GPU', 0.0):g}" for machine in machines) or "0"
        line += f"; and {workers} x {gpus:g} GPU = {workers * gpus:g}, they have {have}"
    return f"{line}; use a smaller --cpus-per-worker or fewer --workers-per-trial"
