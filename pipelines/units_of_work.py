"""What every resumable application shares: a claim on its output folder, and one Ray task per unit of work.

A unit's files appear whole or not at all and their names follow from their content. The claim says what the unfinished
run was asked to do, so that the same command goes on and any other leaves the folder alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray.data
from tqdm import tqdm

from mouse_facelift.config import RUN_FILE, write_run_record
from mouse_facelift.errors import InputError
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.storage import Store
from pipelines.telemetry import Stage, in_a_job

# Everything a run needs only while it runs; names that start with "_" are invisible to Parquet readers.
WORK = "_work"
_RUN = f"{WORK}/run.json"
MOST_TASKS = 4096
"""Beyond as many items a task takes several: Ray Data keeps a record of every block of its input for the whole run, and
warns of 5,000 blocks and more."""


def finished_dataset(store: Store, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a complete dataset, if it was made as ``identity`` says; otherwise an :class:`InputError`."""
    manifest = open_dataset(store.uri).manifest
    if manifest["config"] != identity:
        raise InputError(f"{store.uri} holds a dataset made with other settings or inputs; choose another --out")
    return manifest


def claim(store: Store, identity: dict[str, Any], verb: str, config: Any) -> None:
    """Begin a run, or go on with one that was stopped; a folder that holds anything else is left alone."""
    if store.exists(_RUN):
        if store.read_json(_RUN) != identity:
            raise InputError(f"{store.uri} holds an unfinished run with other settings; choose another --out")
        if not store.exists(RUN_FILE):
            write_run_record(store.uri, verb, config)
        return
    if store.list():
        raise InputError(f"{store.uri} is not empty and no run of this command fills it; choose another --out")
    store.write(_RUN, json.dumps(identity).encode())
    write_run_record(store.uri, verb, config)


def map_with_progress(
    title: str,
    items: int,
    task: Callable[[dict[str, Any]], dict[str, Any]],
    total: int,
    unit: str = " view-frames",
    cpus: float = 1,
    kept_in: Store | None = None,
) -> None:
    """Run every item, each as a Ray task of its own unless there are more than :data:`MOST_TASKS`.

    Items begin in their order: the largest should come first, for then nobody waits long for the last.

    Args:
        title: What the bar is called.
        items: How many items.
        task: Does an item's work, given ``{"item": i}`` with ``i`` from 0, and returns ``{"count": n}``, by which the
            bar advances, and perhaps ``"rejected"``. What it refers to is sent once, not with every task.
        total: What all counts add up to.
        unit: What is counted.
        cpus: What Ray sets aside for a task.
        kept_in: Where the stage's account is kept when it is done.
    """
    dataset = ray.data.range(items, override_num_blocks=min(items, MOST_TASKS))
    answers = dataset.map(partial(_answered, task), num_cpus=cpus)
    stage = Stage(title.split(" (")[0], items, total, unit.strip())
    with tqdm(total=total, desc=title, unit=unit, file=sys.stderr, disable=in_a_job()) as bar:
        for row in answers.iter_rows():
            if row["refused"]:
                raise InputError(row["refused"])
            bar.update(row["count"])
            stage.finished(row["count"], row["rejected"], unit=row["item"], task_seconds=row["task_seconds"])
    if kept_in is not None:
        stage.keep(kept_in, answers.stats())


def _answered(task: Callable[[dict[str, Any]], dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    """A task's count, or what it refuses; as an exception Ray Data would hand over a traceback and no reason."""
    began = time.monotonic()
    try:
        answer = {"rejected": 0, **task({"item": row["id"]}), "refused": ""}
    except InputError as error:
        answer = {"count": 0, "rejected": 0, "refused": str(error)}
    return answer | {"item": row["id"], "task_seconds": round(time.monotonic() - began, 3)}
