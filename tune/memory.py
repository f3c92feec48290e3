"""The most memory a process had: of its GPU where it uses one, otherwise its resident set."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MIB = 2**20


class PeakMemory:
    """Measures from its making, or from entering it, on. Linux tells the peak of a process; elsewhere it is nan."""

    def __init__(self) -> None:
        self.start_mib = self.restart()
        self.above_start_mib = math.nan

    def restart(self) -> float:
        """Forget the peak so far; returns what is in use now (MiB)."""
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / _MIB
        _give_back()
        try:
            # 5 resets the peak of the resident set (proc(5)); some containers forbid it, and the old peak then stays.
            _CLEAR.write_text("5")
        except OSError:
            return math.nan
        return _status("VmRSS")

    def peak_mib(self) -> float:
        """The most since the last start (MiB)."""
        if torch.cuda.is_initialized():
            return torch.cuda.max_memory_allocated() / _MIB
        return _status("VmHWM")

    def __enter__(self) -> PeakMemory:
        self.start_mib = self.restart()
        return self

    def __exit__(self, *reason: object) -> None:
        self.above_start_mib = max(self.peak_mib() - self.start_mib, 0.0)


def _give_back() -> None:
    """Hand freed memory back to the system: what an earlier trial left in this process is none of the next one's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # glibc's; other C libraries have no such function.
        ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> float:
    """A field of /proc/self/status in MiB; nan where there is no such file."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), math.nan)
