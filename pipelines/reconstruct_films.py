"""What `reconstruct` makes of a recording's sequence: a steadier one, films, and how much it flickers.

A film of the orbit shows the animal from a camera that follows its smoothed centre; a film of a view shows what one of
the recording's cameras saw beside what the Gaussians look like from there, and the flicker of both is measured on the
way. Films are made side by side, each as a Ray task; a film that is there with the numbers that belong to it stays.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift import config as configuration
from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.paths import read_keyframes
from mouse_facelift.evaluation.jitter import Steadiness, steadiness
from mouse_facelift.evaluation.report import format_number
from mouse_facelift.evaluation.view_film import FilmMoment, ViewFilm, write_view_film
from mouse_facelift.gaussians.film import write_film
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import Sequenced, shift_sequence
from mouse_facelift.gaussians.sequence_row import FrameIndex
from mouse_facelift.gaussians.steadying import followed, steadying_shifts
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.samples.schema import sample_from_row
from mouse_facelift.storage import Store
from pipelines.reconstruct_jobs import Job, sequence_name
from pipelines.reconstruct_settings import ReconstructConfig
from pipelines.session import connect
from pipelines.units_of_work import map_with_progress

VIDEOS = "videos"
# Samples of a shard that are in memory at once while a view's film is made.
_ROWS = 16
# A steadied animal that overlaps its silhouettes by this much less is no longer where it was.
_IOU_LOST = 0.02


@dataclass(frozen=True)
class Steadied:
    """How steady a recording's sequence is; the numbers before and after are equal where nothing was asked."""

    frames: int
    seconds: float
    """Of the smoothing."""
    found: Steadiness

    def plain(self) -> dict[str, Any]:
        """For metrics.json; nan is None."""
        return {"frames": self.frames, "steady_s": self.seconds} | _plain(asdict(self.found))


def steady_sequences(config: ReconstructConfig, records: Sequence[Mapping[str, Any]]) -> dict[str, Steadied]:
    """Move the frames of each recording's sequence as ``--steady`` says, or back; returns what that does."""
    found = {}
    for capture, mine in _by_recording(records).items():
        index, centres = _index(mine), _centres(mine)
        shifts = steadying_shifts(centres, index, config.steady)
        by_id = {moment.sample_id: shift for moment, shift in zip(index, shifts, strict=True)}
        shift_sequence(Store.at(config.out), sequence_name(capture), by_id)
        found[capture] = Steadied(len(index), config.steady, steadiness(centres, shifts, index))
    return found


@dataclass(frozen=True)
class Film:
    """A film that was made, or a view that was measured without one."""

    capture: str
    camera: str | None
    """None for the orbit."""
    path: Path | None
    """Relative to the output."""
    view: ViewFilm | None
    """Of a view: what was measured."""

    def plain(self) -> dict[str, Any]:
        """For metrics.json; nan is None."""
        measured = {} if self.view is None else _plain(asdict(self.view))
        place = None if self.path is None else self.path.as_posix()
        return {"capture": self.capture, "camera": self.camera, "video": place, **measured}


@dataclass(frozen=True)
class _Order:
    """One film to make."""

    capture: str
    camera: str | None
    written: bool
    jobs: tuple[Job, ...]
    request: str


def make_films(config: ReconstructConfig, jobs: Sequence[Job], records: Sequence[Mapping[str, Any]]) -> list[Film]:
    """Make the films that are missing.

    Of each recording whose frames were not thinned, one view is measured even where no films of views are asked for.
    """
    orders = _orders(config, jobs, records)
    missing = [order for order in orders if _made(config, order) is None]
    if missing:
        connect(config.placement)
        task = partial(_make, config, missing)
        total = sum(len(order.jobs) for order in missing)
        map_with_progress("films", len(missing), task, total, unit=" pictures")
    made = [_made(config, order) for order in orders]
    return [film for film in made if film is not None]


def _orders(config: ReconstructConfig, jobs: Sequence[Job], records: Sequence[Mapping[str, Any]]) -> list[_Order]:
    orders, look = [], {"film": configuration.to_plain(config.film), "units": config.units, "follow": config.follow}
    by_id = {record["sample_id"]: record for record in records}
    for capture, group in groupby(jobs, lambda job: job.capture):
        mine = tuple(group)
        content = [[job.request for job in mine], [by_id[job.sample_id]["centre_mm"] for job in mine], config.steady]
        films: list[tuple[str | None, bool]] = [(None, True)] if "orbit" in config.videos else []
        if "views" in config.videos:
            films += [(camera, True) for camera in mine[0].cameras]
        elif len(mine) > 1 and config.max_samples is None:
            films.append((mine[0].cameras[0], False))
        for camera, written in films:
            asked = json.dumps([content, look, camera], sort_keys=True).encode()
            orders.append(_Order(capture, camera, written, mine, hashlib.sha256(asked).hexdigest()))
    return orders


def _place(config: ReconstructConfig, order: _Order) -> Path:
    name = "orbit" if order.camera is None else f"view_{order.camera}"
    return config.out / VIDEOS / f"{order.capture}_{name}.mp4"


def _made(config: ReconstructConfig, order: _Order) -> Film | None:
    """The film, where it is there as it was ordered."""
    video = _place(config, order)
    note = video.with_suffix(".json")
    if not note.is_file() or (order.written and not video.is_file()):
        return None
    record = json.loads(note.read_text(encoding="utf-8"))
    if record["request"] != order.request:
        return None
    view = None if record["view"] is None else ViewFilm.from_plain(record["view"])
    return Film(order.capture, order.camera, video.relative_to(config.out) if order.written else None, view)


def _make(config: ReconstructConfig, orders: Sequence[_Order], row: Mapping[str, int]) -> dict[str, Any]:
    """A Ray task: one film, then the note that says it is complete."""
    order = orders[row["item"]]
    video = _place(config, order)
    video.parent.mkdir(parents=True, exist_ok=True)
    sequence = Sequenced.open(str(config.out / sequence_name(order.capture)))
    view = None
    if order.camera is None:
        cameras, moments = _along_the_path(config, order, sequence)
        write_film(video, moments, cameras, config.film.fps)
    else:
        target = video if order.written else None
        view = write_view_film(target, _beside_the_truth(config, order, sequence), config.film.size, config.film.fps)
    note = {"request": order.request, "view": None if view is None else _plain(asdict(view))}
    Store.at(config.out).write(f"{VIDEOS}/{video.stem}.json", (json.dumps(note) + "\n").encode())
    return {"count": len(order.jobs)}


def _along_the_path(
    config: ReconstructConfig, order: _Order, sequence: Sequenced
) -> tuple[list[Camera], Iterator[Gaussians]]:
    """Cameras of the orbit or of the path given, and the Gaussians in the world that they stand in."""
    film, count = config.film, len(sequence)
    positions = range(count) if count > 1 else [0] * film.views
    if film.camera is not None:
        cameras = read_keyframes(film.camera).cameras(len(positions), film.size, film.size)
        if config.units == "mm":
            return cameras, (sequence.frame(position).in_mm() for position in positions)
    else:
        degrees = float(np.mean(_fields_of_view(config, order)))
        cameras = film.orbit.cameras(len(positions), film.size, film.size, views_degrees=degrees)
    placed = followed(sequence, config.follow)
    return cameras, (placed(position) for position in positions)


def _fields_of_view(config: ReconstructConfig, order: _Order) -> list[float]:
    """Of the first sample's views, degrees."""
    assert config.data is not None
    job = order.jobs[0]
    sample = sample_from_row(read_rows(Store.at(config.data), job.shard, [job.row]).to_pylist()[0])
    return [math.degrees(2 * math.atan(camera.width / (2 * camera.fxfycxcy[0]))) for camera in sample.cameras]


def _beside_the_truth(config: ReconstructConfig, order: _Order, sequence: Sequenced) -> Iterator[FilmMoment]:
    """Every moment's sample and frame; a sample that lacks the camera is left out."""
    assert config.data is not None
    store, number = Store.at(config.data), 0
    for shard, group in groupby(order.jobs, lambda job: job.shard):
        together = list(group)
        for first in range(0, len(together), _ROWS):
            some = together[first : first + _ROWS]
            for row in read_rows(store, shard, [job.row for job in some]).to_pylist():
                if order.camera in row["camera"]:
                    yield FilmMoment(row, row["camera"].index(order.camera), sequence.frame(number))
                number += 1


def describe_films(config: ReconstructConfig, steadied: Mapping[str, Steadied], films: Sequence[Film]) -> list[str]:
    """Jitter and flicker in words, a line per recording and view; thinned frames have no jitter to speak of."""
    lines = []
    for capture, it in steadied.items():
        if it.frames < 2 or config.max_samples is not None:
            continue
        found = it.found
        words = f"{capture}: {it.frames} frames, jitter of the centre {format_number(found.jitter_before, 3, 'mm')}"
        if it.seconds:
            words += f" -> {format_number(found.jitter_after, 3, 'mm')} (steadied over {it.seconds:g} s, "
            words += f"moved by {found.mean_shift:.3f} mm on average, {found.largest_shift:.3f} mm at most)"
        lines.append(words)
    for film in films:
        if film.view is not None:
            lines.append(f"{film.capture}, camera {film.camera}: {film.view.words()}")
    lost = [film.view.mask_iou_unsteadied - film.view.mask_iou for film in films if film.view is not None]
    if lost and max(lost) > _IOU_LOST:
        lines.append(f"--steady {config.steady:g} takes the animal out of its silhouettes; it moves too fast for that")
    return lines


def _by_recording(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    return {capture: list(group) for capture, group in groupby(records, lambda record: record["capture"])}


def _index(records: Sequence[Mapping[str, Any]]) -> list[FrameIndex]:
    names = ("sample_id", "capture", "frame", "time_s", "segment")
    return [FrameIndex(*(record[name] for name in names)) for record in records]


def _centres(records: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "n 3"]:
    return np.array([[math.nan if v is None else v for v in record["centre_mm"]] for record in records])


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """nan as None, all the way down."""
    plain = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _plain(value)
        plain[key] = None if isinstance(value, float) and math.isnan(value) else value
    return plain
