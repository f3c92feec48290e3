"""Batch inference: a dataset's samples through a GS-LRM checkpoint -> Gaussians, turntables, scores, a report.

Ray Data reads the shards and feeds the samples to actors, each of which loads the model once; what happens to one
sample is `reconstruct_sample` and `write_reconstruction`. A sample's folder appears whole, with the request that made
it inside, so that running the same command again does what is missing and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from ray.data import ActorPoolStrategy
from tqdm import tqdm

from mouse_facelift import config as configuration
from mouse_facelift.checkpoints import WEIGHTS_FILE, find_checkpoint, load_gslrm, read_config
from mouse_facelift.cli import run_verb
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.outputs import (
    RECORD_NAME,
    OutputOptions,
    Units,
    scores_from_record,
    write_reconstruction,
)
from mouse_facelift.evaluation.reconstruction import ROTATE, choose_views, reconstruct_sample
from mouse_facelift.evaluation.report import Report, verdict_lines, write_report
from mouse_facelift.evaluation.summary import mean_scores, metrics_record, sample_sections, training_section, verdicts
from mouse_facelift.gaussians.turntable import TurntableConfig
from mouse_facelift.gslrm.step import Background, ViewConfig
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.samples.schema import sample_from_row
from mouse_facelift.storage import Store, inside
from pipelines.session import connect
from training.dataset import Split, read_split
from training.launch import DATA_CPUS
from training.metrics_log import METRICS_FILE, read_metrics_log


@dataclass(frozen=True)
class ReconstructConfig:
    """What is reconstructed, and what is written. Lengths are in the dataset's normalised units unless said otherwise.

    Raises:
        InputError: a count below its smallest meaningful value.
    """

    checkpoint: Path
    """A training run's folder, or a checkpoint folder inside it."""
    data: str
    """The dataset that `preprocess` made: a folder or URI."""
    out: Path
    """Where the samples' folders, metrics.json and report.html go (a local folder)."""
    split: str = "val"
    """Which of the dataset's splits."""
    max_samples: int | None = None
    """At most this many samples, spread evenly over the split; all of them when None."""
    hold_out: str = ROTATE
    """The view kept from the model to judge it: rotate (another camera for each sample), a camera's name, or none."""
    inputs: int | None = None
    """How many of the other views the model gets, spread evenly in azimuth; all of them when None."""
    units: Units = "normalised"
    """Units of gaussians.ply; similarity.json says how to convert either way."""
    turntable_views: int = TurntableConfig.views
    """Frames of the turntable video; 0 writes none."""
    turntable_size: int = TurntableConfig.size
    """Side of the turntable video in pixels (even)."""
    turntable_fps: float = TurntableConfig.fps
    """Frames per second of the turntable video."""
    turntable_elevation: float = 15.0
    """Height of the turntable's camera above the animal's horizon, degrees. Its zoom is that of the views."""
    prune: bool = True
    """Leave out of gaussians.ply and the turntable what FaceLift's rules take for haze and floaters."""
    low_pass: bool = True
    """Give gaussians.ply and the turntable the blur of the model's own pixels. Without it, what a model of small
    pictures makes falls apart into dust when it is drawn larger."""
    report_samples: int = 8
    """How many samples the report shows in pictures; its table lists all."""
    workers: int = 1
    """Copies of the model that work side by side; each takes one GPU where there are GPUs."""

    def __post_init__(self) -> None:
        limits = {"max_samples": 1, "inputs": 1, "turntable_views": 0, "report_samples": 0, "workers": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} {value}: it must be at least {least}")
        self.outputs()

    def outputs(self) -> OutputOptions:
        """The part of the settings that the writer of a sample's files needs."""
        if not self.turntable_views:
            return OutputOptions(self.units, None, self.prune, self.low_pass)
        views, fps, size = self.turntable_views, self.turntable_fps, self.turntable_size
        turntable = TurntableConfig(views, fps, size, elevation_degrees=self.turntable_elevation)
        return OutputOptions(self.units, turntable, self.prune, self.low_pass)


@dataclass(frozen=True)
class Job:
    """One sample to reconstruct: its place in the order that held-out views rotate in, and what exactly is asked."""

    sample_id: str
    index: int
    shard: str
    request: dict[str, Any]


def plan_jobs(config: ReconstructConfig, dataset: Dataset, checkpoint_fingerprint: str) -> list[Job]:
    """The split's samples in order of shard and row, thinned evenly to ``max_samples``.

    Raises:
        InputError: the split holds no samples.
    """
    found: list[tuple[str, str]] = []
    for shard in dataset.shards(config.split):
        column = pq.read_table(pa.BufferReader(dataset.store.read(shard)), columns=["sample_id"])["sample_id"]
        found += [(sample_id, shard) for sample_id in column.to_pylist()]
    if not found:
        counts = ", ".join(f"{k} {v}" for k, v in dataset.manifest["counts"].items())
        raise InputError(
            f"{dataset.store.uri}: split '{config.split}' holds no samples ({counts}); choose another --split"
        )
    wanted = min(config.max_samples or len(found), len(found))
    chosen = [found[i * len(found) // wanted] for i in range(wanted)]
    request = {
        "checkpoint": checkpoint_fingerprint,
        "dataset": dataset.manifest["fingerprint"],
        "hold_out": config.hold_out,
        "inputs": config.inputs,
        "outputs": configuration.to_plain(config.outputs()),
    }
    return [Job(sample_id, index, shard, request | {"index": index}) for index, (sample_id, shard) in enumerate(chosen)]


def checkpoint_fingerprint(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's weights: samples are done again when the model has changed."""
    with (find_checkpoint(checkpoint) / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_done(config: ReconstructConfig, job: Job) -> bool:
    """Whether the job's folder holds the answer to exactly this request."""
    record = sample_folder(config.out, job.sample_id) / RECORD_NAME
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("request") == job.request


def sample_folder(out: Path, sample_id: str) -> Path:
    """Where a sample's files lie."""
    return out / "samples" / inside(sample_id)


class Reconstructor:
    """A model in a Ray actor: one-row tables of the sample schema in, one-row tables of sample ids out."""

    def __init__(self, config: ReconstructConfig, jobs: dict[str, Job], threads: int) -> None:
        torch.set_num_threads(threads)
        self.config, self.jobs = config, jobs
        self.model = load_gslrm(config.checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
        self.background: Background = background_of(read_config(config.checkpoint))

    def __call__(self, table: pa.Table) -> pa.Table:
        config, done = self.config, []
        for row in table.to_pylist():
            sample, job = sample_from_row(row), self.jobs[row["sample_id"]]
            sample = reduced_to(sample, self.model.config.image_size)
            choice = choose_views(sample.cameras, config.hold_out, config.inputs, job.index)
            result = reconstruct_sample(self.model, sample, choice, background=self.background)
            folder = sample_folder(config.out, sample.sample_id)
            write_reconstruction(folder, sample, result, config.outputs(), {"request": job.request})
            done.append(sample.sample_id)
        return pa.table({"sample_id": done})


def background_of(checkpoint_config: Mapping[str, Any]) -> Background:
    """The background a checkpoint was trained on; one that comes without training settings means the default."""
    return checkpoint_config.get("views", {}).get("background", ViewConfig.background)


def run_jobs(config: ReconstructConfig, jobs: Sequence[Job]) -> None:
    """Reconstructs the jobs through Ray Data with a progress bar."""
    connect()
    resources = ray.cluster_resources()
    # Every actor takes up to one CPU, but all together leave the one that reading a shard needs.
    share = min(1.0, max(resources.get("CPU", 1.0) - DATA_CPUS, 0.0) / config.workers)
    threads = max(1, (os.cpu_count() or 1) // config.workers)
    by_id = {job.sample_id: job for job in jobs}
    split = Split.find(config.data, config.split)
    store = Store.at(config.data)
    shards = tuple(store.path(shard) for shard in sorted({job.shard for job in jobs}))
    results = read_split(replace(split, paths=shards), None, ids=list(by_id)).map_batches(
        Reconstructor,
        fn_constructor_args=(config, by_id, threads),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=config.workers),
        num_cpus=share,
        num_gpus=1 if resources.get("GPU", 0) >= config.workers else 0,
    )
    with tqdm(total=len(jobs), desc="reconstruct", unit=" samples") as bar:
        for _ in results.iter_rows():
            bar.update()


def reconstruct(config: ReconstructConfig) -> Report:
    """Reconstructs what is missing, scores everything, and writes metrics.json and report.html.

    Returns:
        The report as written, for a caller that builds a larger one around it.

    Raises:
        InputError: the dataset, the checkpoint or an option cannot be used.
    """
    config = replace(config, checkpoint=config.checkpoint.absolute(), out=config.out.absolute())
    dataset = open_dataset(config.data)
    jobs = plan_jobs(config, dataset, checkpoint_fingerprint(config.checkpoint))
    # An impossible choice of views is refused here, before anything is written or started.
    choose_views(next(dataset.samples(config.split)).cameras, config.hold_out, config.inputs, 0)
    configuration.write_run_record(config.out, "reconstruct", config)
    pending = [job for job in jobs if not is_done(config, job)]
    if len(pending) < len(jobs):
        print(f"reconstruct: {len(jobs) - len(pending)} of {len(jobs)} samples are done already")
    if pending:
        run_jobs(config, pending)
    folders = [sample_folder(config.out, job.sample_id) for job in jobs]
    records = [json.loads((folder / RECORD_NAME).read_text(encoding="utf-8")) for folder in folders]
    store = Store.at(config.out)
    store.write("metrics.json", (json.dumps(metrics_record(records), indent=1, allow_nan=False) + "\n").encode())
    report = build_report(config, records)
    write_report(config.out / "report.html", report)
    return report


def build_report(config: ReconstructConfig, records: Sequence[Mapping[str, Any]]) -> Report:
    """The page about one run of this application."""
    scores = [s for s in map(scores_from_record, records) if s is not None]
    held_out = "one view of each held out and scored" if scores else "no view held out, so nothing is scored"
    run = json.loads((config.out / configuration.RUN_FILE).read_text(encoding="utf-8"))
    checkpoint = find_checkpoint(config.checkpoint)
    # A run's log lies beside its checkpoint folder; a checkpoint from elsewhere has none.
    log = read_metrics_log(checkpoint.parent / METRICS_FILE)
    settings = {"reconstruct": (config.out / configuration.CONFIG_FILE).read_text(encoding="utf-8")}
    settings["checkpoint"] = (checkpoint / configuration.CONFIG_FILE).read_text(encoding="utf-8")
    versions = dict(run["versions"], python=run["python"])
    if run["git"]:
        versions["commit"] = run["git"]["commit"][:12] + (" with local changes" if run["git"]["local_changes"] else "")
    return Report(
        title="Reconstructions",
        summary=f"{len(records)} samples of split '{config.split}' from {config.data}; {held_out}.",
        verdicts=verdicts(mean_scores(scores)) if scores else [],
        sections=[
            *([training_section(log)] if log else []),
            *sample_sections(config.out / "samples", records, config.report_samples),
        ],
        settings=settings,
        versions=versions,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `reconstruct`."""
    config = configuration.parse(
        ReconstructConfig,
        argv,
        prog="mouse-facelift reconstruct",
        description="A dataset's views through a GS-LRM checkpoint: Gaussians, turntables, scores and a report.",
    )
    report = reconstruct(config)
    print("\n".join(verdict_lines(report.verdicts)))
    print(f"wrote {config.out}/report.html, {config.out}/metrics.json and a folder per sample in {config.out}/samples")
    print(f"next: open {config.out}/report.html in a browser, or gaussians.ply of a sample in any 3DGS viewer")
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.reconstruct import main as verb

    run_verb(verb)
