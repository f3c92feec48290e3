"""The work of `reconstruct` on one unit of samples: read, reconstruct in batches, write. Needs no Ray."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.checkpoints import WEIGHTS_FILE, find_checkpoint, load_gslrm, read_config
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.outputs import exported_gaussians, sample_record, write_reconstruction
from mouse_facelift.evaluation.reconstruction import ViewChoice, choose_views, judge, predict, show
from mouse_facelift.gaussians.filters import animal_mask
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import SequenceWriter
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.step import Background, ViewConfig
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.samples.schema import Sample, sample_from_row
from mouse_facelift.storage import Store
from pipelines.reconstruct_jobs import Job, Unit, record_name, sample_folder, sequence_name
from pipelines.reconstruct_settings import ReconstructConfig
from training.data import prefetched

# Batches that are decoded while the model works.
_AHEAD = 2


@dataclass(frozen=True)
class Spent:
    """Seconds of a unit."""

    waited: float
    """The model waited for its next batch."""
    busy: float
    """It, and what draws and writes, worked."""


@dataclass(frozen=True)
class _Batch:
    jobs: list[Job]
    samples: list[Sample]
    choices: list[ViewChoice]


def background_of(checkpoint_config: Mapping[str, Any]) -> Background:
    """The background a checkpoint was trained on; one that comes without training settings means the default."""
    return checkpoint_config.get("views", {}).get("background", ViewConfig.background)


class Reconstructor:
    """A model with all it needs to do units, loaded once."""

    def __init__(self, config: ReconstructConfig, device: str = "cpu") -> None:
        self.config, self.device = config, device
        self.model: GSLRM | None = None
        self.background: Background = ViewConfig.background
        if config.init == "model":
            assert config.checkpoint is not None
            self.model = load_gslrm(config.checkpoint, device=device)
            self.background = background_of(read_config(config.checkpoint))

    def do(self, unit: Unit, table: pa.Table) -> Spent:
        """Write what the unit asks for: folders one by one, then the sequence's piece, and the records last.

        Raises:
            InputError: a sample that cannot be used; it is named.
        """
        config, frames, records, waited = self.config, [], [], 0.0
        began = time.perf_counter()
        batches = prefetched(self._batches(unit, table), _AHEAD)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            for job, sample, choice, gaussians in zip(
                batch.jobs, batch.samples, batch.choices, self._gaussians(batch), strict=True
            ):
                frame, record = self._finish(unit, job, sample, choice, gaussians)
                frames.append(frame)
                records.append(record)
        if unit.whole:
            store = Store.at(config.out)
            SequenceWriter(store, sequence_name(unit.capture)).write(unit.name, frames)
            store.write(record_name(unit), json.dumps({"records": records}, allow_nan=False).encode())
        return Spent(waited, time.perf_counter() - began - waited)

    def _batches(self, unit: Unit, table: pa.Table) -> Iterator[_Batch]:
        """Decoded samples; those of a batch have equally many views of one size."""
        for first in range(0, len(unit.jobs), self.config.batch_size):
            jobs = unit.jobs[first : first + self.config.batch_size]
            rows = table.slice(first, len(jobs)).to_pylist()
            prepared = [(job, *self._prepared(unit, job, row)) for job, row in zip(jobs, rows, strict=True)]
            for _, alike in groupby(prepared, lambda item: (item[1].images.shape[1:], len(item[2].inputs))):
                members = list(alike)
                yield _Batch([m[0] for m in members], [m[1] for m in members], [m[2] for m in members])

    def _prepared(self, unit: Unit, job: Job, row: Mapping[str, Any]) -> tuple[Sample, ViewChoice]:
        if row["sample_id"] != job.sample_id:
            raise InputError(f"{unit.shard}: row {job.row} is no longer {job.sample_id}; run the same command again")
        try:
            sample = sample_from_row(row)
            if self.model is not None:
                sample = reduced_to(sample, self.model.config.image_size)
            return sample, choose_views(sample.cameras, self.config.hold_out, self.config.inputs, job.index)
        except InputError as error:
            where = f"{self.config.data}/{unit.shard}, row {job.row} (sample {job.sample_id})"
            raise InputError(f"{where}: {error}") from error

    def _gaussians(self, batch: _Batch) -> list[Gaussians]:
        """Of the batch's samples: the model's or the hull's, refined where that is asked for."""
        starts: Sequence[Gaussians | None] = [None] * len(batch.jobs)
        if self.model is not None:
            starts = found = predict(self.model, batch.samples, batch.choices, background=self.background)
            if not self.config.refine:
                return found
        return [
            self._fitted(job, sample, choice, start)
            for job, sample, choice, start in zip(batch.jobs, batch.samples, batch.choices, starts, strict=True)
        ]

    def _fitted(self, job: Job, sample: Sample, choice: ViewChoice, start: Gaussians | None) -> Gaussians:
        """Gaussians from the sample's own input views, beginning with the hull where there is no ``start``."""
        from mouse_facelift.gaussians.refining import RefineConfig, gaussians_from_hull, refine

        views = list(choice.inputs)
        images = torch.from_numpy(sample.images[views]).permute(0, 3, 1, 2).float() / 255
        w2c, fxfycxcy = (torch.from_numpy(a).float() for a in stack_cameras([sample.cameras[v] for v in views]))
        try:
            gaussians = gaussians_from_hull(images, w2c, fxfycxcy) if start is None else start
            if not self.config.refine:
                return gaussians
            if self.config.prune:
                # A model gives a Gaussian to every pixel; most show nothing, and would be carried through all steps.
                gaussians = gaussians.select(animal_mask(gaussians))
            images, w2c, fxfycxcy = (tensor.to(self.device) for tensor in (images, w2c, fxfycxcy))
            return refine(
                gaussians.to(self.device), images, w2c, fxfycxcy, RefineConfig(steps=self.config.refine)
            ).gaussians
        except InputError as error:
            raise InputError(f"sample {job.sample_id}: {error}") from error

    def _finish(
        self, unit: Unit, job: Job, sample: Sample, choice: ViewChoice, gaussians: Gaussians
    ) -> tuple[SequenceFrame, dict[str, Any]]:
        """A sample's folder where it is asked for, its frame of the sequence, and its record."""
        options, background = self.config.output_options(), self.background
        exported = exported_gaussians(sample, gaussians.to("cpu"), options)
        if job.sample_id in unit.folders:
            result = show(gaussians, sample, choice, background=background)
            folder = sample_folder(self.config.out, job.sample_id)
            write_reconstruction(folder, sample, result, options, {"request": job.request})
            scores = result.scores
        else:
            scores = judge(gaussians, sample, choice, background=background)
        index = FrameIndex(sample.sample_id, sample.capture, sample.frame, sample.time_s, sample.segment)
        frame = SequenceFrame(index, sample.centre_mm, sample.scale, exported)
        return frame, sample_record(sample, choice, scores, exported)


def checkpoint_fingerprint(checkpoint: Path | None) -> str:
    """SHA-256 of a checkpoint's weights: samples are done again when the model has changed; "" without a model."""
    if checkpoint is None:
        return ""
    with (find_checkpoint(checkpoint) / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
