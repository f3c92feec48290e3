"""Checks of the two files that have no published schema: the Slurm script and the Containerfile."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cluster.secret_check import what_secret
from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean

# Of sbatch's options (slurm.schedmd.com/sbatch.html), those that `slurm.py` writes.
_SBATCH_OPTIONS = (
    *("--job-name", "--output", "--signal", "--nodes", "--ntasks-per-node", "--cpus-per-task", "--mem"),
    *("--exclusive", "--no-kill", "--time", "--gres", "--partition", "--account"),
)
# docs.docker.com/reference/dockerfile, without those that are deprecated.
_INSTRUCTIONS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD"),
    *("RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
_REGISTRY_HOST = re.compile(r"^(localhost|[\w-]+(\.[\w-]+)+)(:\d+)?/|^[\w.-]+:\d+/")


def check_sbatch(script: str, source: str) -> None:
    """A batch script: its `#SBATCH` options exist, and bash can read the rest.

    Raises:
        InputError: names the line or repeats bash's complaint.
    """
    for number, line in enumerate(script.splitlines(), start=1):
        if re.match(r"#\s*S?BATCH\b", line) and not line.startswith("#SBATCH "):
            raise InputError(f"{source}:{number}: Slurm ignores lines that do not begin with '#SBATCH '")
        if not line.startswith("#SBATCH ") or line == "#SBATCH hetjob":
            continue
        option = line.removeprefix("#SBATCH ").split("=")[0]
        if option not in _SBATCH_OPTIONS:
            raise InputError(f"{source}:{number}: sbatch has no option {option}{did_you_mean(option, _SBATCH_OPTIONS)}")
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"{source}: bash cannot read it: {done.stderr.strip().splitlines()[0]}")


def check_containerfile(path: Path, root: Path) -> None:
    """A Containerfile whose build context is `root`.

    Raises:
        InputError: an unknown instruction, a `COPY` of something absent or of everything, a stage that is not there,
            a base image bound to one registry, or something like a secret.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    for number, instruction, words in _instructions(path.read_text(encoding="utf-8")):
        where = f"{path}:{number}"
        if instruction not in _INSTRUCTIONS:
            raise InputError(f"{where}: no instruction {instruction}{did_you_mean(instruction, _INSTRUCTIONS)}")
        secret = what_secret(" ".join(words))
        if secret is not None:
            raise InputError(f"{where}: {instruction} holds what looks like {secret}; mount it while building instead")
        if instruction == "ARG" and "=" in words[0]:
            name, _, value = " ".join(words).partition("=")
            arguments[name] = value.strip('"')
        elif instruction == "FROM":
            _check_base(words, arguments, stages, where)
        elif instruction in ("COPY", "ADD"):
            _check_copy(words, stages, root, where)


def _check_base(words: list[str], arguments: dict[str, str], stages: set[str], where: str) -> None:
    name = re.fullmatch(r"\$\{(\w+)\}", words[0])
    if name is not None and name.group(1) not in arguments:
        raise InputError(f"{where}: FROM names {words[0]}, which no ARG before it defines")
    image = arguments[name.group(1)] if name is not None else words[0]
    if image not in stages and ":" not in image:
        raise InputError(f"{where}: {image} is neither a stage above nor an image with a tag")
    if _REGISTRY_HOST.match(image):
        raise InputError(f"{where}: {image} binds the build to one registry; leave its host to the builder's settings")
    if len(words) == 3 and words[1].upper() == "AS":
        stages.add(words[2])


def _check_copy(words: list[str], stages: set[str], root: Path, where: str) -> None:
    flags = [word for word in words if word.startswith("--")]
    paths = [word for word in words if not word.startswith("--")]
    for flag in flags:
        name, _, value = flag.partition("=")
        if name not in ("--from", "--chown", "--chmod"):
            raise InputError(f"{where}: COPY has no option {name}")
        if name == "--from" and value not in stages:
            raise InputError(f"{where}: no stage {value} above")
    if any(flag.startswith("--from=") for flag in flags):
        return
    for source in paths[:-1]:
        if source in (".", "./", "*"):
            raise InputError(f"{where}: copies the whole context, secrets and recordings included; name what is needed")
        if not (root / source).exists():
            raise InputError(f"{where}: {source} is not in {root}")


def _instructions(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, instruction in capitals and its words; continued lines are joined."""
    words: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            continue
        if not words:
            begun = number
        words += line.removesuffix("\\").split()
        if words and not line.endswith("\\"):
            yield begun, words[0].upper(), words[1:]
            words = []
