"""Training samples from a generator: real reference views in, all views out, judged and kept or set aside.

A generated sample lives in the generator's own world: its cameras are the generator's, whatever camera the reference
was taken with, and lengths are the generator's units (centre 0, scale 1). Where the animal was in its recording is kept
beside, with everything else that says where a row comes from (:data:`PROVENANCE`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_FRONT_AZIMUTH_DEGREES
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.photos.framing import as_seen_by
from mouse_facelift.photos.generation import Provenance, generate_views, object_seed, sample_of_views
from mouse_facelift.photos.preparing import Generator
from mouse_facelift.samples.gate import GateConfig, reasons
from mouse_facelift.samples.photometry import measure_photometry
from mouse_facelift.samples.schema import SAMPLE_SCHEMA, Sample, decode_views, row_from_sample
from mouse_facelift.samples.shards import REJECTED_SCHEMA, UnitResult

PROVENANCE = (
    pa.field("source_dataset", pa.string()),
    pa.field("source_sample", pa.string()),
    pa.field("reference_camera", pa.string()),
    pa.field("seed", pa.int64()),
    pa.field("heading_degrees", pa.float32()),
    pa.field("source_centre_mm", pa.list_(pa.float64(), 3)),
    pa.field("source_scale", pa.float64()),
    pa.field("reference_iou", pa.float32()),
    pa.field("relative_sharpness", pa.list_(pa.float32())),
)
"""Further columns of generated rows, kept and rejected: what they were made from (`source` is the generator), how far
the world was turned about the vertical (the reference camera's azimuth here minus there), the similarity of the
source's world, and how view 0 resembles the reference."""


def _with_provenance(schema: pa.Schema) -> pa.Schema:
    for column in PROVENANCE:
        schema = schema.append(column)
    return schema


SYNTHETIC_SCHEMA = _with_provenance(SAMPLE_SCHEMA)
SYNTHETIC_REJECTED_SCHEMA = _with_provenance(REJECTED_SCHEMA.append(SAMPLE_SCHEMA.field("source")))


@dataclass(frozen=True)
class SynthesisGate:
    """Thresholds; a sample beyond any of them goes to the rejected table with its numbers."""

    geometry: GateConfig = field(default_factory=GateConfig)
    """What every dataset's samples are judged by, silhouettes' agreement with their visual hull first of all."""
    min_reference_iou: float = 0.8
    """Least IoU of the first generated view's silhouette with that of the reference it was made from."""
    min_sharpness: float = 0.2
    """Least sharpness of any view as a multiple of the reference's; a washed-out view has less."""
    max_sharpness: float = 5.0
    """Most, likewise; what is left of the noise that views are made from has more."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_reference_iou <= 1 or not 0 <= self.min_sharpness <= self.max_sharpness:
            raise InputError(
                f"gate: min_reference_iou ({self.min_reference_iou}) must lie between 0 and 1, and min_sharpness "
                f"({self.min_sharpness}) between 0 and max_sharpness ({self.max_sharpness})"
            )


@dataclass(frozen=True)
class Reference:
    """One view of one source row that is to be turned into a sample; the ``variant``-th of its kind."""

    row: int
    camera: str
    variant: int


@dataclass(frozen=True)
class SourceRows:
    """Rows of a dataset, which it is, and the split they are in."""

    rows: Sequence[Mapping[str, Any]]
    dataset: str
    split: str


def references_of(row: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """The cameras of a row that are to be references: those wanted, or its first when nothing is.

    Raises:
        InputError: It has none of them.
    """
    names = list(row["camera"])
    found = [name for name in wanted if name in names] if wanted else names[:1]
    if not found:
        raise InputError(
            f"sample {row['sample_id']} has none of the reference cameras {', '.join(wanted)}; choose --references "
            f"among {', '.join(names)}"
        )
    return found


def synthesize_rows(
    generator: Generator,
    source: SourceRows,
    references: Sequence[Reference],
    seed: int,
    sampling: SamplingConfig,
    gate: SynthesisGate,
    batch_size: int,
) -> UnitResult:
    """Generate, measure and judge; holds a batch of views and the encoded rows in memory.

    Every object draws its own numbers, from the run's seed and from what its reference is.
    """
    kept, rejected = [], []
    for first in range(0, len(references), batch_size):
        batch = references[first : first + batch_size]
        pictures = [_reference_picture(source.rows[ref.row], ref.camera, generator) for ref in batch]
        seeds = [object_seed(seed, source.rows[r.row]["sample_id"], r.camera, str(r.variant)) for r in batch]
        framed = np.stack([picture for picture, _ in pictures])
        made = generate_views(generator.pipeline, generator.rig, framed, seeds, sampling)
        for ref, (picture, camera), own, views in zip(batch, pictures, seeds, made, strict=True):
            row = source.rows[ref.row]
            sample = sample_of_views(views, generator.rig.cameras, _provenance(row, ref, generator))
            known = _known(source, row, ref, camera, own, picture, sample)
            why = _reasons(sample, known, gate)
            if why:
                rejected.append(_rejection(sample, source.split, why) | known)
            else:
                kept.append(row_from_sample(sample) | known)
    return UnitResult(
        pa.Table.from_pylist(kept, schema=SYNTHETIC_SCHEMA),
        pa.Table.from_pylist(rejected, schema=SYNTHETIC_REJECTED_SCHEMA),
    )


def _reference_picture(
    row: Mapping[str, Any], name: str, generator: Generator
) -> tuple[UInt8[np.ndarray, "s s 4"], Camera]:
    """A source view as large as the rig's first camera shows it, and its own camera."""
    images, w2c, fxfycxcy = decode_views(row, [list(row["camera"]).index(name)])
    height, width = images.shape[1:3]
    fx, fy, cx, cy = fxfycxcy[0].astype(np.float64)
    pose = w2c[0].astype(np.float64)
    camera = Camera(name, width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), pose[:3, :3], pose[:3, 3])
    return as_seen_by(images[0], camera, generator.rig.cameras[0]), camera


def _provenance(row: Mapping[str, Any], ref: Reference, generator: Generator) -> Provenance:
    """What a generated sample is called; capture, frame and segment stay those of its source."""
    return Provenance(
        f"{row['sample_id']}_{ref.camera}_{ref.variant}",
        str(row["capture"]),
        generator.fingerprint,
        int(row["frame"]),
        float(row["time_s"]),
        int(row["segment"]),
    )


def _known(
    source: SourceRows,
    row: Mapping[str, Any],
    ref: Reference,
    camera: Camera,
    seed: int,
    picture: UInt8[np.ndarray, "s s 4"],
    sample: Sample,
) -> dict[str, Any]:
    """The columns of :data:`PROVENANCE`."""
    azimuth = float(np.degrees(np.arctan2(camera.centre[1], camera.centre[0])))
    mask, redrawn = picture[..., 3] > 127, sample.images[0, ..., 3] > 127
    together = np.count_nonzero(mask | redrawn)
    own = measure_photometry(picture[None], [BoxedMask.of(mask)]).sharpness[0] if mask.any() else np.float32(np.nan)
    return {
        "source_dataset": source.dataset,
        "source_sample": row["sample_id"],
        "reference_camera": ref.camera,
        "seed": seed,
        "heading_degrees": (FACELIFT_FRONT_AZIMUTH_DEGREES - azimuth) % 360.0,
        "source_centre_mm": row["centre_mm"],
        "source_scale": row["scale"],
        "reference_iou": np.count_nonzero(mask & redrawn) / together if together else 0.0,
        "relative_sharpness": sample.agreement.sharpness / own,
    }


def _reasons(sample: Sample, known: Mapping[str, Any], gate: SynthesisGate) -> list[str]:
    """Why a sample is set aside; a number that could not be measured (nan) is no reason."""
    found = reasons(sample.agreement, sample.images, sample.cameras, gate.geometry)
    if known["reference_iou"] < gate.min_reference_iou:
        found.append(f"the first view is not the reference (silhouette IoU {known['reference_iou']:.2f})")
    for camera, ratio in zip(sample.cameras, known["relative_sharpness"], strict=True):
        if ratio < gate.min_sharpness:
            found.append(f"view {camera.name}: washed out (sharpness {ratio:.2f} of the reference's)")
        if ratio > gate.max_sharpness:
            found.append(f"view {camera.name}: noisy (sharpness {ratio:.1f} of the reference's)")
    return found


def _rejection(sample: Sample, split: str, why: Sequence[str]) -> dict[str, Any]:
    names = ("sample_id", "capture", "frame", "time_s", "segment", "source")
    row = {name: getattr(sample, name) for name in names} | {"split": split, "unreadable": False}
    return row | {"reason": "; ".join(why)} | sample.agreement.columns()
