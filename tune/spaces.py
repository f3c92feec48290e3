"""What is searched: settings of a training configuration by dotted path, each with a range or a list of values.

A space is checked whole before any trial: its paths against the configuration's dataclasses, its values against their
types and their own checks. The default, which is what the preset says, is never part of a space: it is always the
first trial.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from mouse_facelift.config import from_plain, read_yaml, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.trials import Knob, Value
from training.settings import TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)
Overrides = dict[str, Value]

NOT_SEARCHED = frozenset(
    {
        *("data", "out", "seed", "steps", "resume", "init_from", "overfit", "overfit_steps", "overfit_bar", "wandb"),
        *("num_workers", "min_workers", "cpus_per_worker", "threads", "gpus_per_worker", "device", "max_failures"),
        *("log_every", "evaluate_every", "evaluate_samples", "panels_every", "panel_samples", "checkpoint_every"),
        *("keep_checkpoints", "checkpoint_upload", "encodings", "profile", "views.hold_out"),
    }
)
"""Settings that a search decides by itself, or that would change how trials are judged."""


@dataclass(frozen=True)
class Axis:
    """The values one setting may take: `options`, or everything from `low` to `high`."""

    low: float | None = None
    high: float | None = None
    scale: Literal["uniform", "log", "int", "choice"] | None = None
    """How a range is drawn from; "choice" (options) and otherwise "uniform" need not be said."""
    options: tuple[Value, ...] = ()
    """A setting that is a list is written as JSON text, such as "[0, 500]"."""
    when: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    """Searched only while other settings of this space have one of these values."""
    needs: tuple[str, ...] = ()
    """Searched only where these settings of the preset are given (files of networks, for instance)."""

    @property
    def kind(self) -> Literal["uniform", "log", "int", "choice"]:
        return self.scale or ("choice" if self.options else "uniform")

    def values(self) -> tuple[Value, ...]:
        """The options, or the ends of the range."""
        if self.kind == "choice":
            return self.options
        assert self.low is not None and self.high is not None
        ends = (self.low, self.high)
        return tuple(int(end) for end in ends) if self.kind == "int" else ends

    def check(self, where: str) -> None:
        """Raise `InputError` for a range that holds nothing, or is not one."""
        if self.kind == "choice":
            if self.low is not None or self.high is not None or not self.options:
                raise InputError(f"{where}: a choice needs options, at least one, and neither low nor high")
            if len({json.dumps(option) for option in self.options}) < len(self.options):
                raise InputError(f"{where}: an option is named twice; name each once")
            return
        if self.options or self.low is None or self.high is None:
            raise InputError(f"{where}: give either low and high, or options")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"{where}: the range from {self.low:g} to {self.high:g} is empty; low must be below high")
        if self.kind == "log" and self.low <= 0:
            raise InputError(f"{where}: a log scale cannot begin at {self.low:g}; low must be positive")
        if self.kind == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise InputError(f"{where}: {self.low:g} to {self.high:g} are not whole numbers; scale int needs them")

    def contains(self, value: Value) -> bool:
        """Whether a value could be drawn."""
        if self.kind == "choice":
            return any(value == option and type(value) is type(option) for option in self.options)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class Space:
    """A named set of axes over the configuration of one kind of training."""

    kind: Literal["gslrm", "mvdiffusion"]
    axes: dict[str, Axis]
    """Dotted path -> values; a setting comes after those its `when` names."""
    search: Literal["tpe", "random", "grid"] = "tpe"
    """How values are chosen unless the command says otherwise."""
    scheduler: Literal["asha", "none"] = "asha"
    """Whether trials are stopped early unless the command says otherwise."""
    share: float = 0.5
    """How much of the preset's training a trial gets unless the command says otherwise."""
    trials: int = 16
    """Trials unless the command says otherwise; a grid has as many as it has points."""
    by_views: bool = False
    """Judge every model with 1, 2, ... input views, all on the same targets; otherwise with the preset's number."""

    def active(self, path: str, chosen: Mapping[str, Value]) -> bool:
        """Whether a setting is searched given what was chosen for those before it."""
        return all(parent in chosen and chosen[parent] in values for parent, values in self.axes[path].when.items())

    def grid(self) -> list[Overrides]:
        """Every combination, the last setting changing fastest; settings that do not apply are left out.

        Raises:
            InputError: a range among the axes, which has no list of values.
        """
        for path, axis in self.axes.items():
            if axis.kind not in ("choice", "int"):
                raise InputError(f"--search grid: {path} is a range; give it options, or use --search tpe")
        points: dict[str, Overrides] = {}
        lists = [_listed(axis) for axis in self.axes.values()]
        for combination in itertools.product(*lists):
            chosen: Overrides = {}
            for path, value in zip(self.axes, combination, strict=True):
                if self.active(path, chosen):
                    chosen[path] = value
            points.setdefault(json.dumps(chosen), chosen)
        return list(points.values())

    def applicable(self, base: TrainingConfig) -> Space:
        """Without the settings that need something the preset does not have."""
        plain = to_plain(base)
        kept = {path: axis for path, axis in self.axes.items() if all(_at(plain, need) for need in axis.needs)}
        return dataclasses.replace(self, axes=kept)

    def knobs(self, base: TrainingConfig) -> tuple[Knob, ...]:
        """The axes as a report shows them, with the preset's own values."""
        return tuple(_knob(path, axis, default_value(base, path)) for path, axis in self.axes.items())

    def check(self, base: TrainingConfig, source: str) -> None:
        """Refuse a space that cannot be searched from this configuration.

        Raises:
            InputError: an unknown path, a value of the wrong type or one that its setting refuses, an empty range, a
                condition on something that is not chosen before; one line that names `source` and the path.
        """
        if not self.axes:
            raise InputError(f"{source}: holds no setting to search; name some under 'axes'")
        if not self.share > 0 or self.trials < 1:
            raise InputError(f"{source}: share ({self.share:g}) must be positive and trials ({self.trials}) at least 1")
        before: list[str] = []
        for path, axis in self.axes.items():
            where = f"{source}: '{path}'"
            refused = next((name for name in NOT_SEARCHED if path == name or path.startswith(f"{name}.")), None)
            if refused is not None:
                raise InputError(f"{where} is not searched: the search decides it, or trials are judged by it")
            axis.check(where)
            for parent, values in axis.when.items():
                if parent not in before:
                    raise InputError(f"{where} depends on '{parent}', which must come before it in the space")
                missing = [value for value in values if not self.axes[parent].contains(value)]
                if missing or not values:
                    raise InputError(f"{where} depends on '{parent}' being {values}, which it never is")
            for overrides in self._probes(path):
                _try(base, overrides, source, where)
            before.append(path)

    def probes(self) -> Iterator[tuple[str, Overrides]]:
        """Every setting with each of its values at an end."""
        for path in self.axes:
            for overrides in self._probes(path):
                yield path, overrides

    def _probes(self, path: str) -> Iterator[Overrides]:
        """For every value at an end: overrides with it and with what it depends on, and nothing else."""
        chosen: Overrides = {}
        for parent, values in self.axes[path].when.items():
            chosen |= next(self._probes(parent)) | {parent: values[0]}
        for value in self.axes[path].values():
            yield {**chosen, path: value}


def read_space(path: Path) -> Space:
    """A space from a user's YAML file.

    Raises:
        InputError: it is absent, not YAML, or has unknown, missing or mistyped keys.
    """
    return from_plain(Space, read_yaml(path), source=str(path))


def apply(base: Config, overrides: Mapping[str, Value], source: str = "search space") -> Config:
    """The configuration with other values at some dotted paths.

    Raises:
        InputError: a path that does not exist, or a value that its setting refuses.
    """
    plain = to_plain(base)
    for path, value in overrides.items():
        *parents, last = path.split(".")
        level = plain
        for parent in parents:
            inner = level.get(parent)
            if inner is not None and not isinstance(inner, dict):
                raise InputError(f"{source}: '{path}': '{parent}' has no settings inside it; check the path")
            level = level.setdefault(parent, {})
        present = level.get(last)
        if isinstance(present, dict):
            raise InputError(f"{source}: '{path}' is a group of settings; name one of {', '.join(present)}")
        level[last] = _listed_value(value) if isinstance(present, list) else value
    return from_plain(type(base), plain, source=source)


def _try(base: TrainingConfig, overrides: Overrides, source: str, where: str) -> None:
    """Apply overrides; what the configuration itself refuses names the setting too."""
    try:
        apply(base, overrides, source)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(source) else f"{where}: {text}") from error


def default_value(base: TrainingConfig, path: str) -> Value:
    """The preset's own value; a list as JSON text."""
    value = _at(to_plain(base), path)
    return json.dumps(value) if isinstance(value, list) else value


def _at(plain: Any, path: str) -> Any:
    for part in path.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return plain


def _listed(axis: Axis) -> tuple[Value, ...]:
    if axis.kind == "choice":
        return axis.options
    low, high = axis.values()
    return tuple(range(int(low), int(high) + 1))  # type: ignore[arg-type]


def _listed_value(value: Value) -> Any:
    """JSON text as the list it says; anything else is left to the configuration to refuse."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _knob(path: str, axis: Axis, default: Value) -> Knob:
    words = [f"{parent} is {' or '.join(map(str, values))}" for parent, values in axis.when.items()]
    return Knob(path, axis.kind, default, axis.low, axis.high, axis.options, ", ".join(words))
