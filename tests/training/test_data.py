"""Which samples a step sees, and that nothing is lost, repeated or reordered on the way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.synthetic import blob, ring_sample, write_dataset
from training.data import RowTable, memory_batches, prefetched, rows_of_step, stream_batches
from training.dataset import Split, read_split


@pytest.mark.parametrize(("rows", "batch"), [(10, 4), (3, 8), (40, 4), (7, 7), (1, 2)])
def test_every_epoch_is_a_permutation_whatever_the_batch(rows: int, batch: int) -> None:
    drawn = np.concatenate([rows_of_step(step, rows, batch, seed=5) for step in range(rows * 3)])
    epochs = drawn.reshape(-1, rows)
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    if rows > 5:
        assert not np.array_equal(epochs[0], epochs[1])


def _ids(rows: Sequence[Any]) -> dict[str, Any]:
    return {"ids": torch.tensor([row["id"] for row in rows])}


def test_workers_share_every_global_batch_whatever_their_number() -> None:
    rows = [{"id": i} for i in range(10)]

    def batches(world: int, start: int = 0) -> list[list[int]]:
        feeds = [
            memory_batches(rows, _ids, batch_size=4, seed=1, rank=rank, world_size=world, start=start)
            for rank in range(world)
        ]
        return [[i for part in step for i in part["ids"].tolist()] for step in islice(zip(*feeds, strict=True), 6)]

    assert batches(1) == batches(2) == batches(4)
    assert batches(2, start=2)[:4] == batches(2)[2:]


def test_prefetching_keeps_order_ends_and_hands_errors_over() -> None:
    assert list(prefetched(iter(range(50)), 3)) == list(range(50))

    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    feed = prefetched(breaks(), 2)
    assert next(feed) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(feed)


def test_prefetching_stops_its_thread() -> None:
    feed = prefetched(iter(int, 1), 2)
    next(feed)
    workers = [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    feed.close()
    for thread in workers:
        thread.join(timeout=5)
        assert not thread.is_alive()


@pytest.mark.parametrize("world", [2, 3, 4, 5])
def test_uneven_shares_make_the_same_global_batch(world: int) -> None:
    rows = [{"id": i} for i in range(10)]
    feeds = [memory_batches(rows, _ids, batch_size=5, seed=1, rank=r, world_size=world, start=3) for r in range(world)]
    whole = next(memory_batches(rows, _ids, batch_size=5, seed=1, rank=0, world_size=1, start=3))
    assert torch.cat([next(feed)["ids"] for feed in feeds]).tolist() == whole["ids"].tolist()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [ring_sample(blob(0), number, views=2, size=16) for number in range(13)]
    return write_dataset(tmp_path_factory.mktemp("data"), {"train": samples[:9], "val": samples[9:]})


def test_split_knows_its_rows(dataset: Path) -> None:
    split = Split.find(str(dataset), "train")
    assert split.rows == 9 and split.bytes > 0
    assert split.first_row()["sample_id"] == "ring-000000"
    assert split.spread_ids(3) == ["ring-000000", "ring-000004", "ring-000008"]
    assert len(split.spread_ids(100)) == 9


def _frames(rows: Sequence[Any]) -> dict[str, Any]:
    return {"frames": torch.tensor([int(row["sample_id"].removeprefix("ring-")) for row in rows])}


def test_rows_arrive_whole_and_in_order(dataset: Path, ray_session: None) -> None:
    split = Split.find(str(dataset), "train")
    table = RowTable(read_split(split, ("sample_id", "images")).materialize().iterator())
    assert [row["sample_id"] for row in table] == [f"ring-{i:06d}" for i in range(9)]
    assert set(table[0]) == {"sample_id", "images"} and table[0]["images"][0]["bytes"][:4] == b"\x89PNG"
    chosen = RowTable(read_split(split, None, ids=split.spread_ids(3)).materialize().iterator())
    assert [row["frame"] for row in chosen] == [0, 4, 8]


def test_streamed_workers_get_equal_batches_and_every_row_in_turn(dataset: Path, ray_session: None) -> None:
    split = Split.find(str(dataset), "train")
    shards = read_split(split, ("sample_id",), shuffle_seed=3, shuffle_rows=100).streaming_split(2, equal=True)
    seen: list[list[list[int]]] = [[], []]

    def consume(rank: int) -> None:
        feed = stream_batches(shards[rank], _frames, share=2, prefetch=1)
        seen[rank] = [batch["frames"].tolist() for batch in islice(feed, 24)]

    threads = [threading.Thread(target=consume, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [len(batches) for batches in seen] == [24, 24]
    for epoch in range(12):
        rows = [row for rank in range(2) for batch in seen[rank][2 * epoch : 2 * epoch + 2] for row in batch]
        assert max(Counter(rows).values()) == 1, "a row came twice in one epoch"
    # Eight of nine rows fit each epoch; which one stays out changes (the same one in all twelve: 1 in 3e10).
    assert {row for batches in seen for batch in batches for row in batch} == set(range(9))
