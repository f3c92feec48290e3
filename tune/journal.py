"""What a search decided, written down before anyone acts on it.

OUT/journal.jsonl has one line per event: a trial was suggested, a point of its curve was seen, it ended. A line is on
disk before the search goes on, so a search that is killed at any moment and started again knows every trial it had
suggested and repeats every decision it had made. Only the search's own process writes.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mouse_facelift.errors import InputError

JOURNAL_FILE = "journal.jsonl"


class Journal:
    """The journal of a search's folder; a last line that was cut short is dropped when it is opened.

    Raises:
        InputError: a line other than the last one is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        self.events = [self._event(line, number) for number, line in enumerate(whole.splitlines(), start=1)]
        folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(len(whole))

    def append(self, event: str, **values: Any) -> dict[str, Any]:
        """Write one event; it is on disk when this returns."""
        entry = {"event": event, "time": round(time.time(), 3), **values}
        line = json.dumps(finite(entry), allow_nan=False)
        # Opened anew each time: Ray Tune pickles whoever decides for it, and open files cannot be.
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # As it will be read: what follows from an event must not depend on whether it is old or new.
        self.events.append(json.loads(line))
        return self.events[-1]

    def _event(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self.path}: line {number} is damaged ({error}); start the search anew in another --out"
            ) from error


def finite(value: Any) -> Any:
    """JSON has no nan: an undefined number is null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
