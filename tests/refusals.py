"""What a person sees when a verb refuses: the exit status and the one line that says why."""

from __future__ import annotations

import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mouse_facelift import cli


def refusal(capsys: pytest.CaptureFixture[str], command: str, *arguments: str | Path) -> str:
    """Run a command line that must fail; gives its last line, the one clear line that it must end in."""
    capsys.readouterr()
    status = cli.main([*shlex.split(command), *map(str, arguments)])
    written = capsys.readouterr()
    lines = [line for line in written.err.splitlines() if line.strip()]
    assert status in (1, 2), f"status {status}; {written.out}"
    assert "Traceback" not in written.err + written.out
    clear = [line for line in lines if line.startswith(("error: ", "mouse-facelift "))]
    assert clear == lines[-1:], written.err
    return clear[0].removeprefix("error: ")


def rejections(dataset: Path) -> list[str]:
    """The reasons in a dataset's rejected.parquet."""
    return pq.read_table(dataset / "rejected.parquet")["reason"].to_pylist()
