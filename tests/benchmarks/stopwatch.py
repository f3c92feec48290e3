"""Processor time of groups of processes, from what Linux keeps of each: work may be done by helpers far from us."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat (proc(5)), counted behind the name, which may hold blanks: parent; user and system time.
_PARENT, _USER, _SYSTEM = 1, 11, 12


@dataclass(frozen=True)
class Spent:
    """What some work took, in seconds."""

    cpu: float
    wall: float


def descendants(pid: int | None = None) -> set[int]:
    """A process (this one by default) and all that it started, and they started in turn."""
    parents = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    children: dict[int, list[int]] = {}
    for child, fields in parents.items():
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(child)
    found, waiting = set(), [os.getpid() if pid is None else pid]
    while waiting:
        found.add(waiting[-1])
        waiting.extend(children.get(waiting.pop(), []))
    return found


def timed(work: Callable[[], object], processes: Callable[[], Iterable[int]] = lambda: ()) -> Spent:
    """Run `work`; processor time is this process's and that of `processes`, asked for before and after."""
    before, cpu, wall = _clocks(processes()), time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = _clocks(processes())
    return Spent(cpu + sum(clock - before.get(pid, 0.0) for pid, clock in after.items()), wall)


def _clocks(pids: Iterable[int]) -> dict[int, float]:
    """Processor seconds of processes so far, other than this one; those that have ended are left out."""
    stats = {pid: _stat(pid) for pid in pids if pid != os.getpid()}
    return {pid: (int(s[_USER]) + int(s[_SYSTEM])) / _TICKS for pid, s in stats.items() if s}


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
