"""Reading pickles from strangers: NumPy arrays and plain containers may come out of them, and nothing may run.

A pickle is a program that imports and calls what it likes. Here an import of anything but the handful of names that
arrays are rebuilt from is refused before it happens, and even those names lead to stand-ins: NumPy's own functions
never see what the file says, because some of them trust it (object arrays, dtype flags, unbounded shapes).
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mouse_facelift.errors import InputError

# Booleans, integers, floats, complex numbers, bytes and text: dtypes whose elements are their bytes.
_PLAIN_KINDS = "biufcSU"


class _Forbidden(Exception):
    """The pickle asks for something that is not data; the message says what."""


def load_pickle(path: str | Path) -> Any:
    """The value in a pickle file of NumPy arrays, numbers, strings, bytes and plain containers of them.

    Raises:
        InputError: No such file, a damaged pickle, or one that asks for anything else (which is not run).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        # latin1 is how arrays pickled by Python 2 are to be read.
        return _resolve(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except _Forbidden as error:
        raise InputError(
            f"{path}: refused: the pickle asks for {error}, and only NumPy arrays and plain containers are accepted; "
            "nothing was run; save the calibration as plain arrays, and do not open this file elsewhere"
        ) from error
    except Exception as error:
        # Whatever a damaged stream provokes (EOFError, KeyError, MemoryError ...) means the same to its owner.
        raise InputError(
            f"{path}: is not a readable pickle ({type(error).__name__}: {error}); copy it again from its source"
        ) from error


class _Dtype:
    """Stands for a dtype; of the state NumPy pickles with it only the byte order is taken."""

    def __init__(self, code: Any) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) else None
        if self.dtype is None or self.dtype.kind not in _PLAIN_KINDS:
            raise _Forbidden(f"an array of dtype {code!s:.40}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.dtype is not None and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])

    def array(self, data: bytes | bytearray | str, shape: Any, fortran: bool) -> np.ndarray:
        """The array of these bytes (text when Python 2 wrote them)."""
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        # A copy: arrays over bytes are read-only.
        return np.frombuffer(raw, dtype=self.dtype).reshape(shape, order="F" if fortran else "C").copy()


class _Array:
    """Stands for an array until the pickle has given its contents."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = dtype.array(data, shape, fortran)


class _Unpickler(pickle.Unpickler):
    """Knows only what arrays are made of. Its functions are bound methods, which a pickle cannot set attributes on."""

    _NDARRAY = "numpy.ndarray"

    def find_class(self, module: str, name: str, /) -> Any:
        # NumPy 2 moved `numpy.core` to `numpy._core`; files name the module of the version that wrote them.
        known: dict[str, Callable[..., Any] | str] = {
            "numpy.dtype": self._dtype,
            "numpy.ndarray": self._NDARRAY,
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._from_buffer,
            "collections.OrderedDict": OrderedDict,
            "builtins.set": set,
            "builtins.frozenset": frozenset,
            "builtins.bytes": self._empty_bytes,
            "_codecs.encode": self._encode,
        }
        asked = f"{module}.{name}"
        found = known.get(asked.replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins."))
        if found is None:
            raise _Forbidden(asked)
        return found

    def persistent_load(self, pid: Any, /) -> Any:
        raise _Forbidden("an object outside the file")

    def _dtype(self, code: Any, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _reconstruct(self, kind: Any, *_: Any) -> _Array:
        """``numpy.core.multiarray._reconstruct``: an array still to be filled."""
        if kind != self._NDARRAY:
            raise _Forbidden("an array that is not a numpy.ndarray")
        return _Array()

    def _scalar(self, dtype: _Dtype, data: bytes | str) -> Any:
        """``numpy.core.multiarray.scalar``: one number."""
        return dtype.array(data, (), False)[()]

    def _from_buffer(self, data: bytes, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
        """``numpy.core.numeric._frombuffer``: an array as protocol 5 writes it."""
        return dtype.array(data, shape, order == "F")

    def _empty_bytes(self) -> bytes:
        """How protocols before 3 write b''."""
        return b""

    def _encode(self, text: str, encoding: str) -> bytes:
        """How protocols before 3 write bytes; codecs other than Latin-1 can do more than that."""
        if encoding != "latin1":
            raise _Forbidden(f"the codec {encoding}")
        return text.encode("latin1")


def _resolve(value: Any) -> Any:
    """``value`` with every stand-in replaced by its array."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _Dtype):
        return value.dtype
    if isinstance(value, dict):
        return type(value)((key, _resolve(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item) for item in value)
    if callable(value):
        raise _Forbidden("a function where data is expected")
    return value
