"""`mouse-facelift export-facelift`: a dataset in, FaceLift's sample folders and list files out.

`sample_%06d/images/cam_%03d.png`, `sample_%06d/opencv_cameras.json`, `data_train.txt` and `data_val.txt`: what FaceLift
trains on. One Ray task per shard; a folder's JSON is written last, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.facelift_folders import write_sample
from mouse_facelift.samples.facelift_lists import write_list
from mouse_facelift.storage import Store
from pipelines.session import connect
from pipelines.units_of_work import WORK, claim, map_with_progress

EXPORT = "export.json"
"""Written last: what was exported, and that the export is complete."""
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class ExportConfig:
    """Settings of `export-facelift`."""

    data: str
    """Dataset: a folder or a URI that pyarrow opens."""
    out: str
    """Where the sample folders and list files go: a folder, or a URI that pyarrow opens."""
    paths: Literal["absolute", "relative"] = "absolute"
    """How lists name folders. FaceLift takes relative ones from the folder that it is started in, which must then be
    --out; import-facelift finds either."""


@dataclass(frozen=True)
class _Unit:
    """A shard's samples: positions in their split, and the number of the first one's folder."""

    split: str
    rows: range
    first: int

    @property
    def folders(self) -> list[str]:
        return [f"sample_{self.first + row:06d}" for row in range(len(self.rows))]


def export_facelift(config: ExportConfig) -> dict[str, Any]:
    """Run the pipeline; returns what `export.json` says. A complete export that is repeated does nothing."""
    dataset, store = open_dataset(config.data), Store.at(config.out)
    settings = {k: v for k, v in to_plain(config).items() if k not in ("data", "out")}
    identity = {"settings": settings, "dataset": dataset.manifest["fingerprint"]}
    if store.exists(EXPORT):
        record = store.read_json(EXPORT)
        if record.get("config") != identity:
            raise InputError(f"{store.uri} holds an export of another dataset or settings; choose another --out")
        return record
    units = _units(dataset)
    if not units:
        raise InputError(f"{config.data} holds no samples to export; see its rejected.parquet for the reasons")
    claim(store, identity, "export-facelift", config)
    connect()
    _run(dataset, store, units)
    for split in _SPLITS:
        folders = [folder for unit in units if unit.split == split for folder in unit.folders]
        shown = [store.path(folder) for folder in folders] if config.paths == "absolute" else folders
        write_list(store, f"data_{split}.txt", shown)
    record = {"config": identity, "counts": {split: dataset.count(split) for split in _SPLITS}}
    store.write(EXPORT, (json.dumps(record, indent=1) + "\n").encode())
    store.delete(WORK)
    return record


def _units(dataset: Dataset) -> list[_Unit]:
    units, number = [], 0
    for split in _SPLITS:
        start = 0
        for shard in dataset.shards(split):
            rows = range(start, start + dataset.manifest["shards"][shard])
            units.append(_Unit(split, rows, number))
            start, number = rows.stop, number + len(rows)
    return units


def _run(dataset: Dataset, store: Store, units: Sequence[_Unit]) -> None:
    """Write the samples of every shard that is not complete yet."""
    present = set(store.list(suffix=FILE_NAME))
    todo = [unit for unit in units if any(f"{folder}/{FILE_NAME}" not in present for folder in unit.folders)]

    def task(row: dict[str, Any]) -> dict[str, Any]:
        unit = todo[row["item"]]
        for folder, sample in zip(unit.folders, dataset.samples(unit.split, unit.rows), strict=True):
            write_sample(store.path(folder), sample)
        return {"count": len(unit.rows)}

    if todo:
        map_with_progress("export", len(todo), task, sum(len(unit.rows) for unit in todo), " samples")


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `export-facelift`."""
    config = parse(
        ExportConfig,
        argv,
        prog="mouse-facelift export-facelift",
        description="Write a dataset as FaceLift's sample folders and list files.",
    )
    counts = export_facelift(config)["counts"]
    store = Store.at(config.out)
    print(f"wrote {store.uri}: {counts['train']} train + {counts['val']} val sample folders")
    print(f"lists: {store.path('data_train.txt')}, {store.path('data_val.txt')}")
    print("next: name the two lists in the training configuration of FaceLift")
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.export_facelift import main as verb

    run_verb(verb)
