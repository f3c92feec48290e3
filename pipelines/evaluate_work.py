"""The work of `evaluate`: who is compared, on which samples, and what an actor does with one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mouse_facelift import config as configuration
from mouse_facelift.checkpoints import find_checkpoint, load_gslrm, read_config
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.comparison import choices, score
from mouse_facelift.evaluation.rivals import FromHull, FromModel, Rival, Way, blank, nearest
from mouse_facelift.perceptual.distances import LPIPS
from mouse_facelift.samples.dataset import Dataset
from mouse_facelift.samples.reduction import reduced_to, reduction_factor
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.samples.schema import Sample, sample_from_row
from mouse_facelift.storage import Store, inside
from pipelines.evaluate_settings import EvaluateConfig
from pipelines.reconstruct_work import background_of, checkpoint_fingerprint


@dataclass(frozen=True)
class Contestant:
    """One way by its name, and everything its rows depend on besides the sample."""

    name: str
    identity: Mapping[str, Any]
    checkpoint: Path | None = None
    refined: bool = False

    def way(self, config: EvaluateConfig) -> Way:
        """The way itself, its model loaded."""
        fit = config.refine if self.refined else None
        if self.checkpoint is not None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            model = load_gslrm(self.checkpoint, device=device)
            return FromModel(model, background_of(read_config(self.checkpoint)), fit)
        plain: Mapping[str, Way] = {"blank": blank, "nearest": nearest}
        return plain.get(self.name) or FromHull(config.hull, fit)


def contestants(config: EvaluateConfig) -> list[Contestant]:
    """All ways in the order of the report: runs, refined runs, rivals.

    Raises:
        InputError: a run that is no GS-LRM's, or given twice.
    """
    hull, fit = configuration.to_plain(config.hull), configuration.to_plain(config.refine)
    found = []
    paths = [path.absolute() for path in config.runs]
    for path in paths:
        checkpoint = find_checkpoint(path)
        kind = read_config(checkpoint)["kind"]
        if kind != "gslrm":
            raise InputError(f"{path}: is a run of {kind}, whose pictures have no held-out camera; give GS-LRM's runs")
        name = path.name if [p.name for p in paths].count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        found.append(Contestant(name, {"checkpoint": checkpoint_fingerprint(checkpoint)}, checkpoint))
    if config.refine_runs:
        found += [
            replace(c, name=f"{c.name} + refine", identity={**c.identity, "refine": fit}, refined=True) for c in found
        ]
    settings: Mapping[Rival, dict[str, Any]] = {"hull": {"hull": hull}, "refine": {"hull": hull, "refine": fit}}
    found += [Contestant(r, {"rival": r, **settings.get(r, {})}, refined=r == "refine") for r in config.rivals]
    names = [contestant.name for contestant in found]
    if len(set(names)) < len(names):
        raise InputError(f"two of these have one name ({', '.join(names)}); name each run and rival once")
    return found


@dataclass(frozen=True)
class Job:
    """One sample: its place in the order that held-out views rotate in, and who is still to show it."""

    sample_id: str
    shard: str
    row: int
    index: int
    pending: tuple[str, ...] = ()


def find_samples(config: EvaluateConfig, dataset: Dataset) -> list[Job]:
    """The chosen samples in order of split, shard and row, thinned evenly.

    Raises:
        InputError: there are none.
    """
    found = []
    for split in ("train", "val") if config.split == "all" else (config.split,):
        for shard in dataset.shards(split):
            rows = dataset.store.read_table(shard, ["sample_id", "capture"]).to_pylist()
            found += [
                (row["sample_id"], shard, number)
                for number, row in enumerate(rows)
                if not config.capture or row["capture"] in config.capture
            ]
    if not found:
        counts = ", ".join(f"{name} {count}" for name, count in dataset.manifest["counts"].items())
        of = f" of {' or '.join(config.capture)}" if config.capture else ""
        raise InputError(f"{dataset.store.uri}: split '{config.split}' holds no samples{of} ({counts})")
    wanted = min(config.max_samples or len(found), len(found))
    return [Job(*found[i * len(found) // wanted], index=i) for i in range(wanted)]


class Judge:
    """All ways with their models; in a Ray actor numbers of jobs in, why they could not be done (or "") out."""

    def __init__(
        self, config: EvaluateConfig, size: int, ways: Sequence[Contestant], requests: Mapping[str, Any],
        jobs: Sequence[Job], threads: int | None = None,
    ) -> None:  # fmt: skip
        if threads is not None:
            torch.set_num_threads(threads)
        self.config, self.size, self.requests, self.jobs = config, size, requests, jobs
        self.data = Store.at(config.data)
        self.ways = {contestant.name: contestant.way(config) for contestant in ways}
        weights, heads = config.lpips_weights, config.lpips_heads
        self.lpips = None if weights is None else LPIPS.load(weights, heads).eval()
        self.store = Store.at(config.out)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self.judge(self.jobs[row["item"]])
        except InputError as error:
            # As an exception, Ray Data would hand over a traceback and no reason.
            return {"refused": str(error)}
        return {"refused": ""}

    def judge(self, job: Job) -> None:
        """Writes the rows of everybody who is still to show the sample.

        Raises:
            InputError: it cannot be read.
        """
        config = self.config
        sample = reduced_to(read_sample(self.data, job), self.size)
        asked = choices(sample.cameras, config.hold_out, config.inputs, job.index)
        for name in job.pending:
            rows = score(name, self.ways[name], sample, asked, self.lpips)
            request = {**self.requests[name], "index": job.index}
            record = json.dumps({"request": request, "rows": rows}, allow_nan=False)
            self.store.write(rows_file(name, sample.sample_id), record.encode())


def rows_file(way: str, sample_id: str) -> str:
    """Where a way's rows of one sample lie, relative to the output."""
    return f"rows/{inside(way).replace('/', '__')}/{inside(sample_id)}.json"


def requests_of(config: EvaluateConfig, dataset: Dataset, size: int, ways: Sequence[Contestant]) -> dict[str, Any]:
    """By way, everything its rows depend on but the sample."""
    lpips = [p and [p.stat().st_size, p.name] for p in (config.lpips_weights, config.lpips_heads)]
    shared = {
        "dataset": dataset.manifest["fingerprint"],
        "hold_out": list(config.hold_out),
        "inputs": list(config.inputs),
        "image_size": size,
        "lpips": lpips,
    }
    return {way.name: {**shared, **way.identity} for way in ways}


def scoring_size(config: EvaluateConfig, sample: Sample, ways: Sequence[Contestant]) -> int:
    """The side at which everybody is drawn and scored.

    Raises:
        InputError: the dataset's pictures are too small for it or for a run, or cannot be averaged down to either.
    """
    own = sample.images.shape[1]
    learned = {w.name: read_config(w.checkpoint)["model"]["image_size"] for w in ways if w.checkpoint is not None}
    size = config.image_size or max(learned.values(), default=own)
    for name, wanted in learned.items():
        if own < wanted:
            raise InputError(
                f"{config.data}: has images of {own} px, {name} was trained on {wanted} px; "
                f"preprocess the recording with --image-size {wanted}"
            )
        if size < wanted:
            raise InputError(f"--image-size {size}: {name} was trained on {wanted} px; score at {wanted} px or more")
    if size > own:
        raise InputError(f"--image-size {size}: the dataset's pictures have {own} px; preprocess it at a larger size")
    reduction_factor(own, size, f"{config.data}")
    for name, wanted in learned.items():
        reduction_factor(size, wanted, f"the comparison (for {name})")
    return size


def pending_jobs(config: EvaluateConfig, jobs: Sequence[Job], requests: Mapping[str, Any]) -> list[Job]:
    """The samples that somebody has not shown yet, as asked now."""
    store = Store.at(config.out)
    there = set(store.list("rows", ".json"))
    left = []
    for job in jobs:
        wanted = [
            name
            for name, request in requests.items()
            if (file := rows_file(name, job.sample_id)) not in there
            or store.read_json(file)["request"] != {**request, "index": job.index}
        ]
        if wanted:
            left.append(replace(job, pending=tuple(wanted)))
    return left


def read_sample(store: Store, job: Job) -> Sample:
    """A job's sample.

    Raises:
        InputError: it is damaged; it is named.
    """
    try:
        return sample_from_row(read_rows(store, job.shard, [job.row]).to_pylist()[0])
    except InputError as error:
        raise InputError(f"{store.path(job.shard)}, row {job.row} (sample {job.sample_id}): {error}") from error
