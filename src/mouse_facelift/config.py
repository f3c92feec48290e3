"""From a command line, a preset or a file to one frozen dataclass, and back to the file beside a run's output.

Every application states its settings as a frozen dataclass; there is no other schema. `parse` reads, in rising
priority, the dataclass's defaults, `--preset NAME`, `--config FILE` and the flags. `write_run_record` leaves the
full configuration beside the output, and `--config` replays it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import io
import json
import math
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
import yaml

from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean, field_values, from_plain, to_plain
from mouse_facelift.storage import Store

__all__ = [
    "CONFIG_FILE",
    "REQUIRED",
    "RUN_FILE",
    "UsageError",
    "from_plain",
    "parse",
    "read_yaml",
    "to_plain",
    "write_run_record",
]

Config = TypeVar("Config")

REQUIRED: Any = tyro.MISSING
"""The value, in a preset, of a field that only the command line or a file can give."""

CONFIG_FILE = "config.yaml"
RUN_FILE = "run.json"

_RECORDED_PACKAGES = (
    *("mouse-facelift", "torch", "ray", "numpy", "numba", "pyarrow", "gsplat", "diffusers"),
    *("opencv-python-headless", "decord", "av", "torchmetrics", "safetensors", "scipy"),
)


class UsageError(InputError):
    """A command line that cannot be understood; the process exits with status 2, as is usual."""

    exit_status = 2


def parse(
    config_type: type[Config],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    presets: Mapping[str, Config] | None = None,
) -> Config:
    """Read a command line into a configuration. `--help` prints and exits with status 0.

    Args:
        config_type: the dataclass; its field docstrings become the help, its defaults the defaults.
        argv: the arguments after the verb; None for the process's own.
        prog: how the person called it, such as `mouse-facelift preprocess`.
        description: what the verb does.
        presets: named instances that `--preset` chooses from; fields without a sensible value hold `REQUIRED`.

    Raises:
        UsageError: an unknown option or preset, or a value that does not fit.
        InputError: a `--config` file that is absent, malformed, or has unknown, missing or mistyped keys.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    preset_name, arguments = _take_option(arguments, "--preset", prog)
    config_file, arguments = _take_option(arguments, "--config", prog)
    default = _preset(presets or {}, preset_name, prog)
    if config_file is not None:
        default = _from_file(config_type, Path(config_file), default, arguments)
    _refuse_unknown_options(config_type, arguments, prog)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            help_text = _help_text(description, presets or {})
            # Without a default tyro takes the dataclass's own; its signature does not admit None.
            given: dict[str, Any] = {} if default is None else {"default": default}
            config = tyro.cli(config_type, prog=prog, description=help_text, args=arguments, **given)
            _refuse_nan(to_plain(config), prog)
            return config
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise UsageError(f"{prog}: {_one_line(stderr.getvalue())}") from None


def read_yaml(path: Path) -> Any:
    """The plain content of a YAML file; nothing but plain values can come out of it.

    Raises:
        InputError: the file is absent, unreadable, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from error


def write_run_record(directory: str | Path, verb: str, config: Any) -> None:
    """Write `config.yaml` (replayed by `--config`) and `run.json` (versions, commit, command line) beside an output.

    The record holds no environment variables; passwords inside URLs on the command line are struck out.

    Args:
        directory: a local folder or a URI; made where it is missing.
        verb: as typed, such as `train gslrm`.
        config: the configuration dataclass of the run.
    """
    record = {
        "verb": verb,
        "command_line": [re.sub(r"://[^/@\s]+@", "://***@", word) for word in sys.argv],
        "written_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": dict(_versions()),
        "git": _git_state(),
    }
    header = f"# Replay: mouse-facelift {verb} --config {CONFIG_FILE}\n"
    text = header + yaml.safe_dump(to_plain(config), sort_keys=False)
    store = Store.at(directory)
    store.write(CONFIG_FILE, text.encode())
    store.write(RUN_FILE, (json.dumps(record, indent=2) + "\n").encode())


def _preset(presets: Mapping[str, Config], name: str | None, prog: str) -> Config | None:
    if name is None:
        return None
    if name not in presets:
        hint = did_you_mean(name, presets) if presets else " (this verb has no presets)"
        raise UsageError(f"{prog}: unknown preset '{name}'{hint}")
    return presets[name]


def _take_option(arguments: list[str], flag: str, prog: str) -> tuple[str | None, list[str]]:
    """The value of `flag VALUE` or `flag=VALUE` (the last wins), and the arguments without it."""
    value, rest, words = None, [], iter(arguments)
    for word in words:
        if word == flag:
            value = next(words, None)
            if value is None or value.startswith("--"):
                raise UsageError(f"{prog}: {flag} needs a value")
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
        else:
            rest.append(word)
    return value, rest


def _from_file(config_type: type[Config], path: Path, base: Config | None, arguments: list[str]) -> Config:
    """A file's values over a preset's or the dataclass's own, as defaults for the flags."""
    values = field_values(config_type, read_yaml(path), source=str(path))
    given = {_flag_name(word) for word in arguments if word.startswith("--")}
    instance = object.__new__(config_type)
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
        if field.name in values:
            value = values[field.name]
        elif base is not None:
            value = getattr(base, field.name)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif field.name in given:
            value = REQUIRED
        else:
            raise InputError(f"{path}: key '{field.name}' is missing; add it, or give --{_dashed(field.name)}")
        # The checks of __post_init__ run once, on the finished configuration: a flag may still cure this one.
        object.__setattr__(instance, field.name, value)
    return instance


def _refuse_nan(plain: Any, prog: str, name: str = "") -> None:
    """Every comparison with nan is false, so a threshold or size that is nan would pass every check."""
    if isinstance(plain, float) and math.isnan(plain):
        raise UsageError(f"{prog}: --{_dashed(name)} is not a number (nan); give a number, or leave it out")
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in items:
        _refuse_nan(value, prog, (f"{name}.{key}" if name else key) if isinstance(key, str) else name)


def _refuse_unknown_options(config_type: type, arguments: Sequence[str], prog: str) -> None:
    known = set(_flag_names(config_type))
    for word in arguments:
        if not word.startswith("--") or word == "--help":
            continue
        name = _flag_name(word)
        if name not in known and name.removeprefix("no_") not in known:
            near = did_you_mean(_dashed(name), [_dashed(flag) for flag in sorted(known)], prefix="--")
            hint = near.replace("'", "") if "did you mean" in near else f" (see {prog} --help)"
            raise UsageError(f"{prog}: unknown option {word.split('=')[0]}{hint}")


def _flag_names(config_type: type, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, as flags spell them but with underscores."""
    hints = get_type_hints(config_type)
    for field in dataclasses.fields(config_type):
        yield prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _flag_names(hints[field.name], f"{prefix}{field.name}.")


def _flag_name(word: str) -> str:
    # `--no-flag` of a nested switch is spelt `--inner.no-flag`.
    name = word[2:].split("=")[0].replace("-", "_")
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}{last.removeprefix('no_')}" if dot else name


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _help_text(description: str, presets: Mapping[str, Any]) -> str:
    lines = [description, "", "--config FILE: take the defaults from a run's config.yaml; flags still override it."]
    if presets:
        lines.append(f"--preset NAME: start from named settings: {', '.join(presets)}.")
    return "\n".join(lines)


def _one_line(box: str) -> str:
    """tyro's boxed message as one line: the text between the box's title and its first rule."""
    rows = [row.strip("│╭╮╰╯ ") for row in box.splitlines()]
    body = []
    for row in rows[1:]:
        if row and not row.strip("─-"):
            if any(body):
                break
            continue
        body.append(row)
    text = " ".join(" ".join(body).split())
    return text.removesuffix(".") + " (see --help)"


def _versions() -> Iterator[tuple[str, str]]:
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout this code lies in, and whether it has local changes; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        if commit.returncode:
            return None
        changes = subprocess.run([*command, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit.stdout.strip(), "local_changes": bool(changes.stdout.strip())}
