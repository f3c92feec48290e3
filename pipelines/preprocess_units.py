"""What the tasks of `preprocess` do: backgrounds of views without masks, the survey of a unit, the writing of a unit.

Every task gets the run's settings and recordings, and of the plan no more than its own unit: what travels to a task
does not grow with the length of the recordings.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8

from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.fetch import local_recording
from mouse_facelift.capture.masks import estimate_background
from mouse_facelift.evaluation.images import encode_png
from mouse_facelift.samples.schema import decode_image
from mouse_facelift.samples.shards import ViewFormat, make_unit
from mouse_facelift.samples.survey import FrameSurvey, survey_frames, surveys_from_table, table_from_surveys
from mouse_facelift.samples.units import Unit
from mouse_facelift.storage import Store
from pipelines.units_of_work import WORK, map_with_progress

if TYPE_CHECKING:
    from pipelines.preprocess import PreprocessConfig

Backgrounds = Mapping[str, Mapping[str, UInt8[np.ndarray, "h w 3"]]]
Centres = Mapping[int, Float[np.ndarray, "3"]]
# What deciding scale and centres reads of a survey; outlines only decide a zoom that is to fit.
_PLACES, _OUTLINE = ["frame", "error", "unreadable", "centre", "disagreement"], "outline"


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
        map_with_progress("backgrounds (no mask videos: masks are estimated)", len(missing), find, len(missing))
    found: dict[str, dict[str, np.ndarray]] = {}
    for capture, view, _, _ in wanted:
        image = decode_image(job.store.read(_background_name(capture, view)))
        found.setdefault(capture, {})[view] = image[..., :3]
    return found


def survey_units(job: Job, units: Sequence[Unit], backgrounds: Backgrounds) -> None:
    """Survey the units that have not been yet."""
    config = job.config

    def survey(unit: Unit, _: None) -> None:
        capture = job.recording(unit.capture)
        empty = backgrounds.get(capture.name, {})
        found = survey_frames(capture, unit.frames, empty, config.masks, config.centre, config.decoder, config.cleaning)
        job.store.write_table(_survey_name(unit), table_from_surveys(found))

    _run_units("survey", job, ((unit, None) for unit in units), _survey_name, survey)


def load_places(job: Job, units: Iterable[Unit]) -> list[list[FrameSurvey]]:
    """The units' surveys without silhouettes, and without outlines unless the zoom depends on them."""
    columns = [*_PLACES, _OUTLINE] if job.config.zoom == "fit" else _PLACES
    return [surveys_from_table(job.store.read_table(_survey_name(unit), columns)) for unit in units]


def write_units(job: Job, units: Sequence[Unit], form: ViewFormat, centres: Mapping[str, Centres]) -> None:
    """Write the shards that have not been yet, and after each the unit's rejected rows."""
    config = job.config

    def write(unit: Unit, placed: Centres) -> None:
        capture = job.recording(unit.capture)
        survey = surveys_from_table(job.store.read_table(_survey_name(unit)))
        made = make_unit(capture, unit, survey, placed, form, config.gate, config.source, config.decoder)
        if made.samples.num_rows:
            job.store.write_table(unit.shard, made.samples)
        job.store.write_table(_rejected_name(unit), made.rejected)

    _run_units("write", job, ((unit, centres[unit.name]) for unit in units), _rejected_name, write)


def load_rejected(job: Job, units: Iterable[Unit]) -> pa.Table:
    """The rejected rows of all units."""
    return pa.concat_tables([job.store.read_table(_rejected_name(unit)) for unit in units])


def _run_units(
    stage: str, job: Job, parts: Iterable[tuple[Unit, Any]], name: Callable[[Unit], str], work: Callable[..., None]
) -> None:
    """Run ``work(unit, what belongs to it)`` for every unit whose file ``name(unit)`` is not there yet."""
    done = set(job.store.list(WORK))
    todo = [part for part in parts if name(part[0]) not in done]
    views = [len(capture.views) for capture in job.captures]

    def task(row: dict[str, Any]) -> dict[str, Any]:
        unit, own = pickle.loads(row["payload"])
        work(unit, own)
        return {"count": len(unit.frames) * views[unit.capture]}

    if todo:
        total = sum(len(unit.frames) * views[unit.capture] for unit, _ in todo)
        map_with_progress(stage, len(todo), task, total, payloads=(pickle.dumps(part) for part in todo))


def _background_name(capture: str, view: str) -> str:
    return f"{WORK}/background/{capture}-{view}.png"


def _survey_name(unit: Unit) -> str:
    return f"{WORK}/survey/{unit.name}.parquet"


def _rejected_name(unit: Unit) -> str:
    """A unit's rejected rows; written last, so that it also marks the unit as finished."""
    return f"{WORK}/rejected/{unit.name}.parquet"
