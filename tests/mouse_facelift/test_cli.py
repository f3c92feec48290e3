"""The console command: quick help, one line for bad input, the right exit status."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mouse_facelift.cli import VERBS, main

ROOT = Path(__file__).parents[2]
APPLICATION = """
import sys
from collections.abc import Sequence
from mouse_facelift.cli import run_verb
from mouse_facelift.config import UsageError
from mouse_facelift.errors import InputError

def main(argv=None):
    raise {what}

run_verb(main)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = ("torch", "ray", "diffusers", "numpy", "cv2", "tyro")
    script = (
        "import sys; from mouse_facelift.cli import main; status = main(['--help']);"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules]); sys.exit(status)"
    )
    began = time.monotonic()
    done = run("-c", script)
    assert time.monotonic() - began < 2.0
    assert done.returncode == 0 and "loaded: []" in done.stdout
    for verb in VERBS:
        assert verb in done.stdout


def test_every_verb_has_a_module() -> None:
    for module, _ in VERBS.values():
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["trian", "gslrm"], 2, "unknown verb trian (did you mean train?)"),
        (["train"], 2, "`mouse-facelift train gslrm`"),
        (["train", "unknown"], 2, "`mouse-facelift train gslrm`"),
        (["qqq"], 2, "`mouse-facelift --help` lists the verbs"),
    ],
)
def test_unknown_verbs(argv: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == status
    assert message in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mouse-facelift ")


@pytest.mark.parametrize(
    ("what", "status", "line"),
    [
        ("InputError('cam0.mp4: frame 7\\n cannot be read')", 1, "error: cam0.mp4: frame 7 cannot be read"),
        ("UsageError('x: unknown option --y')", 2, "x: unknown option --y"),
        ("KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_failures_end_in_one_line(what: str, status: int, line: str) -> None:
    done = run("-c", APPLICATION.format(what=what))
    assert (done.returncode, done.stderr) == (status, line + "\n")


def test_a_bug_keeps_its_traceback() -> None:
    done = run("-c", APPLICATION.format(what="ValueError('a bug')"))
    assert done.returncode == 1 and "Traceback" in done.stderr and "a bug" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "shut", "unbuffered"),
    [
        # Found out while it writes, and when all is flushed at the end.
        (["-m", "mouse_facelift.cli", "--help"], "stdout", "1"),
        (["-m", "mouse_facelift.cli", "train", "gslrm", "--help"], "stdout", ""),
        (["-m", "mouse_facelift.cli", "inspect", "/nowhere"], "stderr", "1"),
        (["-c", APPLICATION.format(what="SystemExit([print('last words', end=''), 0][1])")], "stdout", ""),
    ],
)
def test_a_reader_that_leaves_ends_a_verb_silently(arguments: list[str], shut: str, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    other = "stderr" if shut == "stdout" else "stdout"
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, *arguments],
            **{shut: pipe, other: subprocess.PIPE},
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            timeout=60,
        )
    assert (done.returncode, getattr(done, other)) == (128 + signal.SIGPIPE, b"")


def test_closed_outputs_are_nothing_to_fail_for() -> None:
    closed = 'exec "$0" -m mouse_facelift.cli --version >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, sys.executable], cwd=ROOT, timeout=60).returncode == 0


def test_a_broken_pipe_to_something_else_is_no_silence() -> None:
    done = run("-c", APPLICATION.format(what="BrokenPipeError(32, 'ffmpeg is gone')"))
    assert done.returncode == 1 and "ffmpeg is gone" in done.stderr


def test_bad_option_and_bad_input_of_a_real_verb() -> None:
    unknown = run("-m", "mouse_facelift.cli", "train", "gslrm", "--dta", "x")
    assert unknown.returncode == 2
    assert unknown.stderr == "mouse-facelift train gslrm: unknown option --dta (did you mean --data?)\n"
    absent = run("-m", "training.gslrm", "--data", "/nowhere", "--out", "/nowhere/run")
    assert absent.returncode == 1 and absent.stdout == ""
    assert absent.stderr.startswith("error: /nowhere ") and absent.stderr.count("\n") == 1
