"""`mouse-facelift synthesize`: a generator over real reference views -> samples to train a GS-LRM on.

Each unit is a few samples of the source and becomes one shard; Ray Data hands units to actors, each of which loads the
generator once. A unit's shard and its rejected rows appear whole, and every object draws its numbers from the run's
seed and its own name: a run that was killed goes on where it stopped and ends with the same bytes. Splits are the
source's, so that nothing of a held-out moment is trained on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data import ActorPoolStrategy
from tqdm import tqdm

from mouse_facelift.cameras.camera import intrinsics_from_fov
from mouse_facelift.cameras.poses import FACELIFT_HFOV_DEGREES
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.sample_sheet import CONTACT_SHEET, write_contact_sheet
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.photos.preparing import Generator, load_generator, load_views_pipeline
from mouse_facelift.photos.rig import Rig
from mouse_facelift.photos.synthesis import Reference, SourceRows, SynthesisGate, references_of, synthesize_rows
from mouse_facelift.samples.dataset import MANIFEST, REJECTED, Dataset, finish_dataset, open_dataset
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.samples.verdict import VerdictConfig, describe_verdict
from mouse_facelift.storage import Store
from pipelines.placement import PlacementConfig, model_options
from pipelines.session import connect
from pipelines.telemetry import Stage
from pipelines.units_of_work import WORK, claim, finished_dataset

_SPLITS = ("train", "val")
# Where work runs, and what it is read from, decides nothing of what comes out.
_NO_PART_OF_IDENTITY = ("data", "checkpoint", "out", "workers", "placement", "rig", "prompt_embeddings")


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """Settings of `synthesize`."""

    data: str
    """The dataset whose views are the references: a folder or a URI."""
    checkpoint: Path
    """The generator: a diffusion run's folder, one of its checkpoints, or a pipeline folder."""
    out: str
    """Where the new dataset goes: a folder or a URI that pyarrow opens."""
    references: tuple[str, ...] = ()
    """Cameras whose views are given to the generator, each for a sample of its own; by default those that the generator
    was trained with, or a sample's first camera where it does not say."""
    variants: int = 1
    """Samples per reference view, each from another seed."""
    max_samples: int | None = None
    """At most this many source samples of each split, spread evenly over it; all of them when None."""
    seed: int = 0
    """Every object draws from this, its source sample, its camera and its variant."""
    rig: str | None = None
    """The cameras that are written, where the generator does not say: "facelift", a rig.json, or the dataset that the
    generator was trained on."""
    prompt_embeddings: Path | None = None
    """For a pipeline folder without tokens of its own: prompt embeddings of its slots (FaceLift's clr_embeds.pt)."""
    unit_samples: int = 8
    """Source samples per unit of work: one task and one shard."""
    batch_size: int = 1
    """Objects that are sampled at once. A GPU is faster with several; a CPU is not."""
    workers: int = 1
    """Copies of the generator that work side by side; each takes one GPU where there are GPUs."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    gate: SynthesisGate = field(default_factory=SynthesisGate)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def __post_init__(self) -> None:
        for name in ("variants", "max_samples", "unit_samples", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: it must be at least 1")


@dataclass(frozen=True)
class SynthesisUnit:
    """Source rows that become one shard."""

    split: str
    source: str
    """The source's shard."""
    rows: tuple[int, ...]

    @property
    def name(self) -> str:
        stem = Path(self.source).stem
        return f"{stem}-r{self.rows[0]:06d}-{self.rows[-1]:06d}"

    @property
    def shard(self) -> str:
        return f"split={self.split}/{self.name}.parquet"

    @property
    def marker(self) -> str:
        """The unit's rejected rows; written last, so that it also marks the unit as finished."""
        return f"{WORK}/rejected/{self.split}-{self.name}.parquet"


class Synthesizer:
    """The generator in a Ray actor: numbers of units in, shards written."""

    def __init__(self, config: SynthesizeConfig, units: Sequence[SynthesisUnit], told: dict[str, Any], threads: int):
        torch.set_num_threads(threads)
        self.config, self.units, self.store = config, units, Store.at(config.out)
        self.dataset = open_dataset(config.data)
        pipeline = load_views_pipeline(config.checkpoint, config.prompt_embeddings)
        self.generator = Generator(pipeline, Rig.from_plain(told["rig"], "the driver"), told["fingerprint"])

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit = self.units[row["item"]]
        try:
            count, rejected = self._make(unit)
        except InputError as error:
            # As an exception Ray Data would hand over a traceback and no reason.
            return {"count": 0, "rejected": 0, "refused": str(error)}
        return {"count": count, "rejected": rejected, "refused": ""}

    def _make(self, unit: SynthesisUnit) -> tuple[int, int]:
        config = self.config
        rows = read_rows(self.dataset.store, unit.source, unit.rows).to_pylist()
        wanted = config.references or self.generator.rig.references
        references = [
            Reference(number, camera, variant)
            for number, row in enumerate(rows)
            for camera in references_of(row, wanted)
            for variant in range(config.variants)
        ]
        source = SourceRows(rows, self.dataset.manifest["fingerprint"], unit.split)
        made = synthesize_rows(
            self.generator, source, references, config.seed, config.sampling, config.gate, config.batch_size
        )
        if made.samples.num_rows:
            self.store.write_table(unit.shard, made.samples, digest=True)
        self.store.write_table(unit.marker, made.rejected)
        return len(rows), made.rejected.num_rows


def synthesize(config: SynthesizeConfig) -> dict[str, Any]:
    """Make what is missing; returns the dataset's manifest. A complete run that is repeated does nothing.

    Raises:
        InputError: The dataset or the generator cannot be used, or the folder holds something else.
    """
    config = replace(config, checkpoint=config.checkpoint.absolute(), out=Store.at(config.out).uri)
    dataset, store = open_dataset(config.data), Store.at(config.out)
    generator = load_generator(
        config.checkpoint, PhotoOptions(rig=config.rig, prompt_embeddings=config.prompt_embeddings)
    )
    identity = _identity(config, dataset, generator)
    if store.exists(MANIFEST):
        return finished_dataset(store, identity)
    units = plan_units(config, dataset)
    references_of(_first_row(dataset, units[0]), config.references or generator.rig.references)
    claim(store, identity, "synthesize", config)
    print(
        f"synthesize: {sum(len(u.rows) for u in units)} samples of {config.data} in {len(units)} units, generator "
        f"{generator.fingerprint[:12]}, cameras of {generator.rig.origin}"
    )
    _run(config, store, units, {"rig": generator.rig.plain(), "fingerprint": generator.fingerprint})
    rejected = pa.concat_tables([store.read_table(unit.marker) for unit in units])
    shards = [unit.shard for unit in units if store.exists(unit.shard)]
    similarity = {"scale": 1.0, "zoom": _zoom(generator.rig)}
    splits = {"rule": "as the source's frames", "source": dataset.manifest["splits"]}
    manifest = finish_dataset(store, shards, rejected, [], identity, similarity, 0, splits, config.verdict)
    write_contact_sheet(store)
    store.delete(WORK)
    return manifest


def plan_units(config: SynthesizeConfig, dataset: Dataset) -> list[SynthesisUnit]:
    """The source's samples in units that stay within a shard; the largest units first.

    Raises:
        InputError: The dataset holds no samples.
    """
    units = []
    for split in _SPLITS:
        total = dataset.count(split)
        wanted = min(config.max_samples or total, total)
        chosen = {i * total // wanted for i in range(wanted)} if wanted else set()
        first = 0
        for shard in dataset.shards(split):
            count = dataset.manifest["shards"][shard]
            rows = sorted(i - first for i in chosen if first <= i < first + count)
            first += count
            for start in range(0, len(rows), config.unit_samples):
                units.append(SynthesisUnit(split, shard, tuple(rows[start : start + config.unit_samples])))
    if not units:
        raise InputError(f"{config.data} holds no samples to take references from; see its rejected.parquet")
    return units


def _identity(config: SynthesizeConfig, dataset: Dataset, generator: Generator) -> dict[str, Any]:
    """What decides the dataset's content: settings, source, generator and its cameras, but not where they lie."""
    settings = {k: v for k, v in to_plain(config).items() if k not in _NO_PART_OF_IDENTITY}
    made_from = {"source": dataset.manifest["fingerprint"], "generator": generator.fingerprint}
    return {"settings": settings, **made_from, "rig": generator.rig.fingerprint}


def _first_row(dataset: Dataset, unit: SynthesisUnit) -> dict[str, Any]:
    return dataset.store.read_table(unit.source, ["sample_id", "camera"]).slice(unit.rows[0], 1).to_pylist()[0]


def _zoom(rig: Rig) -> float:
    """Focal length relative to FaceLift's."""
    return float(rig.cameras[0].K[0, 0] / intrinsics_from_fov(FACELIFT_HFOV_DEGREES, rig.image_size, 1)[0, 0])


def _run(config: SynthesizeConfig, store: Store, units: Sequence[SynthesisUnit], told: dict[str, Any]) -> None:
    """Make every unit whose marker is not there yet."""
    done = set(store.list(WORK))
    todo = [number for number, unit in enumerate(units) if unit.marker not in done]
    if not todo:
        return
    connect(config.placement)
    workers = min(config.workers, len(todo))
    threads = max(1, (os.cpu_count() or 1) // workers)
    items = ray.data.from_items([{"item": number} for number in todo], override_num_blocks=len(todo))
    results = items.map(
        cast(Any, Synthesizer),  # Ray types only functions of a row
        fn_constructor_args=(config, units, told, threads),
        compute=ActorPoolStrategy(size=workers),
        **model_options(config.placement, workers),
    )
    total = sum(len(units[number].rows) for number in todo)
    stage = Stage("synthesize", len(todo), total, "samples")
    with tqdm(total=total, desc="synthesize", unit=" samples", file=sys.stderr) as bar:
        for row in results.iter_rows():
            if row["refused"]:
                raise InputError(row["refused"])
            bar.update(row["count"])
            stage.finished(row["count"], row["rejected"])
    stage.keep(store, results.stats())


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `synthesize`."""
    config = parse(
        SynthesizeConfig,
        argv,
        prog="mouse-facelift synthesize",
        description="Let a generator invent the other views of a dataset's pictures: a dataset to train a GS-LRM on.",
    )
    manifest = synthesize(config)
    store, counts = Store.at(config.out), manifest["counts"]
    for reason, count in manifest["rejected_reasons"].items():
        print(f"  rejected {count} x {reason}")
    if counts["train"] + counts["val"] == 0:
        reason = next(iter(manifest["rejected_reasons"]), "there was none")
        raise InputError(f"every sample was rejected, most often: {reason}; all numbers are in {store.path(REJECTED)}")
    hull = manifest["gate"]["hull_iou"].get("q50", np.nan)
    print(
        f"wrote {store.uri}: {counts['train']} train + {counts['val']} val samples, {counts['rejected']} rejected, "
        f"hull IoU {hull:.3f} (median)"
    )
    print("\n".join(describe_verdict(manifest["verdict"])))
    print(f"look at {store.path(CONTACT_SHEET)}")
    print(f"next: mouse-facelift train gslrm --data {config.out} --out RUN")
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.synthesize import main as verb

    run_verb(verb)
