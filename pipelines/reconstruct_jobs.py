"""What `reconstruct` has to do: jobs (samples) in order of recording and time, cut into units that are done as wholes.

A unit's samples lie in one shard and go into one piece of their recording's sequence file. Its name follows from what
was asked and of which samples, so that a run that was killed finds what it need not do again, and one with other
settings does not take it for its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mouse_facelift import config as configuration
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.outputs import RECORD_NAME
from mouse_facelift.gaussians.sequence import SUFFIX, SequenceWriter
from mouse_facelift.samples.dataset import Dataset
from mouse_facelift.storage import Store, inside
from pipelines.reconstruct_settings import ALL, ReconstructConfig

PLAN = "plan.json"
RECORDS = "records"
SEQUENCE_UNIT = 16
"""Samples of a unit where no folders are written; where they are, a unit is one batch: work that a kill loses."""
_COLUMNS = ["sample_id", "capture", "segment", "time_s", "frame", "camera", "mask_fraction"]


@dataclass(frozen=True)
class Job:
    """One sample to reconstruct: its place in the order that held-out views rotate in, and what exactly is asked."""

    sample_id: str
    capture: str
    index: int
    shard: str
    row: int
    cameras: tuple[str, ...]
    visible: float
    """Pixels of the animal in all views, as a share of one view's picture."""
    request: dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """Samples that are read, reconstructed and written together."""

    name: str
    capture: str
    shard: str
    jobs: tuple[Job, ...]
    folders: frozenset[str] = frozenset()
    """The samples whose folders are to be written."""
    whole: bool = True
    """Whether the piece of the sequence and the records are to be written."""

    @property
    def place(self) -> tuple[str, list[int]]:
        """Where its samples lie: the shard, and their positions in it."""
        return self.shard, [job.row for job in self.jobs]


def plan_jobs(config: ReconstructConfig, dataset: Dataset, checkpoint: str) -> list[Job]:
    """The split's samples in order of recording, segment and time, thinned evenly to ``max_samples``.

    Args:
        config: what was asked.
        dataset: opened; only columns without pictures are read.
        checkpoint: fingerprint of the model.

    Raises:
        InputError: the split holds no samples, or the held-out camera is missing in one.
    """
    found = _listed(config, dataset)
    if not found:
        counts = ", ".join(f"{k} {v}" for k, v in dataset.manifest["counts"].items())
        raise InputError(
            f"{dataset.store.uri}: split '{config.split}' holds no samples ({counts}); choose another --split"
        )
    wanted = min(config.max_samples or len(found), len(found))
    request = {
        "checkpoint": checkpoint,
        "dataset": dataset.manifest["fingerprint"],
        **config.makes(),
        "outputs": configuration.to_plain(config.output_options()),
    }
    jobs = []
    for index in range(wanted):
        row, shard, number = found[index * len(found) // wanted]
        visible = float(np.nansum(row["mask_fraction"]))
        place = (row["sample_id"], row["capture"], index, shard, number, tuple(row["camera"]), visible)
        jobs.append(Job(*place, request | {"index": index}))
    return jobs


def _listed(config: ReconstructConfig, dataset: Dataset) -> list[tuple[dict[str, Any], str, int]]:
    """(row without pictures, shard, row's number in it) of all samples asked for, in order."""
    splits = ("train", "val") if config.split == ALL else (config.split,)
    found = []
    for shard in (shard for split in splits for shard in dataset.shards(split)):
        rows = dataset.store.read_table(shard, _COLUMNS).to_pylist()
        found += [(row, shard, number) for number, row in enumerate(rows)]
    return sorted(found, key=lambda item: [item[0][name] for name in ("capture", "segment", "time_s", "sample_id")])


def cut_units(config: ReconstructConfig, jobs: Sequence[Job]) -> list[Unit]:
    """The jobs in their order, in units of one shard and recording."""
    size = config.batch_size
    if config.outputs == "sequence":
        size *= -(-SEQUENCE_UNIT // config.batch_size)
    units = []
    for (capture, shard), group in groupby(jobs, lambda job: (job.capture, job.shard)):
        together = list(group)
        for first in range(0, len(together), size):
            members = tuple(together[first : first + size])
            asked = [(job.sample_id, _without_looks(job.request)) for job in members]
            name = f"{len(units):06d}-{_digest(asked)}"
            units.append(Unit(name, capture, shard, members))
    return units


def units_digest(units: Sequence[Unit]) -> str:
    """What tells one run's sequences from another's."""
    return _digest([unit.name for unit in units])


def begin(out: Path, units: Sequence[Unit]) -> None:
    """Make the folder the place of this run: sequences and records of a run that was asked for others go.

    Sample folders stay: each says itself what it answers.
    """
    store, digest = Store.at(out), units_digest(units)
    captures = list(dict.fromkeys(unit.capture for unit in units))
    if store.exists(PLAN):
        before = store.read_json(PLAN)
        if before["digest"] == digest:
            return
        for capture in before["captures"]:
            (out / sequence_name(capture)).unlink(missing_ok=True)
            store.delete(f"{sequence_name(capture)}.parts")
        for folder in (RECORDS, "videos"):
            shutil.rmtree(out / folder, ignore_errors=True)
    store.write(PLAN, json.dumps({"digest": digest, "captures": captures}).encode())


def missing(config: ReconstructConfig, units: Sequence[Unit]) -> list[Unit]:
    """What is still to be done, unit by unit; a unit of which a part is missing is computed as a whole."""
    store, pending = Store.at(config.out), []
    recorded = set(store.list(RECORDS, ".json"))
    written: dict[str, set[str]] = {}
    for capture, members in groupby(units, lambda unit: unit.capture):
        name, mine = sequence_name(capture), list(members)
        written[capture] = SequenceWriter(store, name).written()
        # Without pieces, the file itself is there when all of them were joined.
        if not written[capture] and store.exists(name) and all(record_name(unit) in recorded for unit in mine):
            written[capture] = {unit.name for unit in mine}
    for unit in units:
        whole = record_name(unit) not in recorded or unit.name not in written[unit.capture]
        folders = frozenset(job.sample_id for job in unit.jobs if not is_done(config, job))
        folders = folders if config.outputs == "full" else frozenset()
        if whole or folders:
            pending.append(Unit(unit.name, unit.capture, unit.shard, unit.jobs, folders, whole))
    return pending


def show_units(config: ReconstructConfig, jobs: Sequence[Job]) -> list[Unit]:
    """Units that write the folders of single samples, where they are missing."""
    return [
        Unit(f"show-{job.index:06d}", job.capture, job.shard, (job,), frozenset({job.sample_id}), whole=False)
        for job in jobs
        if not is_done(config, job)
    ]


def is_done(config: ReconstructConfig, job: Job) -> bool:
    """Whether the job's folder holds the answer to exactly this request."""
    record = sample_folder(config.out, job.sample_id) / RECORD_NAME
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("request") == job.request


def sample_folder(out: Path, sample_id: str) -> Path:
    """Where a sample's files lie."""
    return out / "samples" / inside(sample_id)


def sequence_name(capture: str) -> str:
    """A recording's sequence file, relative to the output."""
    return inside(f"{capture}{SUFFIX}")


def record_name(unit: Unit) -> str:
    """Where the records of a unit's samples lie, relative to the output."""
    return f"{RECORDS}/{unit.name}.json"


def read_records(out: Path, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """The records of all samples, in order."""
    store = Store.at(out)
    return [record for unit in units for record in store.read_json(record_name(unit))["records"]]


def _without_looks(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request without what changes the folders' files alone."""
    return {key: value for key, value in request.items() if key != "outputs"}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
