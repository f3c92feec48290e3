"""Batch inference: a dataset's samples through a GS-LRM checkpoint -> Gaussians over time, films, scores, a report.

Ray Data reads the units of samples and feeds them to actors, each of which loads the model once; what happens to a
unit is `Reconstructor.do`. A recording's sequence file is joined from its units' pieces. Every file appears whole, so
that running the same command again does what is missing and nothing else. The settings are in
`reconstruct_settings.py`, what is to be done in `reconstruct_jobs.py`, films and the page in files of their own.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy
from tqdm import tqdm

from mouse_facelift import config as configuration
from mouse_facelift.checkpoints import load_gslrm
from mouse_facelift.cli import run_verb
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.reconstruction import ROTATE, choose_views
from mouse_facelift.evaluation.report import Report, verdict_lines, write_report
from mouse_facelift.evaluation.summary import metrics_record, shown_records
from mouse_facelift.gaussians.sequence import SequenceWriter
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.reduction import reduction_factor
from mouse_facelift.storage import Store
from pipelines.placement import model_options, resources_of
from pipelines.reconstruct_films import describe_films, make_films, steady_sequences
from pipelines.reconstruct_jobs import (
    Job,
    Unit,
    begin,
    cut_units,
    missing,
    plan_jobs,
    read_records,
    sequence_name,
    show_units,
)
from pipelines.reconstruct_reading import read_place
from pipelines.reconstruct_report import build_report
from pipelines.reconstruct_settings import ReconstructConfig
from pipelines.reconstruct_work import Reconstructor, checkpoint_fingerprint
from pipelines.session import connect
from pipelines.telemetry import Stage, in_a_job
from pipelines.units_of_work import MOST_TASKS

__all__ = ["ReconstructConfig", "main", "reconstruct"]

# Bytes of a Gaussian: in a sequence file before compression, and in a PLY.
_SEQUENCE_BYTES, _PLY_BYTES = 20, 239
_GB = 1e9


class ReconstructActor:
    """A `Reconstructor` in a Ray actor: rows with a unit and its samples in, what it took out."""

    def __init__(self, config: ReconstructConfig, threads: int) -> None:
        torch.set_num_threads(threads)
        self.worker = Reconstructor(config, device="cuda" if torch.cuda.is_available() else "cpu")
        self.ended: float | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit: Unit = pickle.loads(row["unit"])
        began, refused = time.perf_counter(), row["refused"]
        waited, busy = began - (self.ended or began), 0.0
        if not refused:
            try:
                spent = self.worker.do(unit, pa.ipc.open_stream(io.BytesIO(row["table"])).read_all())
                waited, busy = waited + spent.waited, spent.busy
            except InputError as error:
                # As an exception, Ray Data would hand over a traceback and no reason.
                refused = str(error)
        self.ended = time.perf_counter()
        return {"count": len(unit.jobs), "waited": waited, "busy": busy, "refused": refused}


@dataclass(frozen=True)
class Throughput:
    """How a run's time was spent."""

    samples: int
    seconds: float
    waited: float
    """Share of the models' time in which they waited for data."""

    def words(self) -> str:
        """For a person."""
        rate = self.samples / max(self.seconds, 1e-9)
        return f"{rate:.2f} samples/s; the model waited {self.waited:.0%} of its time for data"


def run_units(config: ReconstructConfig, units: Sequence[Unit], title: str = "reconstruct") -> Throughput:
    """Does the units through Ray Data with a progress bar.

    Raises:
        InputError: a sample that cannot be used, or fewer GPUs than workers.
    """
    connect(config.placement)
    options = model_options(config.placement, config.workers)
    gpus = resources_of(options["label_selector"] or {}).get("GPU", 0.0)
    if 0 < gpus < config.workers:
        raise InputError(f"--workers {config.workers}: there are {gpus:g} GPUs, and each worker takes one")
    # Operators that ask for the same are fused; apart, units are read while the models work on others.
    reading = config.placement.task_cpus * (0.9 if options["num_cpus"] == config.placement.task_cpus else 1.0)
    threads = max(1, (os.cpu_count() or 1) // config.workers)
    assert config.data is not None
    rows = [{"unit": pickle.dumps(unit), "place": pickle.dumps(unit.place)} for unit in units]
    results = (
        ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_TASKS))
        .map(partial(read_place, Store.at(config.data)), num_cpus=reading)
        .map(
            cast(Any, ReconstructActor),  # Ray types only functions of a row
            fn_constructor_args=(config, threads),
            compute=ActorPoolStrategy(size=config.workers),
            **options,
        )
    )
    total, waited, busy = sum(len(unit.jobs) for unit in units), 0.0, 0.0
    stage = Stage(title, len(units), total, "samples")
    with tqdm(total=total, desc=title, unit=" samples", file=sys.stderr, smoothing=0.1, disable=in_a_job()) as bar:
        for row in results.iter_rows():
            if row["refused"]:
                raise InputError(row["refused"])
            waited, busy = waited + row["waited"], busy + row["busy"]
            bar.update(row["count"])
            stage.finished(row["count"], waited=round(row["waited"], 3), busy=round(row["busy"], 3))
    seconds = time.monotonic() - stage.began
    stage.keep(Store.at(config.out), results.stats())
    return Throughput(total, seconds, waited / max(waited + busy, 1e-9))


def reconstruct(config: ReconstructConfig) -> Report:
    """Reconstructs what is missing, scores everything, and writes sequences, films, metrics.json and report.html.

    Returns:
        The report as written, for a caller that builds a larger one around it.

    Raises:
        InputError: the dataset, the checkpoint or an option cannot be used.
    """
    checkpoint = None if config.checkpoint is None else config.checkpoint.absolute()
    config = replace(config, checkpoint=checkpoint, out=config.out.absolute())
    if config.image:
        from pipelines.photos import reconstruct_photos

        return reconstruct_photos(config, config.photo)
    assert config.data is not None
    dataset = open_dataset(config.data)
    jobs = plan_jobs(config, dataset, checkpoint_fingerprint(config.checkpoint))
    units = cut_units(config, jobs)
    size = check(config, dataset, jobs)
    configuration.write_run_record(config.out, "reconstruct", config)
    begin(config.out, units)
    pending = missing(config, units)
    print("\n".join(foretold(config, jobs, pending, size)))
    if pending:
        throughput = run_units(config, pending)
        print(f"reconstruct: {throughput.words()}")
    _join(config, units)
    records = read_records(config.out, units)
    if config.outputs == "sequence":
        by_id = {job.sample_id: job for job in jobs}
        shown = [by_id[record["sample_id"]] for record, _ in shown_records(records, config.report_samples)]
        if folders := show_units(config, shown):
            run_units(config, folders, "folders of the report")
    steadied = steady_sequences(config, records)
    films = make_films(config, jobs, records)
    for line in describe_films(config, steadied, films):
        print(line)
    metrics = metrics_record(records) | {"recordings": {name: found.plain() for name, found in steadied.items()}}
    metrics |= {"films": [film.plain() for film in films]}
    Store.at(config.out).write("metrics.json", (json.dumps(metrics, indent=1, allow_nan=False) + "\n").encode())
    report = build_report(config, records, steadied, films)
    write_report(config.out / "report.html", report)
    return report


def check(config: ReconstructConfig, dataset: Dataset, jobs: Sequence[Job]) -> int:
    """Refuse what cannot work, before anything is written or started; returns the side of the pictures used.

    Raises:
        InputError: a checkpoint that is damaged or of another model, pictures that do not fit it, a camera that is not
            there, or more inputs than views.
    """
    sample = next(dataset.samples(jobs[0].shard.partition("/")[0].removeprefix("split="), only=[0]))
    size = sample.images.shape[1]
    for job in jobs:
        if config.hold_out not in (ROTATE, "none") and config.hold_out not in job.cameras:
            names = ", ".join(job.cameras)
            raise InputError(f"--hold-out {config.hold_out}: no such camera in sample {job.sample_id} ({names})")
    choose_views(sample.cameras, config.hold_out, config.inputs, 0)
    if config.init == "hull":
        return size
    assert config.checkpoint is not None
    wanted = load_gslrm(config.checkpoint).config.image_size
    if size < wanted:
        raise InputError(
            f"{config.data}: has images of {size} px, {config.checkpoint} was trained on {wanted} px; "
            f"preprocess the recording with --image-size {wanted}"
        )
    return size // reduction_factor(size, wanted, str(config.data))


def foretold(config: ReconstructConfig, jobs: Sequence[Job], pending: Sequence[Unit], size: int) -> list[str]:
    """What is about to be done and about how much it will write, in words."""
    left = sum(len(unit.jobs) for unit in pending)
    names = list(dict.fromkeys(job.capture for job in jobs))
    of = f"{names[0]}" if len(names) == 1 else f"{len(names)} recordings"
    lines = []
    if left < len(jobs):
        lines.append(f"reconstruct: {len(jobs) - left} of {len(jobs)} samples are done already")
    if left:
        # At most every pixel of the animal becomes a Gaussian that is kept.
        visible = sum(job.visible for job in jobs) / len(jobs) * size**2
        each = visible * (_PLY_BYTES if config.outputs == "full" else 0)
        written = left * (visible * _SEQUENCE_BYTES + each)
        config.out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(config.out).free
        words = f"reconstruct: {left} samples of {of} at {size} px, up to {visible / 1e3:.1f} thousand Gaussians each: "
        lines.append(words + f"{written / _GB:.3f} GB ({free / _GB:.0f} GB are free)")
        if written > free:
            lines.append("reconstruct: that may not fit; --outputs sequence writes a tenth, --max-samples fewer")
    if config.hold_out == ROTATE and (config.videos or config.outputs == "sequence"):
        lines.append(
            "reconstruct: the held-out view rotates, so that a film flickers; --hold-out CAMERA or none for one"
        )
    return lines


def _join(config: ReconstructConfig, units: Sequence[Unit]) -> None:
    """Every recording's sequence file from its units' pieces."""
    store = Store.at(config.out)
    for capture in dict.fromkeys(unit.capture for unit in units):
        pieces = [unit.name for unit in units if unit.capture == capture]
        SequenceWriter(store, sequence_name(capture)).finish(pieces)


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `reconstruct`."""
    config = configuration.parse(
        ReconstructConfig,
        argv,
        prog="mouse-facelift reconstruct",
        description="A dataset's views through a GS-LRM checkpoint: Gaussians over time, films, scores and a report.",
    )
    report = reconstruct(config)
    print("\n".join(verdict_lines(report.verdicts)))
    if config.image:
        print(f"wrote {config.out}/report.html and a folder per photo in {config.out}")
        return 0
    sequences = sorted(config.out.glob(sequence_name("*")))
    print(f"wrote {', '.join(map(str, sequences))}; {config.out}/report.html, metrics.json and folders in samples")
    print(f"next: mouse-facelift view {sequences[0]}, or open {config.out}/report.html in a browser")
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.reconstruct import main as verb

    run_verb(verb)
