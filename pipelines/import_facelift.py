"""`mouse-facelift import-facelift`: FaceLift's sample folders in, a dataset out.

One Ray task per unit of a few samples, each writing its own shard; a run that was killed goes on where it stopped. The
folders' world is FaceLift's normalised one already: where they do not say otherwise, `centre_mm` is 0 and `scale` 1,
and "millimetres" of these samples are FaceLift's units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.sample_sheet import CONTACT_SHEET, write_contact_sheet
from mouse_facelift.samples.dataset import MANIFEST, REJECTED, finish_dataset
from mouse_facelift.samples.facelift_import import ImportPlan, PlannedSample, import_samples, plan_import
from mouse_facelift.samples.facelift_lists import find_samples
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.verdict import VerdictConfig, describe_verdict
from mouse_facelift.storage import Store
from pipelines.session import connect
from pipelines.units_of_work import WORK, claim, finished_dataset, map_with_progress

# A folder that cannot be read is a reason of its own, and so is each of many views.
_LINES_SHOWN = 10


@dataclass(frozen=True)
class ImportConfig:
    """Settings of `import-facelift`."""

    folder: tuple[str, ...]
    """Sample folders, folders of them, or list files. Lists in a folder (*train*.txt, *val*.txt) decide its splits."""
    out: str
    """Where the dataset goes: a folder or a URI that pyarrow opens."""
    unit_samples: int = 16
    """Samples per unit of work: one task and one shard."""
    source: str = "facelift"
    """What to say of where images came from (real, rendered, a generator) for folders that do not say so."""
    reject: bool = False
    """Set samples aside that are beyond the gate's thresholds; by default they are measured and kept."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Only where no list decides; samples that have no time count as a second apart."""
    gate: GateConfig = field(default_factory=GateConfig)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)

    def __post_init__(self) -> None:
        if not self.folder or self.unit_samples < 1:
            raise InputError("name at least one --folder, and --unit-samples of at least 1")


@dataclass(frozen=True)
class _Unit:
    """Samples of one split that are read together and written as one shard."""

    split: str
    samples: tuple[PlannedSample, ...]
    name: str

    @property
    def shard(self) -> str:
        return f"split={self.split}/{self.name}.parquet"

    @property
    def marker(self) -> str:
        """The unit's rejected rows; written last, so that it also marks the unit as finished."""
        return f"{WORK}/rejected/{self.name}.parquet"


def import_facelift(config: ImportConfig) -> dict[str, Any]:
    """Run the pipeline; returns the dataset's manifest. A complete run that is repeated does nothing."""
    plan = plan_import([s for folder in config.folder for s in find_samples(folder)], config.split)
    store, identity = Store.at(config.out), _identity(config, plan)
    if store.exists(MANIFEST):
        return finished_dataset(store, identity)
    claim(store, identity, "import-facelift", config)
    units = _units(plan, config.unit_samples)
    print(f"import-facelift: {len(plan.samples)} sample folders ({plan.gap} in gaps) in {len(units)} units")
    if plan.repeated:
        print(f"  used once, for training where a list says so: {len(plan.repeated)} x {plan.repeated[0]}")
    connect()
    _run(config, store, units)
    markers = [store.read_table(unit.marker) for unit in units]
    rejected = pa.concat_tables(markers)
    shards = [unit.shard for unit in units if store.exists(unit.shard)]
    # The rows say their own similarity; folders of other software have none, which is scale 1.
    similarity, splits = {"scale": 1.0, "zoom": 1.0}, plan.splits | {"repeated": list(plan.repeated)}
    manifest = finish_dataset(store, shards, rejected, [], identity, similarity, plan.gap, splits, config.verdict)
    write_contact_sheet(store)
    store.delete(WORK)
    return manifest


def _identity(config: ImportConfig, plan: ImportPlan) -> dict[str, Any]:
    """What decides the dataset's content: the settings and what the folders hold, but not where they lie."""
    settings = {k: v for k, v in to_plain(config).items() if k not in ("out", "folder")}
    digest = hashlib.sha256()
    for sample in plan.samples:
        digest.update(f"{sample.origin.sample_id} {sample.split}\n".encode())
        for file in sorted(p for p in sample.folder.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(sample.folder)} {file.stat().st_size}\n".encode())
    return {"settings": settings, "samples": len(plan.samples), "folders": digest.hexdigest()}


def _units(plan: ImportPlan, size: int) -> list[_Unit]:
    units = []
    for split in ("train", "val"):
        samples = [sample for sample in plan.samples if sample.split == split]
        for first in range(0, len(samples), size):
            part = tuple(samples[first : first + size])
            units.append(_Unit(split, part, f"facelift-{split}-{first:06d}-{first + len(part) - 1:06d}"))
    return units


def _run(config: ImportConfig, store: Store, units: Sequence[_Unit]) -> None:
    """Import every unit whose marker is not there yet."""
    done = set(store.list(WORK))
    todo = [unit for unit in units if unit.marker not in done]

    def task(row: dict[str, Any]) -> dict[str, Any]:
        unit = todo[row["item"]]
        result = import_samples(unit.samples, config.source, config.gate if config.reject else None)
        if result.samples.num_rows:
            store.write_table(unit.shard, result.samples, digest=True)
        store.write_table(unit.marker, result.rejected)
        return {"count": len(unit.samples)}

    if todo:
        map_with_progress("import", len(todo), task, sum(len(unit.samples) for unit in todo), " samples", kept_in=store)


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: status 1 when folders could not be read, although all that could be used was written."""
    config = parse(
        ImportConfig,
        argv,
        prog="mouse-facelift import-facelift",
        description="Turn FaceLift's sample folders into a dataset.",
    )
    manifest = import_facelift(config)
    store, counts = Store.at(config.out), manifest["counts"]
    _print_some([f"  rejected {n} x {why}" for why, n in manifest["rejected_reasons"].items()], store.path(REJECTED))
    rejected = store.read_table(REJECTED)
    unreadable = rejected.filter(rejected["unreadable"])["reason"].to_pylist()
    hull = manifest["gate"]["hull_iou"].get("q50")
    measured = "no masks to measure" if hull is None else f"hull IoU {hull:.3f} (median)"
    print(
        f"wrote {store.uri}: {counts['train']} train + {counts['val']} val samples, {counts['rejected']} rejected, "
        f"{measured}; lengths are FaceLift's units where folders name no scale"
    )
    _print_some(describe_verdict(manifest["verdict"]), store.path(MANIFEST))
    if counts["train"] + counts["val"]:
        print(f"look at {store.path(CONTACT_SHEET)}")
    if not counts["val"]:
        print("no sample is for validation, which training wants: name some in a list *val*.txt, or see --help, split")
    if not unreadable:
        verb = f"train gslrm --data {config.out} --out RUN" if counts["val"] else f"inspect {config.out}"
        print(f"next: mouse-facelift {verb}")
        return 0
    raise InputError(f"{len(unreadable)} sample folders could not be read: {unreadable[0]}")


def _print_some(lines: Sequence[str], where: str) -> None:
    for line in lines[:_LINES_SHOWN]:
        print(line)
    if len(lines) > _LINES_SHOWN:
        print(f"  and {len(lines) - _LINES_SHOWN} more like these in {where}")


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.import_facelift import main as verb

    run_verb(verb)
