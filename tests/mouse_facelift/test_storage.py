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
