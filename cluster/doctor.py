"""`mouse-facelift doctor [--address URL]`: what would fail on this machine or on a cluster, and the cure.

Without an address Ray starts here, as every verb starts it, and this machine is looked at. With one, a small job asks
every machine of that cluster, and the dashboard is asked whether it lets strangers in.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shlex
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.checks import Check, check_nodes
from cluster.job_log import exit_status, follow
from cluster.job_server import JobServer, is_loopback, resolve_address
from cluster.node_facts import NodeFacts, versions
from cluster.packaging import choose_files, write_archive
from cluster.submit import runtime_environment
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse

_ANSWER_S = 10.0
_PATIENCE_S = 60.0
# Of the packages, those whose loading says whether videos can be read; a broken library shows only then.
_DECODERS = ("cv2", "decord", "av")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Settings of `doctor`."""

    address: str = ""
    """The dashboard of a cluster; without one, this machine is looked at."""
    storage: str = ""
    """URI or folder for results: every machine writes a small file there, reads it and removes it."""
    working_dir: Path = Path(".")
    """The project's folder, whose code travels to the cluster."""
    timeout_s: float = 120.0
    """A machine that has not answered by then counts as broken (s)."""


def examine_cluster(config: DoctorConfig) -> list[Check]:
    """Look at a cluster through its dashboard.

    Raises:
        InputError: it cannot be reached, or refuses the token.
    """
    address = resolve_address(config.address, os.environ)
    server = JobServer(address, _PATIENCE_S)
    checks = [Check("ok", "dashboard", address), check_door(address)]
    output: list[str] = []
    submission_id = f"doctor-{secrets.token_hex(3)}"
    words = ["python", "-m", "cluster.probe", "--storage", config.storage, "--timeout-s", str(config.timeout_s)]
    with tempfile.TemporaryDirectory(prefix="mouse-facelift-") as folder:
        archive = Path(folder) / "code.zip"
        write_archive(choose_files(config.working_dir), archive)
        server.submit(submission_id, shlex.join(words), runtime_environment(archive, ()))
    status = exit_status(follow(server, submission_id, output.append, _PATIENCE_S))
    return [*checks, *judge("".join(output), status, submission_id, config.storage)]


def judge(output: str, status: int, submission_id: str, storage: str) -> list[Check]:
    """What a probe's job brought back."""
    from cluster.probe import from_output

    facts = from_output(output)
    if facts is None:
        lines = [line for line in output.splitlines() if line.strip()]
        cure = f"`mouse-facelift job attach {submission_id}` shows all that it said"
        return [Check("FAIL", "jobs", f"a small job ended with {status}: {lines[-1] if lines else 'no output'}", cure)]
    return [Check("ok", "jobs", "a small job ran"), _client(facts), *check_nodes(facts, storage=storage)]


def check_door(address: str) -> Check:
    """Whether the dashboard lets in whoever shows no token."""
    try:
        with urllib.request.urlopen(f"{address}/api/jobs/", timeout=_ANSWER_S) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        return Check("warn", "token", f"a request without one got no answer ({error})")
    if status in (401, 403):
        return Check("ok", "token", f"without one the dashboard refuses ({status})")
    cure = "RAY_AUTH_MODE=token where the cluster is started (cluster/README.md, The token)"
    verdict = "warn" if is_loopback(address) else "FAIL"
    return Check(verdict, "token", "not asked for: whoever reaches the dashboard runs code there", cure)


def examine_here(config: DoctorConfig) -> list[Check]:
    """Look at this machine with a Ray of its own."""
    checks = [*_decoders()]
    from cluster.probe import ProbeConfig, probe
    from pipelines.session import connect

    try:
        connect()
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        cure = "see the newest logs below /tmp/ray; `df -h /tmp /dev/shm` shows what is full"
        return [*checks, Check("FAIL", "Ray", f"does not start: {str(error).strip().splitlines()[-1]}", cure)]
    facts = probe(ProbeConfig(storage=config.storage, timeout_s=config.timeout_s))
    return [*checks, Check("ok", "Ray", "starts"), *check_nodes(facts, storage=config.storage)]


def _decoders() -> list[Check]:
    """Libraries that read videos, by loading them."""
    import importlib

    broken = []
    for name in _DECODERS:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            broken.append(f"{name} ({error})")
    if broken:
        return [Check("FAIL", "video", f"cannot load {', '.join(broken)}", "install from constraints.txt again")]
    return [Check("ok", "video", ", ".join(_DECODERS) + " load")]


def _client(facts: Sequence[NodeFacts]) -> Check:
    """This machine's versions against the cluster's: jobs run with the latter, so a difference only deserves a word."""
    own = {"python": platform.python_version(), "ray": versions().get("ray", "absent")}
    for node in facts:
        there = {"python": node.python, "ray": node.versions.get("ray", "absent")}
        if not node.error and there != own:
            text = f"python {own['python']}, ray {own['ray']} here; {there['python']}, {there['ray']} there"
            return Check("warn", "client", text, "what works here may not work there; install the same versions")
    return Check("ok", "client", "the same Python and Ray here")


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: 1 when something would fail."""
    config = parse(
        DoctorConfig,
        argv,
        prog="mouse-facelift doctor",
        description="What would fail on this machine, or on a cluster, and the cure.",
    )
    # Ray's own words go to stderr; the findings are what this command prints.
    with contextlib.redirect_stdout(sys.stderr):
        checks = examine_cluster(config) if config.address else examine_here(config)
    for check in checks:
        print(check.line())
    failing = sum(check.verdict == "FAIL" for check in checks)
    warned = sum(check.verdict == "warn" for check in checks)
    print(f"{len(checks)} checks: {failing} would fail, {warned} to look at")
    return 1 if failing else 0


if __name__ == "__main__":
    run_verb(main)
