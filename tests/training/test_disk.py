"""A full disk: recognised whoever meets it, and one line for the person."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mouse_facelift.errors import InputError
from training.disk import explained_full_disk, is_full_disk

# Files of this process may not grow beyond 20 kB, as on a disk with that much left.
WRITE = """
import resource, sys
from pathlib import Path
import torch
from mouse_facelift.checkpoints import write_checkpoint
from training.disk import explained_full_disk

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
big, small = {"a": torch.zeros(100_000)}, {"a": torch.zeros(10)}
weights, state = {"weights": (big, small), "state": (small, big)}[sys.argv[2]]
try:
    with explained_full_disk("the checkpoint of step 7", Path("RUN")):
        write_checkpoint(Path(sys.argv[1]), kind="k", weights=weights, config={}, metrics={}, state=state)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("part", ["weights", "state"])
def test_what_the_writers_of_weights_and_state_say_is_understood(tmp_path: Path, part: str) -> None:
    run = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "c"), part], capture_output=True, text=True)
    assert run.stdout.startswith("InputError RUN: no space left to write the checkpoint of step 7;"), run.stderr
    assert "continue with --resume" in run.stdout and run.stdout.count("\n") == 1


def test_other_errors_pass_through() -> None:
    with pytest.raises(OSError, match="permission"):
        with explained_full_disk("x", Path("RUN")):
            raise OSError(errno.EACCES, "permission denied")
    with pytest.raises(KeyError):
        with explained_full_disk("x", Path("RUN")):
            raise KeyError("x")


def test_a_cause_counts() -> None:
    outer = RuntimeError("upload failed")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full_disk(outer) and not is_full_disk(RuntimeError("upload failed"))
    with pytest.raises(InputError, match="^RUN: no space left to write pictures; earlier checkpoints are whole"):
        with explained_full_disk("pictures", Path("RUN")):
            raise outer
