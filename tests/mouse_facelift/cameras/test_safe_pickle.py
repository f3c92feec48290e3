"""Untrusted pickles: arrays come out, code does not run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mouse_facelift.cameras.safe_pickle import load_pickle
from mouse_facelift.errors import InputError

PLAIN = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big endian": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 3)),
    "flags": np.array([True, False]),
    "text": np.array(["left", "right"]),
    "number": np.float32(2.5),
    "bytes": b"\xff\x00a",
    "no bytes": b"",
    "nested": [1, (2.0, "x"), {"y": None}],
    "ordered": OrderedDict(a=1),
    "set": {1, 2},
}


class _Runs:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back_as_it_was(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol=protocol))
    found = load_pickle(path)
    assert found.keys() == PLAIN.keys()
    for key, value in PLAIN.items():
        assert type(found[key]) is type(value)
        if isinstance(value, np.ndarray):
            assert found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key], value)
        else:
            assert found[key] == value


def test_both_names_of_numpys_core_are_known(tmp_path: Path) -> None:
    path, array = tmp_path / "a.pkl", np.arange(4.0)
    data = pickle.dumps(array, protocol=2)
    for name in (b"numpy.core", b"numpy._core"):
        path.write_bytes(data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", name))
        np.testing.assert_array_equal(load_pickle(path), array)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_is_named_and_not_made(tmp_path: Path, protocol: int) -> None:
    path, witness = tmp_path / "new_cam.pkl", tmp_path / "witness"
    path.write_bytes(pickle.dumps([_Runs(os.system, f"touch {witness}")], protocol=protocol))
    with pytest.raises(InputError, match=rf"{path.name}.*{os.system.__module__}\.system"):
        load_pickle(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Runs(eval, "1"), "eval"),
        (_Runs(getattr, "a", "upper"), "getattr"),
        (np.array([{"a": 1}, None], dtype=object), "dtype O8"),
        (np.zeros(2, dtype=[("a", "O")]), "dtype V8"),
        (np.memmap, "numpy.*memmap"),
        (Path("a"), "pathlib"),
    ],
)
def test_anything_but_data_is_refused(tmp_path: Path, value: Any, name: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=name):
        load_pickle(path)


def test_a_function_of_ours_cannot_be_left_in_the_data(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cnumpy\ndtype\n.")
    with pytest.raises(InputError, match="a function where data is expected"):
        load_pickle(path)


def test_a_shape_that_the_bytes_do_not_fill_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    data = pickle.dumps(np.zeros((2, 3)), protocol=2)
    path.write_bytes(data.replace(b"K\x02K\x03\x86", b"K\x7fK\x7f\x86"))
    with pytest.raises(InputError, match="not a readable pickle"):
        load_pickle(path)


@pytest.mark.parametrize("length", [0, 1, 60, -1])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.pkl"
    path.write_bytes(pickle.dumps(PLAIN)[:length])
    with pytest.raises(InputError, match="cut.pkl: is not a readable pickle") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.pkl: cannot be read"):
        load_pickle(tmp_path / "none.pkl")
