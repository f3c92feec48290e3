"""The sample dataset as training sees it: its shards, their size, and Ray Data over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import ray.data
from pyarrow import fs
from ray.data import FileShuffleConfig

from mouse_facelift.errors import InputError
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.storage import Store


@dataclass(frozen=True)
class Split:
    """One split of a dataset (`split=train/...`), before any pixel is read."""

    name: str
    paths: tuple[str, ...]
    """Locations of the shards, sorted."""
    bytes: int
    """Size of the shards; images are stored encoded, so this is about what they take in memory."""
    rows: int

    @staticmethod
    def find(data: str, name: str) -> Split:
        """Look a split up.

        Raises:
            InputError: no complete dataset there, or no samples in this split.
        """
        dataset = open_dataset(data)
        shards = dataset.shards(name)
        if not shards:
            raise InputError(f"{data}: holds no samples in split={name}; preprocess more frames, or hold out others")
        return Split.of(dataset.store, {shard: dataset.manifest["shards"][shard] for shard in shards}, name)

    @staticmethod
    def of(store: Store, shards: Mapping[str, int], name: str) -> Split:
        """A split of these shards (name -> rows), at least one."""
        paths = tuple(map(store.path, shards))
        system, _ = fs.FileSystem.from_uri(paths[0])
        sizes = [info.size for info in system.get_file_info([fs.FileSystem.from_uri(path)[1] for path in paths])]
        return Split(name, paths, sum(sizes), sum(shards.values()))

    def first_row(self) -> dict[str, Any]:
        """One row, to see what kind of samples these are."""
        return _arrow(self.paths).head(1).to_pylist()[0]

    def read(self, columns: Sequence[str] | None = None, ids: Sequence[str] | None = None) -> pa.Table:
        """The split's rows in this process's memory, images still encoded; all of them, or those of `ids`."""
        wanted = None if ids is None else pads.field("sample_id").isin(list(ids))
        return _arrow(self.paths).to_table(columns=None if columns is None else list(columns), filter=wanted)

    def spread_rows(self, count: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Up to `count` samples, evenly spread over the split in the order of ids; only these columns are read."""
        rows = self.read(columns, self.spread_ids(count)).to_pylist()
        return sorted(rows, key=lambda row: row["sample_id"])

    def spread_ids(self, count: int) -> list[str]:
        """Ids of up to `count` samples, evenly spread over the split in the order of ids."""
        ids = sorted(_arrow(self.paths).to_table(columns=["sample_id"]).column(0).to_pylist())
        return [ids[i] for i in np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)]


def _arrow(paths: Sequence[str]) -> pads.Dataset:
    system, _ = fs.FileSystem.from_uri(paths[0])
    files = [fs.FileSystem.from_uri(path)[1] for path in paths]
    return pads.dataset(files, filesystem=system, format="parquet")


def read_split(
    split: Split,
    columns: Sequence[str] | None,
    *,
    ids: Sequence[str] | None = None,
    shuffle_seed: int | None = None,
    shuffle_rows: int = 1,
) -> ray.data.Dataset:
    """Ray Data over a split's shards, images still encoded.

    Args:
        split: which.
        columns: columns to read; None for all.
        ids: keep these samples only.
        shuffle_seed: read the files in another order each time the dataset is iterated, and shuffle the rows.
        shuffle_rows: rows are shuffled among this many neighbours, after the files.
    """
    context = ray.data.DataContext.get_current().copy()
    # Ray 2.60's second Parquet reader packs shards into tasks by uncompressed size: small and middling datasets end up
    # in one read task, and every epoch waits seconds for its first batch. The first reader uses a task per file.
    context.use_datasource_v2 = False
    shuffle = None if shuffle_seed is None else FileShuffleConfig(seed=shuffle_seed)
    with ray.data.DataContext.current(context):
        dataset = ray.data.read_parquet(
            list(split.paths), columns=None if columns is None else list(columns), partitioning=None, shuffle=shuffle
        )
        if ids is not None:
            keep = partial(_keep, wanted=frozenset(ids))
            dataset = dataset.map_batches(keep, batch_format="pyarrow", batch_size=None)
        if shuffle_seed is not None:
            dataset = dataset.map_batches(_shuffled, batch_format="pyarrow", batch_size=shuffle_rows)
        return dataset


def _shuffled(table: pa.Table) -> pa.Table:
    """The rows in an order that is new every time.

    Shuffling here, on encoded rows, costs a fraction of a shuffle buffer in the trainer. It also decides which rows an
    equal split over workers drops: in file order, a small dataset would lose the same ones every epoch. Ray Data
    delivers tasks in the order they finish, so a stream cannot be reproduced row by row, seeded or not.
    """
    return table.take(np.random.default_rng().permutation(table.num_rows))


def _keep(table: pa.Table, wanted: frozenset[str]) -> pa.Table:
    return table.filter(pa.array([sample in wanted for sample in table.column("sample_id").to_pylist()], pa.bool_()))
