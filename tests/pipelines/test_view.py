"""`view`: a page that answers, an end by Ctrl-C, and one line for what cannot be shown."""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from mouse_facelift.gaussians.ply import write_ply
from tests.refusals import refusal
from tests.synthetic import blob

ROOT = Path(__file__).parents[2]


def test_the_page_answers_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", blob())
    command = [sys.executable, "-m", "mouse_facelift.cli", "view", str(tmp_path / "a.ply"), "--port", "0"]
    pipe = subprocess.PIPE
    # Where the tests run in the background, a shell has their Ctrl-C ignored, and children inherit that.
    hear = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, preexec_fn=hear)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("view: open "))
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url is not None
        with urllib.request.urlopen(url.group(), timeout=60) as answer:
            assert answer.status == 200 and b"<html" in answer.read()[:2000].lower()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_bad_input_is_one_line(tmp_path: Path, capsys) -> None:
    assert "absent.ply does not exist" in refusal(capsys, "view", tmp_path / "absent.ply")
    assert "is no .ply" in refusal(capsys, "view", tmp_path)
    write_ply(tmp_path / "a.ply", blob())
    assert "cannot listen at 203.0.113.7" in refusal(capsys, "view", tmp_path / "a.ply", "--host", "203.0.113.7")
    assert "port 99999" in refusal(capsys, "view", tmp_path / "a.ply", "--port", "99999")
