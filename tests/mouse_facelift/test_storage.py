"""A store writes whole files or none, and lists what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store


def test_write_read_list_delete(tmp_path):
    store = Store.at(tmp_path / "new")
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    store.write("c.bin", b"")
    (tmp_path / "new" / "half.tmp").write_bytes(b"unfinished")
    assert store.read("a/b.txt") == b"two"
    assert store.list() == ["a/b.txt", "c.bin"]
    assert store.list("a") == ["a/b.txt"] and store.list("absent") == []
    assert store.exists("c.bin") and not store.exists("d")
    store.delete("a")
    store.delete("absent")
    assert store.list() == ["c.bin"]


def test_uris_and_paths_name_the_same_place(tmp_path):
    Store.at(tmp_path).write("x", b"1")
    assert Store.at(f"file://{tmp_path}").read("x") == b"1"


def test_bad_places_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Store.at(tmp_path).read("absent")
    with pytest.raises(InputError, match="cannot open"):
        Store.at("nonsense://bucket").exists("x")


def test_what_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file/x: .*check the place"):
        Store.at(tmp_path / "file").write("x", b"")
    with pytest.raises(InputError, match="x cannot be written: no such place"):
        Store.at("/proc/nowhere").write("x", b"")


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/walk", "walk"),
        ("/data/what?", "what?"),
        ("s3://lab/walk/?endpoint_override=127.0.0.1:9000/x", "walk"),
        ("s3://lab", "lab"),
    ],
)
def test_a_place_is_called_by_its_last_part(location, name):
    assert Store.at(location).name == name


def test_json_that_is_none_is_one_line(tmp_path):
    store = Store.at(tmp_path)
    store.write("a.json", b'{"n": 1}')
    assert store.read_json("a.json") == {"n": 1}
    for data, message in (
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 99_999, "is not JSON"),
        (b"1", "no JSON"),
    ):
        store.write("a.json", data)
        with pytest.raises(InputError, match=f"a.json: .*{message}"):
            store.read_json("a.json")


def test_a_table_is_read_as_written_or_not_at_all(tmp_path):
    """One changed bit anywhere between the first page and the footer is noticed."""
    store, table = Store.at(tmp_path), pa.table({"x": np.arange(40.0), "b": [bytes([n] * 99) for n in range(40)]})
    store.write_table("t.parquet", table)
    data = store.read("t.parquet")
    assert store.read_table("t.parquet").equals(table)
    assert store.read_table("t.parquet", ["x", "absent"]).column_names == ["x"]
    for place in (100, len(data) // 2, len(data) - 3):
        store.write("bad.parquet", data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(InputError, match="bad.parquet: is damaged"):
            store.read_table("bad.parquet")
    store.write("cut.parquet", data[:-20])
    with pytest.raises(InputError, match="cut.parquet: is damaged"):
        store.read_table("cut.parquet")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "..\\x"])
def test_names_stay_inside_the_store(tmp_path, name):
    store = Store.at(tmp_path / "store")
    for use in (store.read, store.exists, store.delete, lambda n: store.write(n, b"")):
        with pytest.raises(InputError, match="leave its folder"):
            use(name)
    assert not list(tmp_path.rglob("*"))


def test_an_object_store_keeps_files_like_a_folder(s3_server, tmp_path):
    store = Store.at(f"s3://lab/runs/one/{s3_server}")
    assert store.path("a/b") == f"s3://lab/runs/one/a/b{s3_server}"
    assert store.list() == [] and not store.exists("a/b")
    store.write("a/b", b"first")
    store.write("a/b", b"second")
    store.write("c", bytes(100_000))
    assert store.list() == ["a/b", "c"] and store.read("a/b") == b"second"
    assert Store.at(store.path("a")).list() == ["b"]
    assert store.state("c")[0] == 100_000
    store.download("c", tmp_path / "deep" / "c")
    assert (tmp_path / "deep" / "c").read_bytes() == bytes(100_000)
    store.delete("a")
    assert store.list() == ["c"]
    with pytest.raises(InputError, match="runs/one/absent.* does not exist"):
        store.read("absent")
    with pytest.raises(InputError, match="no-such-bucket"):
        Store.at(f"s3://no-such-bucket/x{s3_server}").write("a", b"")


def test_a_full_or_forbidden_place_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="check the place"):
        Store.at(tmp_path / "file").write("a", b"")


def test_a_tables_digest_follows_its_content_and_needs_the_files_end_alone(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    table = pa.table({"n": list(range(1000)), "bytes": [b"x" * 100] * 1000})
    for name, content in (("a", table), ("b", table), ("c", table.slice(1))):
        store.write_table(f"{name}.parquet", content, digest=True)
    a, b, c = (store.table_digest(f"{name}.parquet") for name in "abc")
    assert a == b != c
    assert store.read("a.parquet") == store.read("b.parquet")
    data = bytearray(store.read("a.parquet"))
    data[50:5000] = bytes(4950)
    store.write("a.parquet", bytes(data))
    assert store.table_digest("a.parquet") == b
    assert store.read_table("b.parquet", ["n"]).equals(table.select(["n"]))
    store.write_table("plain.parquet", table)
    with pytest.raises(InputError, match="does not say what it holds"):
        store.table_digest("plain.parquet")
    with pytest.raises(InputError, match="none.parquet does not exist"):
        store.table_digest("none.parquet")
