"""How the compiled CPU renderer is compiled and how many threads it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np

Scalar = float | np.floating
"""A number inside compiled code: always single precision there."""


def compiled(*, parallel: bool = False, fastmath: set[str] | bool = False) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit as this room uses it: no GIL, IEEE division, machine code kept on disk between runs.

    Numba keeps the code beside the source, or in the user's cache folder when that is read-only; where neither can
    be written (a locked-down container) the functions are compiled anew in every process. Compiled functions call
    each other across the modules named `tiled*` of a folder; a change to any of those makes all of it anew.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {
            "parallel": parallel,
            "fastmath": fastmath,
            "nogil": True,
            "error_model": "numpy",
        }
        try:
            dispatcher: Any = numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(**options)(function)
        # Numba itself would look at the function's own file only, and run stale copies of what it calls elsewhere.
        dispatcher._cache._cache_file._source_stamp = _source_stamp(Path(function.__code__.co_filename).parent)
        return dispatcher

    return decorate


def _source_stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every source file whose compiled functions may contain one another."""
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("tiled*.py"))]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@contextmanager
def as_many_threads_as_torch() -> Iterator[int]:
    """Holds numba to PyTorch's thread count (which OMP_NUM_THREADS and training workers set), or to fewer.

    Numba reads neither; without this every worker of a machine would take all of its cores. Nor does it keep them: its
    OpenMP threads are also PyTorch's, which after numba's first parallel loop would have as many as there are cores.
    """
    import torch  # here, so that compiling alone does not wait for it

    of_torch, before = torch.get_num_threads(), numba.get_num_threads()
    threads = max(1, min(before, of_torch))
    numba.set_num_threads(threads)
    try:
        yield threads
    finally:
        numba.set_num_threads(before)
        if torch.get_num_threads() != of_torch:
            torch.set_num_threads(of_torch)
