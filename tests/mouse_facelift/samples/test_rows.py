from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A shard of 40 rows, in row groups of 16."""
    store = Store.at(tmp_path)
    store.write_table("shard.parquet", pa.table({"number": list(range(40)), "image": [bytes([i]) for i in range(40)]}))
    return store


@pytest.mark.parametrize("rows", [[0], [39], [15, 16], [33, 2, 17], list(range(40))])
def test_rows_come_in_the_order_asked_for(store: Store, rows: list[int]) -> None:
    assert read_rows(store, "shard.parquet", rows)["number"].to_pylist() == rows


def test_rows_that_are_not_there_and_damage_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shard.parquet: holds 40 rows, not row 40; restore"):
        read_rows(store, "shard.parquet", [3, 40])
    with pytest.raises(InputError, match=r"none.parquet does not exist; restore"):
        read_rows(store, "none.parquet", [0])
    data = bytearray((tmp_path / "shard.parquet").read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "shard.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"shard.parquet: is damaged"):
        read_rows(store, "shard.parquet", [0])
