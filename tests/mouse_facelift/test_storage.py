"""A store writes whole files or none, and lists what it holds."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "..\\x"])
def test_names_stay_inside_the_store(tmp_path, name):
    store = Store.at(tmp_path / "store")
    for use in (store.read, store.exists, store.delete, lambda n: store.write(n, b"")):
        with pytest.raises(InputError, match="leave its folder"):
            use(name)
    assert not list(tmp_path.rglob("*"))
