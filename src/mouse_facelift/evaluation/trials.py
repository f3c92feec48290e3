"""The result of a search over settings: what was tried, how it went, and what was chosen.

On disk a search is two files. `results.parquet` has one row per trial, with a plain column for every setting searched
(`config/losses.alpha`) and every score (`score/psnr_foreground`), so that pandas and DuckDB read it without this code;
`search.json` has what the trials have in common.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from mouse_facelift.errors import InputError
from mouse_facelift.plain import from_plain, to_plain
from mouse_facelift.storage import Store

RESULTS_FILE = "results.parquet"
SEARCH_FILE = "search.json"

Value = bool | int | float | str | None
"""One setting of a trial. Settings that are lists are written as JSON text."""

Status = Literal["completed", "stopped", "failed"]
Stage = Literal["search", "final"]

_CONFIG, _SCORE = "config/", "score/"
_TEXT_COLUMNS = b"json_columns"


@dataclass(frozen=True)
class Point:
    """Scores of the model of a trial while it was being trained."""

    samples_seen: int
    seconds: float
    """Training time so far, start-up and evaluation not counted (s)."""
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One configuration trained once."""

    trial_id: str
    number: int
    """Order in which the trials were suggested, from 0; finals come after the search."""
    overrides: Mapping[str, Value]
    """Dotted path of a setting -> value, for every setting that is searched and applies here; empty for the default."""
    seed: int
    stage: Stage
    """"search", or "final": one of the repetitions with other seeds."""
    status: Status
    """"stopped": given up early, because others did better with as many samples."""
    reason: str = ""
    """Why it failed or was stopped, in one line."""
    repeats: str = ""
    """Of a final: the trial of the search whose configuration it repeats."""
    steps: int = 0
    samples_seen: int = 0
    seconds_start: float = 0.0
    """From the trial's start to its first step (s)."""
    seconds_train: float = 0.0
    """Of training steps, evaluation not counted (s)."""
    seconds_total: float = 0.0
    """From the trial's start to its end (s)."""
    memory_mib: float = math.nan
    """Peak memory of one worker: of the GPU where it trains on one, otherwise of the process (MiB)."""
    rung: int = 0
    """How many times it was compared with others and went on."""
    curve: tuple[Point, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    """Last scores on the fixed protocol, by name; empty for a trial that failed before any."""
    by_views: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Number of input views at evaluation -> scores on the same targets, with `seconds` (one reconstruction) and
    `memory_mib` (the additional peak of it) among them; empty where this was not measured."""
    run: str = ""
    """Folder of the trial's training run, relative to the search's folder."""
    checkpoint: str = ""
    """Folder of its model, relative to the search's folder; empty where none was kept."""


@dataclass(frozen=True)
class Knob:
    """One setting that is searched."""

    path: str
    """Dotted path in the training configuration."""
    scale: Literal["uniform", "log", "int", "choice"]
    default: Value
    """What the preset has."""
    low: float | None = None
    high: float | None = None
    options: tuple[Value, ...] = ()
    """Values of a choice."""
    condition: str = ""
    """When this setting is searched at all, in words; empty for always."""


@dataclass(frozen=True)
class Objective:
    """A score that decides."""

    name: str
    direction: Literal["max", "min"]
    unit: str = ""
    """Such as dB; empty for a bare number."""
    terms: tuple[tuple[float, str], ...] = ()
    """Of a weighted sum: (weight, score) of its parts; empty where `name` is itself a score or a cost."""


@dataclass(frozen=True)
class Finalist:
    """One configuration repeated with several seeds."""

    repeats: str
    """The trial of the search that it repeats."""
    is_default: bool
    overrides: dict[str, Value]
    trials: tuple[str, ...]
    """Ids of the repetitions that finished."""
    seeds: tuple[int, ...]
    mean: dict[str, float]
    """Mean of every score over the seeds."""
    spread: dict[str, float]
    """Sample standard deviation of every score over the seeds; nan with fewer than two."""


@dataclass(frozen=True)
class Search:
    """All trials of a search, and what they have in common."""

    space: str
    """Name of the space, or of the user's file."""
    knobs: tuple[Knob, ...]
    objectives: tuple[Objective, ...]
    """The first one ranks where there are several."""
    protocol: dict[str, str]
    """How every trial was judged, in words: title -> text."""
    preset: str
    data: str
    default_trial: str
    """Id of the trial that has the preset's own values; empty until it ended."""
    best_trial: str
    """Id of the best trial; where finals were run, the one whose repetitions are best on average. Empty until known."""
    settings: dict[str, str]
    """Search method, scheduler, budget and the like, in words: title -> text."""
    inputs: tuple[int, ...] = ()
    """Numbers of input views that every score is a mean over; empty where all are of one number."""
    trials: tuple[Trial, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    """Best first; the default is always among them."""
    seconds: float = 0.0
    """Wall time of the search so far, over all its starts (s)."""

    def trial(self, trial_id: str) -> Trial:
        """A trial by its id; `KeyError` when there is none."""
        for trial in self.trials:
            if trial.trial_id == trial_id:
                return trial
        raise KeyError(trial_id)

    def write(self, folder: str | Path) -> None:
        """Write both files; each is replaced whole."""
        store = Store.at(folder)
        store.write_table(RESULTS_FILE, _table(self.trials))
        header = to_plain(self)
        del header["trials"]
        store.write(SEARCH_FILE, (json.dumps(_finite(header), indent=2) + "\n").encode())

    @staticmethod
    def read(folder: str | Path) -> Search:
        """Read what `write` wrote.

        Raises:
            InputError: no search there, or a damaged one.
        """
        store, source = Store.at(folder), f"{folder}/{SEARCH_FILE}"
        if not store.exists(SEARCH_FILE) or not store.exists(RESULTS_FILE):
            raise InputError(f"{folder}: holds no search ({SEARCH_FILE} or {RESULTS_FILE} is missing)")
        search = from_plain(Search, store.read_json(SEARCH_FILE), source=source)
        return replace(search, trials=_trials(store.read_table(RESULTS_FILE)))


def finalist(repeats: Trial, is_default: bool, repetitions: Sequence[Trial]) -> Finalist:
    """Mean and spread of a configuration's repetitions; those that failed are left out."""
    done = [trial for trial in repetitions if trial.status == "completed"]
    names = {name: None for trial in done for name in trial.scores}
    columns = {name: [trial.scores[name] for trial in done if name in trial.scores] for name in names}
    return Finalist(
        repeats=repeats.trial_id,
        is_default=is_default,
        overrides=dict(repeats.overrides),
        trials=tuple(trial.trial_id for trial in done),
        seeds=tuple(trial.seed for trial in done),
        mean={name: _mean(values) for name, values in columns.items()},
        spread={name: _spread(values) for name, values in columns.items()},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


_SCORES = pa.map_(pa.string(), pa.float64())
_CURVE = pa.list_(pa.struct([("samples_seen", pa.int64()), ("seconds", pa.float64()), ("scores", _SCORES)]))
_BY_VIEWS = pa.list_(pa.struct([("inputs", pa.int32()), ("scores", _SCORES)]))
_FIXED = pa.schema(
    [
        *((name, pa.string()) for name in ("trial_id", "stage", "status", "reason", "repeats", "run", "checkpoint")),
        *((name, pa.int64()) for name in ("number", "seed", "steps", "samples_seen", "rung")),
        *((name, pa.float64()) for name in ("seconds_start", "seconds_train", "seconds_total", "memory_mib")),
        ("curve", _CURVE),
        ("by_views", _BY_VIEWS),
    ]
)


def _table(trials: Sequence[Trial]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for item in _FIXED:
        columns[item.name] = pa.array([_cell(trial, item.name) for trial in trials], item.type)
    as_text = []
    for path in _keys(trial.overrides for trial in trials):
        values = [trial.overrides.get(path) for trial in trials]
        # Absent and empty are different things: where a setting may be empty, the column holds JSON.
        mixed = len({type(value) for value in values if value is not None}) > 1
        if mixed or any(path in trial.overrides and trial.overrides[path] is None for trial in trials):
            as_text.append(_CONFIG + path)
            values = [json.dumps(trial.overrides[path]) if path in trial.overrides else None for trial in trials]
        columns[_CONFIG + path] = pa.array(values)
    for name in _keys(trial.scores for trial in trials):
        columns[_SCORE + name] = pa.array([trial.scores.get(name) for trial in trials], pa.float64())
    return pa.table(columns).replace_schema_metadata({_TEXT_COLUMNS: json.dumps(as_text).encode()})


def _keys(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list({key: None for mapping in mappings for key in mapping})


def _cell(trial: Trial, name: str) -> Any:
    if name == "curve":
        return [{"samples_seen": p.samples_seen, "seconds": p.seconds, "scores": dict(p.scores)} for p in trial.curve]
    if name == "by_views":
        return [{"inputs": inputs, "scores": dict(scores)} for inputs, scores in trial.by_views.items()]
    return getattr(trial, name)


def _trials(table: pa.Table) -> tuple[Trial, ...]:
    metadata = table.schema.metadata or {}
    as_text = set(json.loads(metadata.get(_TEXT_COLUMNS, b"[]")))
    return tuple(_trial(row, as_text) for row in table.to_pylist(maps_as_pydicts="strict"))


def _trial(row: Mapping[str, Any], as_text: set[str]) -> Trial:
    overrides = {
        name.removeprefix(_CONFIG): json.loads(value) if name in as_text else value
        for name, value in row.items()
        if name.startswith(_CONFIG) and value is not None
    }
    scores = {n.removeprefix(_SCORE): v for n, v in row.items() if n.startswith(_SCORE) and v is not None}
    fixed = {name: row[name] for name in _FIXED.names if name not in ("curve", "by_views")}
    return Trial(
        **fixed,
        overrides=overrides,
        scores=scores,
        curve=tuple(Point(**point) for point in row["curve"]),
        by_views={entry["inputs"]: entry["scores"] for entry in row["by_views"]},
    )


def _finite(plain: Any) -> Any:
    """JSON has no nan; the text "nan" is read back as the number."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_finite(value) for value in plain]
    return "nan" if isinstance(plain, float) and math.isnan(plain) else plain
