"""What the other commands made, opened to be looked at or exported: moments in order, each read when it is wanted.

A file of Gaussians is one moment; a sequence file, a folder of reconstructed samples and a dataset have many. Lengths
come in normalised units or in the recording's millimetres wherever the similarity lies beside the Gaussians.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.files import is_gaussians_file, read_gaussians
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import SUFFIX, Sequenced
from mouse_facelift.samples.dataset import MANIFEST, Dataset, open_dataset
from mouse_facelift.samples.schema import Sample
from mouse_facelift.storage import Store, is_uri

Units = Literal["normalised", "mm"]
PLY_NAME = "gaussians.ply"
SIMILARITY_NAME = "similarity.json"
# Samples that stay decoded in memory: six views of 512 px take 6 MB.
_KEPT = 16


@dataclass(frozen=True, eq=False)
class Result:
    """Moments of one result.

    Attributes:
        location: The path or URI it was opened from.
        labels: What each moment is called: a sample's id, or the file's name.
        times: Seconds of each in its recording; 0 where that is not known.
        gaussians: A moment's Gaussians, by position; None for a dataset, which has none.
        sample: A moment's cameras and pictures, by position; None for what has none.
    """

    location: str
    labels: Sequence[str]
    times: Sequence[float]
    gaussians: Callable[[int], Gaussians] | None = None
    sample: Callable[[int], Sample] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, wanted: str) -> int:
        """The position of a moment, by its label or its position ("0" is the first, "-1" the last).

        Raises:
            InputError: There is no such moment.
        """
        if wanted in self.labels:
            return self.labels.index(wanted)
        if wanted.lstrip("-").isdigit() and -len(self) <= int(wanted) < len(self):
            return int(wanted) % len(self)
        raise InputError(
            f"{self.location}: has no moment {wanted}; give a position from 0 to {len(self) - 1} or a sample's id, "
            f"{self.labels[0]} for one"
        )


def open_result(location: str, units: Units = "normalised") -> Result:
    """Recognise what lies at a path or URI.

    Raises:
        InputError: It is nothing that can be looked at, or it is damaged.
    """
    plain = location.partition("?")[0]
    if plain.endswith(SUFFIX):
        return _open_sequence(location, units)
    if is_gaussians_file(location):
        return _open_file(location, units)
    if Store.at(location).exists(MANIFEST):
        return _open_samples(location)
    if not is_uri(location):
        folder = Path(location)
        sequences = sorted(folder.glob(f"*{SUFFIX}"))
        if len(sequences) == 1:
            return _open_sequence(str(sequences[0]), units)
        inside = folder / PLY_NAME
        files = [inside] if inside.is_file() else sorted(folder.glob(f"samples/*/{PLY_NAME}"))
        if files:
            return _open_files(location, files, units)
        if not folder.exists():
            raise InputError(f"{location} does not exist; check the path")
    raise InputError(
        f"{location}: is no .ply or .splat, no *{SUFFIX}, no dataset ({MANIFEST}) and no folder of reconstructions"
    )


def _open_sequence(location: str, units: Units) -> Result:
    sequence = Sequenced.open(location)
    if not len(sequence):
        raise InputError(f"{location}: holds no frames; reconstruct the recording again")

    def read(position: int) -> Gaussians:
        frame = sequence.frame(position)
        return frame.in_mm() if units == "mm" else frame.gaussians

    index = sequence.index
    return Result(location, [i.sample_id for i in index], [i.time_s for i in index], gaussians=read)


def _open_file(location: str, units: Units) -> Result:
    if not is_uri(location) and Path(location).is_file():
        return _open_files(location, [Path(location)], units)
    return Result(location, [Path(location).name], [0.0], gaussians=lambda _: read_gaussians(location))


def _open_files(location: str, files: Sequence[Path], units: Units) -> Result:
    # One file is known by its own name, those of a run by their samples.
    labels = [files[0].name] if len(files) == 1 else [file.parent.name for file in files]
    return Result(location, labels, [0.0] * len(files), gaussians=lambda i: _read_in_units(files[i], units))


def _read_in_units(file: Path, units: Units) -> Gaussians:
    """A file's Gaussians, converted where the similarity beside it says how; otherwise as they are."""
    gaussians, beside = read_gaussians(file), file.with_name(SIMILARITY_NAME)
    if not beside.is_file():
        return gaussians
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        stored, scale = record["gaussians_ply_units"], float(record["scale"])
        centre = torch.tensor(record["centre_mm"], dtype=torch.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{beside}: is not the similarity of a reconstruction ({error}); make it again") from error
    if stored == units:
        return gaussians
    return gaussians.restored(scale, centre) if units == "mm" else gaussians.transformed(scale, centre)


def _open_samples(location: str) -> Result:
    dataset = open_dataset(location)
    places = [(split, row) for split in ("train", "val") for row in range(dataset.count(split))]
    if not places:
        raise InputError(f"{location}: holds no samples; see its rejected.parquet for the reasons")
    ids, times = _sample_ids(dataset)

    @lru_cache(maxsize=_KEPT)
    def read(position: int) -> Sample:
        split, row = places[position]
        return next(dataset.samples(split, only=[row]))

    return Result(location, ids, times, sample=read)


def _sample_ids(dataset: Dataset) -> tuple[list[str], list[float]]:
    """Ids and times of all samples, the splits' one after the other, without reading a picture."""
    ids, times = [], []
    for split in ("train", "val"):
        for shard in dataset.shards(split):
            table = dataset.store.read_table(shard, ["sample_id", "time_s"])
            ids += table["sample_id"].to_pylist()
            times += np.asarray(table["time_s"]).tolist()
    return ids, times
