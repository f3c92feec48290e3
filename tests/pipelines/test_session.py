"""Joining Ray: what a local one is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUT_TOO_MUCH = """
import sys
from pathlib import Path
import numpy as np
import ray
from pipelines.placement import PlacementConfig
from pipelines.session import connect

if __name__ == "__main__":
    connect(PlacementConfig(spill_folder=sys.argv[1]), num_cpus=1)
    kept = [ray.put(np.full(30_000_000, i, np.uint8)) for i in range(5)]
    print("spilled", sum(f.stat().st_size for f in Path(sys.argv[1]).rglob("*") if f.is_file()))
    assert [int(ray.get(k)[-1]) for k in kept] == list(range(5))
"""


@pytest.mark.slow
def test_what_memory_cannot_hold_goes_to_the_folder_that_was_named(tmp_path: Path) -> None:
    folder = tmp_path / "spill"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"] = "80000000"
    command = [sys.executable, "-c", PUT_TOO_MUCH, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("spilled")[1]) >= 60_000_000
