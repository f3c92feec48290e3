"""`mouse-facelift preprocess`: recordings in, a dataset of normalised multi-view samples out.

Two passes over units of a few dozen frames, each unit one Ray task that decodes its range of every view in sequence:
the *survey* finds where the animal is, then - with one scale for the whole dataset and centres smoothed over time -
every unit writes its own shard. A unit's files appear whole or not at all and their names follow from their content,
so a run that was killed goes on where it stopped, and a run that is complete does nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mouse_facelift.capture.capture import Axis, Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.capture.sync import SyncConfig
from mouse_facelift.capture.video import Decoder
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.sample_sheet import CONTACT_SHEET, write_contact_sheet
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.cleaning import CleaningConfig
from mouse_facelift.samples.dataset import MANIFEST, REJECTED, describe_capture, finish_dataset
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.legacy import RECIPES
from mouse_facelift.samples.shards import EXACT, ViewFormat
from mouse_facelift.samples.similarity import WorldScale, Zoom, find_similarity
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.track import HULL, find_track
from mouse_facelift.samples.units import FrameSelection, Unit, describe_plan, plan_units
from mouse_facelift.samples.verdict import VerdictConfig, describe_verdict
from mouse_facelift.storage import Store
from pipelines.placement import PlacementConfig
from pipelines.preprocess_units import (
    CentresWriter,
    Job,
    find_backgrounds,
    load_places,
    load_rejected,
    survey_units,
    write_plan,
    write_units,
)
from pipelines.session import connect
from pipelines.units_of_work import WORK, claim, finished_dataset

MAX_IMAGE_SIZE = 8192
"""Side beyond which a number of pixels is a slip of the hand: six views of it are 1.6 GB."""


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(FrameSelection):
    """Settings of `preprocess`."""

    capture: tuple[str, ...]
    """Recordings: folders in the MAMMAL or DANNCE layout, or URIs of such (copied once to every machine that works)."""
    out: str
    """Where the dataset goes: a folder or a URI that pyarrow opens."""
    views: tuple[str, ...] = ()
    """Use only these cameras, by name; all of them when empty."""
    up: Axis = "z"
    """The axis of the calibration's world that points up; the dataset's world is turned so that it is z."""
    image_size: int = 512
    """Side of the written square views, in pixels."""
    world_scale: WorldScale = "auto"
    """Normalised units per millimetre; auto puts the cameras' mean distance at FaceLift's 2.7. Give a dataset's own
    scale to make another that fits it."""
    zoom: Zoom = 1.0
    """Focal length of every view relative to FaceLift's (field of view 50 degrees); 'fit' for the largest that clips
    nothing."""
    method: str = EXACT
    """How views are normalised. Anything but exact is an old recipe whose cameras do not describe its pictures, for
    comparisons only (`inspect` lists them); its rows pass the gate unjudged."""
    unit_frames: int | None = None
    """Frames per unit of work: one task and one shard. When left out, 32 to 256 by the length of the recording and its
    keyframes, and units begin where seeking costs least."""
    source: Literal["real", "rendered"] = "real"
    """What the recordings are; kept in every row."""
    decoder: Decoder = "auto"
    """Video decoder; auto is PyAV, then OpenCV, then decord where the one before fails."""
    sync: SyncConfig = field(default_factory=SyncConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    centre: CentreConfig = field(default_factory=CentreConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.capture:
            raise InputError("name at least one recording with --capture")
        if self.method not in (EXACT, *RECIPES):
            raise InputError(f"--method {self.method}: there is no such method; choose {EXACT} or {', '.join(RECIPES)}")
        if self.method != EXACT and (self.zoom, self.world_scale) != (1.0, "auto"):
            raise InputError(f"--method {self.method} has its own scale; leave out --zoom and --world-scale")
        if not 16 <= self.image_size <= MAX_IMAGE_SIZE or not (self.unit_frames is None or self.unit_frames >= 1):
            raise InputError(
                f"image-size ({self.image_size}) must be from 16 to {MAX_IMAGE_SIZE} and unit-frames at least 1"
            )
        for name, value in (("zoom", self.zoom), ("world-scale", self.world_scale)):
            if not isinstance(value, str) and not 0 < value < float("inf"):
                word = "'fit'" if name == "zoom" else "'auto'"
                raise InputError(f"{name} must be above 0 and finite, or {word}, not {value}")
        if self.centre.source != HULL and self.up != "z":
            raise InputError("--centre.source is in the calibration's world, which --up turns; give only one of them")


def preprocess(config: PreprocessConfig) -> dict[str, Any]:
    """Run the pipeline; returns the dataset's manifest. See the module docstring for what a repeated run does."""
    captures = tuple(_open(path, config) for path in config.capture)
    names = [capture.name for capture in captures]
    if len(set(names)) < len(names):
        raise InputError(f"two recordings have the same name ({', '.join(names)}): rename their folders")
    store = Store.at(config.out)
    identity = _identity(config, captures)
    if store.exists(MANIFEST):
        return finished_dataset(store, identity)
    # The plan comes first: a rule that does not fit the recordings must not leave a half-claimed folder.
    units, gap_frames = plan_units(captures, config, config.split, config.unit_frames)
    splits = describe_plan(captures, units, config.split)
    claim(store, identity, "preprocess", config)
    job = Job(config, captures, store)
    _announce(job, units, gap_frames)
    connect(config.placement)
    write_plan(job, units)
    survey_units(job, units, find_backgrounds(job))
    centres = CentresWriter(job)
    similarity = find_similarity(
        captures, units, load_places(job, units), config.zoom, config.world_scale, config.centre, centres.add
    )
    centres.flush()
    form = ViewFormat(config.image_size, similarity.scale, similarity.zoom, config.method)
    write_units(job, units, form)
    written = set(store.list())
    manifest = finish_dataset(
        store,
        [unit.shard for unit in units if unit.shard in written],
        load_rejected(job, units),
        captures,
        identity,
        {"scale": similarity.scale, "zoom": similarity.zoom},
        gap_frames,
        splits,
        config.verdict,
        similarity.jumps,
    )
    write_contact_sheet(store)
    store.delete(WORK)
    return manifest


def _open(path: str, config: PreprocessConfig) -> Capture:
    """A recording as the run sees it: in step, from the chosen cameras, upright."""
    capture = open_capture(path, config.sync)
    if config.views:
        capture = capture.with_views(config.views)
    return capture.turned(config.up)


def _identity(config: PreprocessConfig, captures: Sequence[Capture]) -> dict[str, Any]:
    """What decides the dataset's content: the settings and what the recordings are, but not where they lie."""
    settings = {k: v for k, v in to_plain(config).items() if k not in ("out", "capture", "placement")}
    recordings = []
    for capture in captures:
        videos = [v for view in capture.views for v in (view.video, view.mask_video) if v]
        masks = [f for view in capture.views if view.mask_images for f in sorted(view.mask_images.glob("*.png"))]
        track = find_track(config.centre.source, capture.path, capture.frame_count)
        described = json.dumps(describe_capture(capture), sort_keys=True).encode()
        recordings.append(
            {
                "name": capture.name,
                "calibration": hashlib.sha256(described).hexdigest(),
                "video_bytes": [Path(v).stat().st_size for v in videos],
                "mask_image_bytes": sum(f.stat().st_size for f in masks),
                "centres": None if track is None else hashlib.sha256(track.tobytes()).hexdigest(),
            }
        )
    return {"settings": settings, "recordings": recordings}


def _announce(job: Job, units: Sequence[Unit], gap_frames: int) -> None:
    views = [len(capture.views) for capture in job.captures]
    frames = {s: sum(len(u.frames) for u in units if u.split == s) for s in ("train", "val")}
    print(
        f"preprocess: {len(job.captures)} recording(s) x {'/'.join(map(str, views))} views, {frames['train']} train + "
        f"{frames['val']} val frames ({gap_frames} in gaps) in {len(units)} units at {job.config.image_size} px"
    )


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
        reason = next(iter(manifest["rejected_reasons"]), "there was none")
        raise InputError(f"every frame was rejected, most often: {reason}; all reasons are in {store.path(REJECTED)}")
    print(
        f"wrote {store.uri}: {counts['train']} train + {counts['val']} val samples, {counts['rejected']} rejected, "
        f"hull IoU {manifest['gate']['hull_iou']['q50']:.3f} (median), zoom {manifest['similarity']['zoom']:.3f}"
    )
    print("\n".join(describe_verdict(manifest["verdict"])))
    for name, jumps in manifest["jumps"].items():
        listed = ", ".join(f"{frame} ({mm:.0f} mm)" for frame, mm in jumps)
        print(f"{name}: the animal is suddenly elsewhere at frame {listed}; if the recording was cut there, use --cuts")
    print(f"look at {store.path(CONTACT_SHEET)}")
    print(f"next: mouse-facelift train gslrm --data {config.out} --out RUN")
    if unreadable.num_rows:
        raise InputError(f"{unreadable.num_rows} frames could not be read: {unreadable['reason'][0].as_py()}")
    return 0


if __name__ == "__main__":
    run_verb(main)
