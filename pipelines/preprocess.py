"""`mouse-facelift preprocess`: recordings in, a dataset of normalised multi-view samples out.

Two passes over units of a few dozen frames, each unit one Ray task that decodes its range of every view in sequence:
the *survey* finds where the animal is, then - with one scale for the whole dataset and centres smoothed over time -
every unit writes its own shard. A unit's files appear whole or not at all and their names follow from their content,
so a run that was killed goes on where it stopped, and a run that is complete does nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray.data
from tqdm import tqdm

from mouse_facelift.capture.capture import Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig, estimate_background
from mouse_facelift.capture.video import Decoder
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain, write_run_record
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import encode_png
from mouse_facelift.evaluation.sample_sheet import sample_sheet
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.dataset import MANIFEST, REJECTED, describe_capture, finish_dataset, open_dataset
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.schema import decode_image
from mouse_facelift.samples.shards import ViewFormat, make_unit
from mouse_facelift.samples.similarity import Zoom, find_similarity
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.survey import survey_frames, surveys_from_table, table_from_surveys
from mouse_facelift.samples.units import FrameSelection, Unit, plan_units
from mouse_facelift.storage import Store
from pipelines.session import connect

# Everything a run needs only while it runs; names that start with "_" are invisible to Parquet readers.
_WORK = "_work"
_RUN = f"{_WORK}/run.json"
CONTACT_SHEET = "contact_sheet.png"


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(FrameSelection):
    """Settings of `preprocess`."""

    capture: tuple[str, ...]
    """Recordings: folders in the MAMMAL or DANNCE layout."""
    out: str
    """Where the dataset goes: a folder or a URI that pyarrow opens."""
    image_size: int = 512
    """Side of the written square views, in pixels."""
    zoom: Zoom = 1.0
    """Focal length of every view relative to FaceLift's (field of view 50 degrees); 'fit' for the largest that clips
    nothing."""
    unit_frames: int = 32
    """Frames per unit of work: one task and one shard."""
    source: Literal["real", "rendered"] = "real"
    """What the recordings are; kept in every row."""
    decoder: Decoder = "auto"
    """Video decoder; auto is OpenCV, with decord where that fails."""
    split: SplitConfig = field(default_factory=SplitConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    centre: CentreConfig = field(default_factory=CentreConfig)
    gate: GateConfig = field(default_factory=GateConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.capture:
            raise InputError("name at least one recording with --capture")
        if self.image_size < 16 or self.unit_frames < 1:
            raise InputError(f"image-size ({self.image_size}) must be at least 16 and unit-frames at least 1")


@dataclass(frozen=True)
class _Job:
    """What every task of a run gets: plain values, small enough to travel with each."""

    config: PreprocessConfig
    captures: tuple[Capture, ...]
    units: tuple[Unit, ...]
    store: Store


def preprocess(config: PreprocessConfig) -> dict[str, Any]:
    """Run the pipeline; returns the dataset's manifest. See the module docstring for what a repeated run does."""
    captures = tuple(open_capture(path) for path in config.capture)
    names = [capture.name for capture in captures]
    if len(set(names)) < len(names):
        raise InputError(f"two recordings have the same name ({', '.join(names)}): rename their folders")
    store = Store.at(config.out)
    identity = _identity(config, captures)
    if store.exists(MANIFEST):
        return _finished(store, identity)
    _claim(store, identity, config)
    units, gap_frames = plan_units(captures, config, config.split, config.unit_frames)
    job = _Job(config, captures, tuple(units), store)
    _announce(job, gap_frames)
    connect()
    backgrounds = _find_backgrounds(job)
    _run_units("survey", job, _survey_name, partial(_survey, job, backgrounds))
    surveys = [_load_survey(job, unit) for unit in units]
    similarity = find_similarity(captures, units, surveys, config.zoom, config.centre)
    form = ViewFormat(config.image_size, similarity.scale, similarity.zoom)
    _run_units("write", job, _marker_name, partial(_write, job, form, similarity.centres))
    rejected = pa.concat_tables([store.read_table(_marker_name(unit)) for unit in units])
    manifest = finish_dataset(
        store,
        [unit.shard for unit in units if store.exists(unit.shard)],
        rejected,
        captures,
        identity,
        {"scale": similarity.scale, "zoom": similarity.zoom},
        gap_frames,
    )
    _write_contact_sheet(store)
    store.delete(_WORK)
    return manifest


def _identity(config: PreprocessConfig, captures: Sequence[Capture]) -> dict[str, Any]:
    """What decides the dataset's content: the settings and what the recordings are, but not where they lie."""
    settings = {k: v for k, v in to_plain(config).items() if k not in ("out", "capture")}
    recordings = []
    for capture in captures:
        videos = [v for view in capture.views for v in (view.video, view.mask_video) if v]
        described = json.dumps(describe_capture(capture), sort_keys=True).encode()
        recordings.append(
            {
                "name": capture.name,
                "calibration": hashlib.sha256(described).hexdigest(),
                "video_bytes": [Path(v).stat().st_size for v in videos],
            }
        )
    return {"settings": settings, "recordings": recordings}


def _finished(store: Store, identity: dict[str, Any]) -> dict[str, Any]:
    manifest = open_dataset(store.uri).manifest
    if manifest["config"] != identity:
        raise InputError(f"{store.uri} holds a dataset made with other settings or recordings; choose another --out")
    return manifest


def _claim(store: Store, identity: dict[str, Any], config: PreprocessConfig) -> None:
    """Begin a run, or go on with one that was stopped; a folder that holds anything else is left alone."""
    if store.exists(_RUN):
        if json.loads(store.read(_RUN)) != identity:
            raise InputError(f"{store.uri} holds an unfinished run with other settings; choose another --out")
        return
    if store.list():
        raise InputError(f"{store.uri} is not empty and holds no dataset; choose another --out")
    write_run_record(store.uri, "preprocess", config)
    store.write(_RUN, json.dumps(identity).encode())


def _announce(job: _Job, gap_frames: int) -> None:
    views = [len(capture.views) for capture in job.captures]
    frames = {s: sum(len(u.frames) for u in job.units if u.split == s) for s in ("train", "val")}
    print(
        f"preprocess: {len(job.captures)} recording(s) x {'/'.join(map(str, views))} views, {frames['train']} train + "
        f"{frames['val']} val frames ({gap_frames} in gaps) in {len(job.units)} units at {job.config.image_size} px"
    )


def _find_backgrounds(job: _Job) -> dict[str, dict[str, np.ndarray]]:
    """Median backgrounds of views that come without masks, by capture and view; kept as PNG while the run lasts."""
    wanted = [
        (capture.name, view.name, view.video)
        for capture in job.captures
        for view in capture.views
        if view.mask_video is None
    ]
    missing = [w for w in wanted if not job.store.exists(_background_name(*w[:2]))]

    def find(row: dict[str, Any]) -> dict[str, Any]:
        capture, view, video = missing[row["item"]]
        background = estimate_background(video, job.config.masks, job.config.decoder)
        job.store.write(_background_name(capture, view), encode_png(background))
        return {"count": 1}

    if missing:
        _map_with_progress("backgrounds (no mask videos: masks are estimated)", len(missing), find, len(missing))
    found: dict[str, dict[str, np.ndarray]] = {}
    for capture, view, _ in wanted:
        image = decode_image(job.store.read(_background_name(capture, view)))
        found.setdefault(capture, {})[view] = image[..., :3]
    return found


def _write_contact_sheet(store: Store, count: int = 3) -> None:
    """A picture of samples spread over each split, so that a person sees what was made."""
    dataset = open_dataset(store.uri)
    shown = []
    for split in ("train", "val"):
        spread = np.linspace(0, dataset.count(split) - 1, min(count, dataset.count(split)))
        shown += dataset.samples(split, set(spread.round().astype(int).tolist()))
    if shown:
        store.write(CONTACT_SHEET, encode_png(sample_sheet(shown)))


def _background_name(capture: str, view: str) -> str:
    return f"{_WORK}/background/{capture}-{view}.png"


def _survey_name(unit: Unit) -> str:
    return f"{_WORK}/survey/{unit.name}.parquet"


def _marker_name(unit: Unit) -> str:
    """A unit's rejected rows; written last, so that it also marks the unit as finished."""
    return f"{_WORK}/rejected/{unit.name}.parquet"


def _survey(job: _Job, backgrounds: Mapping[str, Mapping[str, np.ndarray]], unit: Unit) -> None:
    capture, config = job.captures[unit.capture], job.config
    found = survey_frames(
        capture, unit.frames, backgrounds.get(capture.name, {}), config.masks, config.centre, config.decoder
    )
    job.store.write_table(_survey_name(unit), table_from_surveys(found))


def _write(job: _Job, form: ViewFormat, centres: Mapping[str, Mapping[int, np.ndarray]], unit: Unit) -> None:
    capture, config = job.captures[unit.capture], job.config
    survey = _load_survey(job, unit)
    result = make_unit(capture, unit, survey, centres[unit.name], form, config.gate, config.source, config.decoder)
    if result.samples.num_rows:
        job.store.write_table(unit.shard, result.samples)
    job.store.write_table(_marker_name(unit), result.rejected)


def _load_survey(job: _Job, unit: Unit) -> list[Any]:
    return surveys_from_table(job.store.read_table(_survey_name(unit)))


def _run_units(stage: str, job: _Job, name: Callable[[Unit], str], work: Callable[[Unit], None]) -> None:
    """Run ``work`` for every unit whose file ``name(unit)`` is not there yet."""
    done = set(job.store.list(_WORK))
    todo = [i for i, unit in enumerate(job.units) if name(unit) not in done]

    def task(row: dict[str, Any]) -> dict[str, Any]:
        unit = job.units[todo[row["item"]]]
        work(unit)
        return {"count": len(unit.frames) * len(job.captures[unit.capture].views)}

    total = sum(len(job.units[i].frames) * len(job.captures[job.units[i].capture].views) for i in todo)
    if todo:
        _map_with_progress(stage, len(todo), task, total)


def _map_with_progress(title: str, items: int, task: Callable[[dict[str, Any]], dict[str, Any]], total: int) -> None:
    """One Ray task per item, each on one CPU; the bar counts view-frames as tasks finish."""
    dataset = ray.data.from_items([{"item": i} for i in range(items)], override_num_blocks=items)
    with tqdm(total=total, desc=title, unit=" view-frames", file=sys.stderr) as bar:
        for row in dataset.map(task, num_cpus=1).iter_rows():
            bar.update(row["count"])


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: status 1 when files could not be read to the end, although all that could be used was written."""
    config = parse(
        PreprocessConfig,
        argv,
        prog="mouse-facelift preprocess",
        description="Turn recordings into a dataset of normalised multi-view samples.",
    )
    manifest = preprocess(config)
    store, counts = Store.at(config.out), manifest["counts"]
    rejected = store.read_table(REJECTED)
    for reason, count in manifest["rejected_reasons"].items():
        print(f"  rejected {count} x {reason}")
    unreadable = rejected.filter(rejected["unreadable"])
    if counts["train"] + counts["val"] == 0:
        raise InputError(f"every frame was rejected; the reasons are in {store.path(REJECTED)}")
    print(
        f"wrote {store.uri}: {counts['train']} train + {counts['val']} val samples, {counts['rejected']} rejected, "
        f"hull IoU {manifest['gate']['hull_iou']['q50']:.3f} (median), zoom {manifest['similarity']['zoom']:.3f}"
    )
    print(f"look at {store.path(CONTACT_SHEET)}")
    print(f"next: mouse-facelift train gslrm --data {config.out} --out RUN")
    if unreadable.num_rows:
        raise InputError(f"{unreadable.num_rows} frames could not be read: {unreadable['reason'][0].as_py()}")
    return 0


if __name__ == "__main__":
    run_verb(main)
