from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import torch

from mouse_facelift.gaussians.tiled_compile import as_many_threads_as_torch, compiled

INNER = "from mouse_facelift.gaussians.tiled_compile import compiled\n@compiled()\ndef inner(x):\n    return x + {}\n"
OUTER = """
from mouse_facelift.gaussians.tiled_compile import compiled
from tiled_inner import inner
@compiled()
def outer(x):
    return inner(x) * 2
print(outer(1), sum(outer.stats.cache_hits.values()))
"""


def test_compiled_code_is_kept_until_any_of_its_sources_changes(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (tmp_path / "tiled_outer.py").write_text(OUTER)

    def run() -> str:
        command = [sys.executable, "tiled_outer.py"]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    (tmp_path / "tiled_inner.py").write_text(INNER.format(1))
    assert run() == "4 0"
    assert run() == "4 1"
    (tmp_path / "tiled_inner.py").write_text(INNER.format(100))
    assert run() == "202 0"


def test_code_without_a_place_to_keep_it_still_compiles() -> None:
    space: dict = {}
    exec("def double(x):\n    return 2 * x", space)  # source that is no file: numba has nowhere to cache it
    assert compiled()(space["double"])(21) == 42


def test_threads_follow_torch_and_are_given_back() -> None:
    torch_before, numba_before = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(1)
        with as_many_threads_as_torch() as threads:
            assert threads == numba.get_num_threads() == 1
        assert numba.get_num_threads() == numba_before
    finally:
        torch.set_num_threads(torch_before)


THREADS = """
import numba
import torch
from mouse_facelift.gaussians.tiled_compile import as_many_threads_as_torch

torch.set_num_threads(1)
with as_many_threads_as_torch():
    pass
print(numba.config.NUMBA_NUM_THREADS, torch.get_num_threads())
"""


def test_torch_keeps_its_threads_when_numba_starts(tmp_path: Path) -> None:
    """Both use the OpenMP threads of their process, of which numba takes as many as there may be."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "1"]
