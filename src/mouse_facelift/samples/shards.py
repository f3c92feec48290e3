"""Making a unit's shard: decode, normalise, measure, and keep or reject, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.pictures import Picture
from mouse_facelift.capture.video import Decoder, read_pictures
from mouse_facelift.errors import InputError
from mouse_facelift.samples.gate import GateConfig, measure, reasons
from mouse_facelift.samples.legacy import RECIPES, make_views
from mouse_facelift.samples.normalise import normalise_picture, normalised_camera
from mouse_facelift.samples.schema import AGREEMENT_COLUMNS, SAMPLE_SCHEMA, Agreement, Sample, row_from_sample
from mouse_facelift.samples.survey import FrameSurvey
from mouse_facelift.samples.units import Unit

# The only method whose cameras describe its pictures; the others are names of ``legacy.RECIPES``.
EXACT = "exact"

REJECTED_SCHEMA = pa.schema(
    [
        *(SAMPLE_SCHEMA.field(n) for n in ("sample_id", "capture", "frame", "time_s", "segment")),
        pa.field("split", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("unreadable", pa.bool_()),
        *(SAMPLE_SCHEMA.field(n) for n in AGREEMENT_COLUMNS),
    ]
)


@dataclass(frozen=True)
class ViewFormat:
    """How the views of a dataset are written: pixels along a side, world scale (1/mm), zoom, and by which method."""

    image_size: int
    scale: float
    zoom: float
    method: str = EXACT


@dataclass(frozen=True)
class UnitResult:
    """A unit's finished rows: ``samples`` of the sample schema, ``rejected`` of the rejected schema."""

    samples: pa.Table
    rejected: pa.Table


def make_unit(
    capture: Capture,
    unit: Unit,
    survey: Sequence[FrameSurvey],
    centres: Mapping[int, Float[np.ndarray, "3"]],
    form: ViewFormat,
    gate: GateConfig,
    source: str,
    decoder: Decoder,
) -> UnitResult:
    """Turn one unit into rows. Holds one frame of every view and the encoded rows in memory, nothing else."""
    rows: list[dict[str, Any]] = []
    rejected = [_rejection(capture, unit, s.frame, str(s.error), s.unreadable) for s in survey if s.error]
    usable = [s for s in survey if s.error is None]
    frames = _frames(capture, [s.frame for s in usable], decoder)
    for number, found in enumerate(usable):
        try:
            views = next(frames)
        except InputError as error:
            rejected += [_rejection(capture, unit, s.frame, str(error), True) for s in usable[number:]]
            break
        sample, why = _make_sample(capture, unit, found, views, centres[found.frame], form, gate, source)
        if why:
            rejected.append(_rejection(capture, unit, found.frame, "; ".join(why), False, sample.agreement))
        else:
            rows.append(row_from_sample(sample))
    return UnitResult(
        pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), pa.Table.from_pylist(rejected, schema=REJECTED_SCHEMA)
    )


def _frames(capture: Capture, frames: Sequence[int], decoder: Decoder) -> Iterator[tuple[Picture, ...]]:
    """All views of each frame, in lockstep."""
    streams = [read_pictures(view.video, view.source_frames(frames), decoder) for view in capture.views]
    for _ in frames:
        yield tuple(next(stream)[1] for stream in streams)


def _make_sample(
    capture: Capture,
    unit: Unit,
    found: FrameSurvey,
    views: Sequence[Picture],
    centre: Float[np.ndarray, "3"],
    form: ViewFormat,
    gate: GateConfig,
    source: str,
) -> tuple[Sample, list[str]]:
    masks = [BoxedMask.unpack(packed, view.height, view.width) for packed, view in zip(found.masks, views, strict=True)]
    source_cameras = [view.camera for view in capture.views]
    scale = form.scale
    if form.method == EXACT:
        written = [
            normalise_picture(view, mask, camera, normalised_camera(camera, centre, scale, form.image_size, form.zoom))
            for view, mask, camera in zip(views, masks, source_cameras, strict=True)
        ]
    else:
        frames, full = [view.rgb() for view in views], [mask.full() for mask in masks]
        written, scale = make_views(RECIPES[form.method], frames, full, source_cameras, form.image_size)
        centre = np.zeros(3)
    images = np.stack([w.image for w in written])
    cameras = tuple(w.camera for w in written)
    agreement = measure(images, np.stack([w.known for w in written]), cameras)
    sample = Sample(
        sample_id=sample_id(capture, found.frame),
        capture=capture.name,
        frame=found.frame,
        time_s=capture.time_s(found.frame),
        segment=unit.segment,
        images=images,
        cameras=cameras,
        centre_mm=centre,
        scale=scale,
        agreement=agreement,
        mask_source=capture.mask_source,
        source=source,
    )
    # A legacy recipe is written in order to be compared: its rows stay, with the numbers that condemn them.
    return sample, reasons(agreement, images, cameras, gate) if form.method == EXACT else []


def sample_id(capture: Capture, frame: int) -> str:
    """The id of a frame's sample, unique in a dataset because capture names are."""
    return f"{capture.name}-{frame:06d}"


def _rejection(
    capture: Capture, unit: Unit, frame: int, reason: str, unreadable: bool, agreement: Agreement | None = None
) -> dict[str, Any]:
    row = {
        "sample_id": sample_id(capture, frame),
        "capture": capture.name,
        "frame": frame,
        "time_s": capture.time_s(frame),
        "segment": unit.segment,
        "split": unit.split,
        "reason": reason,
        "unreadable": unreadable,
    }
    if agreement is not None:
        row |= agreement.columns()
    return row
