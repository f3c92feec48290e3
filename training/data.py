"""From shards to batches: which samples a step sees, and how they get there without making the model wait.

Samples stay encoded until the last moment; a background thread (or Ray Data's own) decodes the next batches while a
step runs. There are two feeds. In "memory" a step's samples are a pure function of seed and step: epochs follow each
other without a pause, nothing is dropped, and a resumed or re-sized run sees the same global batches. In "stream" Ray
Data reads the shards anew for each epoch and splits them over the workers.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from ray.data import DataIterator
from ray.data.collate_fn import ArrowBatchCollateFn

from training.accumulation import share_of
from training.task import Row, Tensors

Collate = Callable[[Sequence[Row]], Tensors]
Item = TypeVar("Item")


def rows_of_step(step: int, rows: int, batch_size: int, seed: int) -> Int[np.ndarray, " batch"]:
    """Indices of the samples of one global batch.

    Epochs are permutations of all samples, laid end to end without gap or remainder and cut into batches: every
    sample is seen equally often, also when the batch does not divide the dataset or exceeds it.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    chosen = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(positions // rows):
        here = positions // rows == epoch
        order = np.random.default_rng((seed, int(epoch))).permutation(rows)
        chosen[here] = order[positions[here] % rows]
    return chosen


def memory_batches(
    rows: Sequence[Row], collate: Collate, *, batch_size: int, seed: int, rank: int, world_size: int, start: int
) -> Iterator[Tensors]:
    """This worker's share of every global batch from step `start` on, for ever."""
    share = share_of(batch_size, rank, world_size)
    step = start
    while True:
        mine = rows_of_step(step, len(rows), batch_size, seed)[share.first : share.first + share.count]
        yield collate([rows[index] for index in mine])
        step += 1


class DecodeTable(ArrowBatchCollateFn):
    """A task's `collate` in the form Ray Data calls, on its prefetching threads."""

    def __init__(self, collate: Collate) -> None:
        super().__init__()
        self.collate = collate

    def __call__(self, batch: pa.Table) -> Tensors:
        return self.collate(batch.to_pylist())


def stream_batches(
    shard: DataIterator,
    collate: Collate,
    *,
    share: int,
    prefetch: int,
) -> Iterator[Tensors]:
    """This worker's batches, one pass over its split of the shards after another, for ever.

    The split gives every worker equally many rows, so all of them see equally many full batches per epoch. The rest of
    an epoch is dropped; the dataset is shuffled anew for each, so no sample is left out for long. Each pass begins
    with Ray Data starting its readers (about a second), which is nothing beside an epoch too large for memory. A
    resumed run begins a new pass.
    """
    while True:
        yield from shard.iter_torch_batches(
            batch_size=share,
            collate_fn=DecodeTable(collate),
            drop_last=True,
            prefetch_batches=prefetch,
        )


def prefetched(items: Iterator[Item], depth: int) -> Generator[Item]:
    """The same items, with up to `depth` of them made ahead on a background thread; its errors are raised here."""
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(entry: tuple[Item | None, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                offer((item, None))
                if stop.is_set():
                    return
            offer((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            offer((None, error))

    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()


class Rows(Sequence[Row]):
    """The rows of a table in the order of their ids; a row is decoded from Arrow when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        ids = table.column("sample_id").to_pylist()
        self._order = sorted(range(len(ids)), key=ids.__getitem__)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._table.slice(self._order[index], 1).to_pylist()[0]


class RowTable(Rows):
    """All rows of a dataset, encoded and where Ray keeps them (one copy per machine)."""

    def __init__(self, shard: DataIterator) -> None:
        # Ray Data hands blocks over in the order in which they were read.
        super().__init__(pa.concat_tables(list(shard.iter_batches(batch_format="pyarrow", batch_size=None))))  # type: ignore[arg-type]
