"""The survey: where the animal is, in every frame, before anything is resampled.

The first of two passes. It needs silhouettes only; it finds each frame's 3-D centre and keeps the silhouettes, so that
the second pass, which knows the dataset's one scale and the smoothed centres, decodes nothing but colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.masks import MaskConfig, read_masks
from mouse_facelift.capture.video import Decoder
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig, frame_centre, rough_centre
from mouse_facelift.samples.cleaning import CleaningConfig, clean_masks
from mouse_facelift.samples.track import find_track

# The animal lies in a ball of this radius, in units of how far its silhouettes reach from their centroids.
_BALL = 2.0

SURVEY_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int32()),
        pa.field("error", pa.string()),
        pa.field("unreadable", pa.bool_()),
        pa.field("centre", pa.list_(pa.float64())),
        pa.field("disagreement", pa.float64()),
        pa.field("outline", pa.list_(pa.list_(pa.float32()))),
        pa.field("mask", pa.list_(pa.binary())),
    ]
)


@dataclass(frozen=True)
class FrameSurvey:
    """What the survey found in one frame.

    Attributes:
        error: Why the frame cannot be used, or None. With an error there are no outlines and masks, but there may be a
            centre: that of a frame with one empty view still steadies its neighbours'.
        unreadable: The error is a file that could not be decoded, not a missing animal.
        centre: 3-D centre in world units.
        disagreement: How far the worst view's silhouette misses that centre, relative to the animal's size.
        outlines: Per view, the convex outline of the silhouette in pixels.
        masks: Per view, the packed silhouette (see :func:`unpack_mask`).
    """

    frame: int
    error: str | None = None
    unreadable: bool = False
    centre: Float[np.ndarray, "3"] | None = None
    disagreement: float = 0.0
    outlines: tuple[Float[np.ndarray, "n 2"], ...] = ()
    masks: tuple[bytes, ...] = ()


def survey_frames(
    capture: Capture,
    frames: Sequence[int],
    backgrounds: Mapping[str, UInt8[np.ndarray, "h w 3"]],
    masks: MaskConfig,
    centres: CentreConfig,
    decoder: Decoder,
    cleaning: CleaningConfig | None = None,
) -> list[FrameSurvey]:
    """Survey frames of one capture; a video frame that cannot be decoded takes the rest of the frames with it.

    Args:
        capture: The recording.
        frames: Its frames, ascending.
        backgrounds: Empty arenas by name of view, for views without masks.
        masks, centres, cleaning: See these classes; the silhouettes that are kept are the cleaned ones.
        decoder: Video decoder.

    Raises:
        InputError: The file of centres that ``centres.source`` names cannot be used.
    """
    cameras = [view.camera for view in capture.views]
    track = find_track(centres.source, capture.path, capture.frame_count)
    tidy = cleaning or CleaningConfig()
    used = tidy if tidy.applies_to(capture.mask_source) else None
    found = {}
    for frame in frames:
        if missed := capture.missed_by(frame):
            found[frame] = FrameSurvey(frame, error=f"view {', '.join(missed)} recorded no frame at this time")
    present = [frame for frame in frames if frame not in found]
    streams = [read_masks(view, present, backgrounds.get(view.name), masks, decoder) for view in capture.views]
    for number, frame in enumerate(present):
        try:
            silhouettes = [next(stream) for stream in streams]
        except InputError as error:
            found |= {f: FrameSurvey(f, error=str(error), unreadable=True) for f in present[number:]}
            break
        unreadable = [mask for mask in silhouettes if isinstance(mask, InputError)]
        if unreadable:
            found[frame] = FrameSurvey(frame, error="; ".join(map(str, unreadable)), unreadable=True)
            continue
        read = [mask for mask in silhouettes if not isinstance(mask, InputError)]
        found[frame] = _survey_frame(frame, read, cameras, centres, None if track is None else track[frame], used)
    return [found[frame] for frame in frames]


def _survey_frame(
    frame: int,
    masks: Sequence[BoxedMask],
    cameras: Sequence[Camera],
    config: CentreConfig,
    given: Float[np.ndarray, "3"] | None = None,
    cleaning: CleaningConfig | None = None,
) -> FrameSurvey:
    if cleaning is not None:
        rough = rough_centre(masks, cameras, config)
        if rough is not None:
            full = [mask.full() for mask in masks]
            masks = [
                BoxedMask.of(mask)
                for mask in clean_masks(full, cameras, rough.point, _BALL * rough.half_width, cleaning)
            ]
    empty = [camera.name for mask, camera in zip(masks, cameras, strict=True) if not mask]
    centre = frame_centre(masks, cameras, config, given)
    if centre is not None and min(camera.depth(centre.point) for camera in cameras) <= 0:
        centre = None
    if empty:
        error = f"no animal in the mask of view {', '.join(empty)}"
        return FrameSurvey(frame, error=error, centre=None if centre is None else centre.point)
    if centre is None:
        return FrameSurvey(frame, error="the silhouettes meet nowhere in front of the cameras")
    return FrameSurvey(
        frame,
        centre=centre.point,
        disagreement=centre.disagreement,
        outlines=tuple(_outline(mask) for mask in masks),
        masks=tuple(mask.pack() for mask in masks),
    )


def _outline(mask: BoxedMask) -> Float[np.ndarray, "n 2"]:
    """Convex hull of the silhouette's pixel squares, corner origin."""
    points = mask.edges().astype(np.float32)
    squares = np.concatenate([points + corner for corner in np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)])
    return cv2.convexHull(squares)[:, 0].astype(np.float64)


def pack_mask(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """A silhouette as a few hundred bytes (see :class:`BoxedMask`)."""
    return BoxedMask.of(mask).pack()


def unpack_mask(data: bytes, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The inverse of :func:`pack_mask`."""
    return BoxedMask.unpack(data, height, width).full()


def table_from_surveys(surveys: Sequence[FrameSurvey]) -> pa.Table:
    """Surveys as an Arrow table of :data:`SURVEY_SCHEMA`."""
    rows = [
        {
            "frame": s.frame,
            "error": s.error,
            "unreadable": s.unreadable,
            "centre": s.centre,
            "disagreement": s.disagreement,
            "outline": [o.reshape(-1) for o in s.outlines],
            "mask": list(s.masks),
        }
        for s in surveys
    ]
    return pa.Table.from_pylist(rows, schema=SURVEY_SCHEMA)


def surveys_from_table(table: pa.Table) -> list[FrameSurvey]:
    """The inverse of :func:`table_from_surveys`; a table that was read without outlines or masks gives none."""
    return [
        FrameSurvey(
            row["frame"],
            row["error"],
            row["unreadable"],
            None if row["centre"] is None else np.array(row["centre"]),
            row["disagreement"],
            tuple(np.array(o, dtype=np.float64).reshape(-1, 2) for o in row.get("outline", ())),
            tuple(row.get("mask", ())),
        )
        for row in table.to_pylist()
    ]


@dataclass(frozen=True, eq=False)
class UnitPlaces:
    """What scale, zoom and smoothing need of the survey of a unit: a few dozen bytes per frame, or the outlines too.

    Attributes:
        frames: Frame numbers.
        centres: 3-D centres in world units; nan where there is none.
        usable: Frames without an error.
        disagreement: As in :class:`FrameSurvey`.
        errors: What is wrong with the others.
        outlines: Per frame and view; None where they were not read.
    """

    frames: Int[np.ndarray, " n"]
    centres: Float[np.ndarray, "n 3"]
    usable: Bool[np.ndarray, " n"]
    disagreement: Float[np.ndarray, " n"]
    errors: frozenset[str]
    outlines: pa.ChunkedArray | None = None

    @property
    def found(self) -> Bool[np.ndarray, " n"]:
        """Frames with a centre."""
        return ~np.isnan(self.centres[:, 0])

    def outlines_of(self, number: int) -> list[Float[np.ndarray, "k 2"]]:
        """Per view, the outline in the ``number``-th frame."""
        if self.outlines is None:
            raise ValueError("the survey was read without outlines")
        return [np.array(outline, dtype=np.float64).reshape(-1, 2) for outline in self.outlines[number].as_py()]


# The columns that :func:`places_from_table` needs, and the one it takes along where it is there.
PLACES_COLUMNS, OUTLINE_COLUMN = ("frame", "error", "centre", "disagreement"), "outline"


def places_from_table(table: pa.Table) -> UnitPlaces:
    """The places in a table of :func:`table_from_surveys`, or in its :data:`PLACES_COLUMNS`."""
    found = table["centre"].combine_chunks()
    centres = np.full((table.num_rows, 3), np.nan)
    centres[found.is_valid().to_numpy(zero_copy_only=False)] = found.flatten().to_numpy().reshape(-1, 3)
    return UnitPlaces(
        table["frame"].to_numpy(),
        centres,
        table["error"].is_null().to_numpy(),
        table["disagreement"].to_numpy(),
        frozenset(table["error"].drop_null().unique().to_pylist()),
        table[OUTLINE_COLUMN] if OUTLINE_COLUMN in table.column_names else None,
    )
