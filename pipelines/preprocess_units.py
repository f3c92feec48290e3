"""What the tasks of `preprocess` do: backgrounds of views without masks, the survey of a unit, the writing of a unit.

Every task gets the run's settings and recordings and the number of its unit; it finds the unit, and the centres of its
frames, in small tables that lie with the run's other work. So neither what travels to a task nor what the driver holds
of it grows with the length of the recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.fetch import local_recording
from mouse_facelift.capture.masks import estimate_background
from mouse_facelift.evaluation.images import encode_png
from mouse_facelift.samples.schema import decode_image
from mouse_facelift.samples.shards import REJECTED_SCHEMA, ViewFormat, make_unit
from mouse_facelift.samples.similarity import UnitCentres
from mouse_facelift.samples.survey import (
    OUTLINE_COLUMN,
    PLACES_COLUMNS,
    UnitPlaces,
    places_from_table,
    survey_frames,
    surveys_from_table,
    table_from_surveys,
)
from mouse_facelift.samples.units import Unit, compact
from mouse_facelift.storage import Store
from pipelines.units_of_work import WORK, map_with_progress

if TYPE_CHECKING:
    from pipelines.preprocess import PreprocessConfig

Backgrounds = Mapping[str, Mapping[str, UInt8[np.ndarray, "h w 3"]]]
_T = TypeVar("_T")
# Units per table of the plan: a task reads one for the sake of one row.
_PIECE = 64
_PLAN_SCHEMA = pa.schema(
    [
        pa.field("capture", pa.int32()),
        pa.field("segment", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("frames", pa.list_(pa.int32())),
        pa.field("name", pa.string()),
    ]
)
_CENTRES_SCHEMA = pa.schema([pa.field("centres", pa.list_(pa.float64()))])
# Small files are read side by side, for a store may be far away; so many wait to be used at a time.
_READERS, _AHEAD = 16, 256


@dataclass(frozen=True)
class Job:
    """What every task of a run gets: plain values, small enough to travel with each."""

    config: PreprocessConfig
    captures: tuple[Capture, ...]
    store: Store

    def recording(self, number: int) -> Capture:
        """A recording whose files lie on this machine; one that was given by URI is copied now, unless it has been."""
        local_recording(self.config.capture[number])
        return self.captures[number]


def find_backgrounds(job: Job) -> Backgrounds:
    """Median backgrounds of views that come without masks, by capture and view; kept as PNG while the run lasts."""
    wanted = [
        (capture.name, view.name, view.video, number)
        for number, capture in enumerate(job.captures)
        for view in capture.views
        if not view.has_masks
    ]
    missing = [w for w in wanted if not job.store.exists(_background_name(*w[:2]))]

    def find(row: dict[str, Any]) -> dict[str, Any]:
        capture, view, video, number = missing[row["item"]]
        job.recording(number)
        background = estimate_background(video, job.config.masks, job.config.decoder)
        job.store.write(_background_name(capture, view), encode_png(background))
        return {"count": 1}

    if missing:
        title, cpus = "backgrounds (no mask videos: masks are estimated)", job.config.placement.task_cpus
        map_with_progress(title, len(missing), find, len(missing), " views", cpus)
    found: dict[str, dict[str, np.ndarray]] = {}
    for capture, view, _, _ in wanted:
        image = decode_image(job.store.read(_background_name(capture, view)))
        found.setdefault(capture, {})[view] = image[..., :3]
    return found


def write_plan(job: Job, units: Sequence[Unit]) -> None:
    """Lay the plan out for the tasks; the same recordings and settings make the same plan."""
    for number, piece in enumerate(_batches(units, _PIECE)):
        rows = [
            {"capture": u.capture, "segment": u.segment, "split": u.split, "frames": list(u.frames), "name": u.name}
            for u in piece
        ]
        job.store.write_table(_plan_name(number), pa.Table.from_pylist(rows, schema=_PLAN_SCHEMA))


class CentresWriter:
    """Lays the smoothed centres out for the tasks, in pieces as the plan's; is given them in the plan's order."""

    def __init__(self, job: Job) -> None:
        self._job, self._waiting, self._written = job, list[UnitCentres](), 0

    def add(self, centres: Sequence[UnitCentres]) -> None:
        """The centres of the next units."""
        self._waiting += centres
        while len(self._waiting) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        """Write the next piece, or the last."""
        piece, self._waiting = self._waiting[:_PIECE], self._waiting[_PIECE:]
        if piece:
            rows = [{"centres": centres.reshape(-1)} for centres in piece]
            table = pa.Table.from_pylist(rows, schema=_CENTRES_SCHEMA)
            self._job.store.write_table(_centres_name(self._written), table)
            self._written += 1


def survey_units(job: Job, units: Sequence[Unit], backgrounds: Backgrounds) -> None:
    """Survey the units that have not been yet."""
    config = job.config

    def survey(unit: Unit, _: int) -> int:
        capture = job.recording(unit.capture)
        empty = backgrounds.get(capture.name, {})
        found = survey_frames(capture, unit.frames, empty, config.masks, config.centre, config.decoder, config.cleaning)
        job.store.write_table(_survey_name(unit), table_from_surveys(found))
        return 0

    _run_units("survey", job, units, _survey_name, survey)


def load_places(job: Job, units: Iterable[Unit]) -> Iterator[UnitPlaces]:
    """The units' surveys without silhouettes, and without outlines unless the zoom depends on them."""
    columns = [*PLACES_COLUMNS, OUTLINE_COLUMN] if job.config.zoom == "fit" else [*PLACES_COLUMNS]
    return map(places_from_table, _read_tables(job.store, (_survey_name(unit) for unit in units), columns))


def write_units(job: Job, units: Sequence[Unit], form: ViewFormat) -> None:
    """Write the shards that have not been yet, and after each the unit's rejected rows."""
    config = job.config

    def write(unit: Unit, number: int) -> int:
        capture = job.recording(unit.capture)
        survey = surveys_from_table(job.store.read_table(_survey_name(unit)))
        placed = dict(zip(unit.frames, _planned_centres(job.store, number), strict=True))
        made = make_unit(capture, unit, survey, placed, form, config.gate, config.source, config.decoder)
        if made.samples.num_rows:
            job.store.write_table(unit.shard, made.samples, digest=True)
        job.store.write_table(_rejected_name(unit), made.rejected)
        return made.rejected.num_rows

    _run_units("write", job, units, _rejected_name, write)


def load_rejected(job: Job, units: Iterable[Unit]) -> pa.Table:
    """The rejected rows of all units."""
    tables = _read_tables(job.store, (_rejected_name(unit) for unit in units))
    return pa.concat_tables([REJECTED_SCHEMA.empty_table(), *(table for table in tables if table.num_rows)])


def _run_units(
    stage: str, job: Job, units: Sequence[Unit], name: Callable[[Unit], str], work: Callable[[Unit, int], int]
) -> None:
    """Run ``work(unit, its number in the plan)`` for every unit whose file ``name(unit)`` is not there yet.

    It answers how many rows it put aside.
    """
    done = set(job.store.list(WORK))
    views = [len(capture.views) for capture in job.captures]
    # The longest first, so that at the end nobody waits long for the last.
    order = np.argsort([-len(unit.frames) for unit in units], kind="stable")
    todo = np.array([i for i in order if name(units[i]) not in done], np.int32)

    def task(row: dict[str, Any]) -> dict[str, Any]:
        # A task has one CPU; parallelism belongs to the tasks.
        cv2.setNumThreads(1)
        number = int(todo[row["item"]])
        unit = _planned_unit(job.store, number)
        rejected = work(unit, number)
        return {"count": len(unit.frames) * views[unit.capture], "rejected": rejected}

    if len(todo):
        total = sum(len(units[i].frames) * views[units[i].capture] for i in todo)
        map_with_progress(stage, len(todo), task, total, cpus=job.config.placement.task_cpus, kept_in=job.store)


def _planned_unit(store: Store, number: int) -> Unit:
    """A unit by its number in the plan."""
    row = store.read_table(_plan_name(number // _PIECE)).slice(number % _PIECE, 1).to_pylist()[0]
    return Unit(**row | {"frames": compact(np.array(row["frames"]))})


def _planned_centres(store: Store, number: int) -> UnitCentres:
    """The smoothed centres of a unit's frames by the unit's number in the plan."""
    table = store.read_table(_centres_name(number // _PIECE))
    return np.array(table["centres"][number % _PIECE].as_py()).reshape(-1, 3)


def _read_tables(store: Store, names: Iterable[str], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Tables of the store in order."""
    with ThreadPoolExecutor(_READERS) as pool:
        for some in _batches(names, _AHEAD):
            yield from pool.map(lambda name: store.read_table(name, columns), some)


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """``items`` in lists of ``size``, the last perhaps shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _plan_name(piece: int) -> str:
    return f"{WORK}/plan/{piece:06d}.parquet"


def _centres_name(piece: int) -> str:
    return f"{WORK}/centres/{piece:06d}.parquet"


def _background_name(capture: str, view: str) -> str:
    return f"{WORK}/background/{capture}-{view}.png"


def _survey_name(unit: Unit) -> str:
    return f"{WORK}/survey/{unit.name}.parquet"


def _rejected_name(unit: Unit) -> str:
    """A unit's rejected rows; written last, so that it also marks the unit as finished."""
    return f"{WORK}/rejected/{unit.name}.parquet"
