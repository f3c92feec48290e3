"""`mouse-facelift submit --address URL -- VERB ...`: any verb, on a cluster, with the code of this working tree.

    mouse-facelift submit --address http://127.0.0.1:8265 -- preprocess --capture /shared/rec --out s3://bucket/mine

Sends the code (`packaging.py`), starts the job, prints what it prints and ends with its exit status. The job runs on
without this command: after Ctrl-C or a lost connection `mouse-facelift job attach ID` shows it again.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cluster.job_log import exit_status, follow
from cluster.job_server import JobServer, resolve_address
from cluster.packaging import Package, choose_files, write_archive
from cluster.secret_check import what_secret
from mouse_facelift.cli import INTERRUPTED, VERBS, run_verb
from mouse_facelift.config import UsageError, parse
from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean

PROG = "mouse-facelift submit"
HERE_ONLY = ("submit", "job", "view", "cluster-files")
"""Verbs that make no sense on a cluster."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*")
# The code that travels comes before whatever the machines have installed; the path is below the job's folder.
_PYTHONPATH = "src"


@dataclass(frozen=True, kw_only=True)
class SubmitConfig:
    """Settings of `submit`; the command follows after `--`."""

    address: str = ""
    """The cluster's dashboard; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 by default. The token comes from
    RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token."""
    working_dir: Path = Path(".")
    """The project's folder, whose code travels."""
    exclude: tuple[str, ...] = ()
    """More patterns (of names, or of paths below working-dir) of what stays at home."""
    env: tuple[str, ...] = ()
    """NAME=VALUE, for the job and its workers. Not for secrets: the head keeps and shows these."""
    id: str = ""
    """The job's name; made of verb, output and six random digits by default."""
    wait: bool = True
    """Print the job's output until it ends, and end with its exit status; --no-wait returns once it is submitted."""
    patience_s: float = 600.0
    """How long the head may be unreachable before this command gives up (s); the job does not care."""

    def __post_init__(self) -> None:
        if self.id and not _ID.fullmatch(self.id):
            raise InputError(f"id '{self.id}' must be letters, digits, '.', '_' and '-', at most 100")
        if self.patience_s < 0:
            raise InputError(f"patience_s must not be negative, not {self.patience_s:g}")
        for variable in self.env:
            if not _VARIABLE.fullmatch(variable):
                raise InputError(f"--env takes NAME=VALUE, not '{variable.partition('=')[0]}'")
            _refuse_secret(variable, f"--env {variable.partition('=')[0]}")


def submit(config: SubmitConfig, words: Sequence[str]) -> int:
    """Send a job; gives the exit status of this command.

    Args:
        config: how and where.
        words: what was given after `--`: a verb with its options, or `python` with arguments.

    Raises:
        InputError: a command that cannot run there, too much to send, or a cluster that refuses or does not answer.
    """
    command = entrypoint(words)
    for word in command:
        _refuse_secret(word, f"'{command[0]} ... {word.partition('=')[0][:20]}'")
    package = choose_files(config.working_dir, config.exclude)
    check_module(command, package)
    check_places(words, package)
    server = JobServer(resolve_address(config.address, os.environ), config.patience_s)
    submission_id = config.id or name_job(words)
    print(f"job {submission_id}: sending {package.summary()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mouse-facelift-") as folder:
        archive = Path(folder) / "code.zip"
        write_archive(package, archive)
        server.submit(submission_id, shlex.join(command), runtime_environment(archive, config.env))
    print(f"submitted to {server.address}: {shlex.join(command)}", flush=True)
    if not config.wait:
        print(f"next: mouse-facelift job attach {submission_id} --address {server.address}")
        return 0
    return watch(server, submission_id, config.patience_s)


def watch(server: JobServer, submission_id: str, patience_s: float) -> int:
    """Print a job's output until it ends; gives its exit status, or Ctrl-C's. Leaving does not end the job.

    Raises:
        InputError: the head was away for too long, or forgot the job.
    """
    where = f"{submission_id} --address {server.address}"
    try:
        details = follow(server, submission_id, _write, patience_s)
    except KeyboardInterrupt:
        print(
            f"\nthe job goes on; mouse-facelift job attach {where} shows it, job stop {where} ends it", file=sys.stderr
        )
        return INTERRUPTED
    status = exit_status(details)
    print(f"job {submission_id} {details.status.lower()}, exit status {status}", file=sys.stderr)
    if status and details.driver_exit_code is None and details.message:
        # It failed before its command could say anything; Ray's reason ends in its last line.
        print(f"Ray says: {details.message.strip().splitlines()[-1]}", file=sys.stderr)
    return status


def entrypoint(words: Sequence[str]) -> list[str]:
    """The command that a cluster's machine runs for what was typed after `--`.

    Raises:
        UsageError: nothing, or no verb that can run there.
    """
    if not words:
        raise UsageError(f"{PROG}: needs a command after --, such as `{PROG} -- preprocess --help`")
    if words[0] == "python":
        return list(words)
    # The longest name wins: `train gslrm` before a possible `train`.
    for count in (2, 1):
        verb = " ".join(words[:count])
        if verb in HERE_ONLY:
            raise UsageError(f"{PROG}: `{verb}` runs on your own machine; there is nothing to send")
        if verb in VERBS:
            return ["python", "-m", VERBS[verb][0], *words[count:]]
    valid = [verb for verb in VERBS if verb not in HERE_ONLY]
    raise UsageError(f"{PROG}: unknown verb {' '.join(words[:2])}{did_you_mean(' '.join(words[:2]), valid)}")


def name_job(words: Sequence[str]) -> str:
    """A name that says what a job is, with six random digits: `preprocess-mine-3fa9c1`."""
    parts = [word for word in words[: 2 if " ".join(words[:2]) in VERBS else 1]]
    out = _option(words, "--out")
    if out:
        parts.append(PurePosixPath(out.partition("?")[0]).name)
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:60].strip("-")
    return f"{slug}-{secrets.token_hex(3)}"


def check_module(command: Sequence[str], package: Package) -> None:
    """A verb's module must be among what travels: otherwise an old one from the machines' image would run.

    Raises:
        InputError: it is not.
    """
    if command[1:2] != ["-m"] or len(command) < 3:
        return
    path = command[2].replace(".", "/")
    if command[2].split(".")[0] in ("cluster", "pipelines", "training", "tune") and not (
        {f"{path}.py", f"{path}/__main__.py"} & package.names
    ):
        raise InputError(f"{package.root}: holds no {path}.py; give --working-dir the project's folder")


def check_places(words: Sequence[str], package: Package) -> None:
    """Refuse relative paths that mean something here and something else there.

    Raises:
        InputError: an output into the job's own folder, which vanishes with it, or a file that stays here.
    """
    out = _option(words, "--out")
    if out and "://" not in out and not out.startswith("/"):
        raise InputError(
            f"--out {out}: would vanish with the job's folder; give a URI or an absolute path that all machines mount"
        )
    for word in words[1:]:
        value = word.partition("=")[2] if word.startswith("--") else word
        if not value or value.startswith(("/", "-")) or "://" in value or not os.path.lexists(value):
            continue
        below = os.path.relpath(value, package.root)
        if not any(name == below or name.startswith(f"{below}/") for name in package.names):
            raise InputError(f"{value}: stays on this machine; give a URI or an absolute path that all machines mount")


def runtime_environment(archive: Path, variables: Sequence[str]) -> dict[str, Any]:
    """Ray's runtime environment of a job: its folder, and variables of every process of it."""
    env_vars = {"PYTHONPATH": _PYTHONPATH} | dict(variable.split("=", 1) for variable in variables)
    return {"working_dir": str(archive), "env_vars": env_vars}


def _option(words: Sequence[str], name: str) -> str:
    """The value of an option, in either spelling; "" where it is absent."""
    for index, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and index + 1 < len(words):
            return words[index + 1]
    return ""


def _refuse_secret(text: str, where: str) -> None:
    kind = what_secret(text)
    # Digests and run names look random too; they are no secrets.
    if kind is not None and kind != "a random key":
        raise InputError(
            f"{where} looks like {kind}; a job's command and variables are kept and shown by the head: put secrets "
            "into the machines' environment (cluster/README.md)"
        )


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """The verb."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    config = parse(
        SubmitConfig,
        arguments[:cut],
        prog=PROG,
        description="Run a verb on a cluster: submit [options] -- VERB [its options].",
    )
    return submit(config, arguments[cut + 1 :])


if __name__ == "__main__":
    run_verb(main)
