"""A run's news kept in its folder: the metrics log, pictures, and the newest checkpoint with its training state."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mouse_facelift.checkpoints import STATE_FILE
from mouse_facelift.evaluation.images import write_png
from training.disk import explained_full_disk
from training.metrics_log import METRICS_FILE, MetricsLog
from training.report import panel_file
from training.task import Panels

NEWEST = "newest"
"""Folder, inside the run's, of the checkpoint that a run in one process continues from."""


class FolderReporter:
    """See `training.task.Reporter`; for one process that trains alone.

    Args:
        folder: the run's.
        news: called with every line of the log once it is on disk.
    """

    def __init__(self, folder: Path, news: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.folder = folder
        self.metrics_log = MetricsLog(folder / METRICS_FILE)
        self.news = news

    def log(self, entry: dict[str, Any]) -> None:
        with explained_full_disk("the metrics log", self.folder):
            self.metrics_log.append(entry)
        if self.news is not None:
            self.news(entry)

    def panels(self, step: int, images: Panels) -> list[str]:
        files = [panel_file(step, name) for name in images]
        with explained_full_disk("pictures", self.folder):
            for file, image in zip(files, images.values(), strict=True):
                (self.folder / file).parent.mkdir(exist_ok=True)
                write_png(self.folder / file, image)
        return files

    def checkpoint(self, metrics: dict[str, float], write: Callable[[Path], None], last: bool) -> None:
        """Replace the newest checkpoint; at any moment there is a whole one."""
        with explained_full_disk(f"the checkpoint of step {int(metrics['step'])}", self.folder):
            staging = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{NEWEST}."))
            try:
                write(staging / "new")
                swap(staging / "new", self.folder / NEWEST, staging / "old")
            finally:
                shutil.rmtree(staging)

    def newest(self) -> Path | None:
        """The checkpoint to continue from, if there is one."""
        folder = self.folder / NEWEST
        # A crash between the two moves of `swap` leaves the older one in its staging folder.
        left = [folder, *sorted(self.folder.glob(f".{NEWEST}.*/old"))]
        return next((place for place in left if (place / STATE_FILE).is_file()), None)


def swap(new: Path, target: Path, old: Path) -> None:
    """Put the folder `new` in the place of `target`, which goes to `old`."""
    if target.exists():
        target.rename(old)
    new.rename(target)
