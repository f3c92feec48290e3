"""`metrics.jsonl`: one line per event of a run, written by rank 0 and followed by whoever shows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """The writing end. Every line is on disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def rewind(self, step: int) -> None:
        """Forget what came after `step`: a resumed run does those steps again."""
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self.path)


def read_metrics_log(path: Path, event: str | None = None) -> list[dict[str, Any]]:
    """All entries of a log, or those of one event, oldest first. A line cut short by a crash is left out."""
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if _whole(line)]
    return [entry for entry in entries if event is None or entry["event"] == event]


class LogFollower:
    """The reading end of a log that is still being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = path.stat().st_size if path.exists() else 0

    def news(self) -> Iterator[dict[str, Any]]:
        """Entries that were completed since the last call."""
        if not self.path.exists():
            return
        size = self.path.stat().st_size
        if size < self.offset:
            # The log was rewound by a resumed run; what is left was seen before.
            self.offset = size
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                yield json.loads(line)


def _whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


def _step_of(line: str) -> float:
    return json.loads(line)["step"] if _whole(line) else float("inf")
