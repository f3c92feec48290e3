"""The dataset's one similarity: a single scale and zoom for all cameras and frames, and a centre per frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_RADIUS
from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.centres import CentreConfig, smooth_centres
from mouse_facelift.samples.jumps import find_jumps
from mouse_facelift.samples.normalise import normalised_camera
from mouse_facelift.samples.survey import UnitPlaces
from mouse_facelift.samples.units import Unit

# Pixels left free between the animal and the image border by ``--zoom fit``, at 512 px.
_FIT_MARGIN = 8 / 512

# A frame whose silhouettes miss each other by more than this share of the animal's size shows something else in one of
# them; the gate will refuse it, and until then it must not decide how large the animal is.
_DISAGREEMENT = 0.5

# How many of the reasons why no frame can be used are told.
_ERRORS_TOLD = 3

Zoom = float | Literal["fit"]
WorldScale = float | Literal["auto"]


# Smoothed centres of a unit's frames; nan for frames that cannot be used.
UnitCentres = Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Similarity:
    """``X_normalised = scale (X_mm - centre)`` with one centre per frame; focal length FaceLift's x zoom."""

    scale: float
    zoom: float
    jumps: Mapping[str, Sequence[tuple[int, float]]]
    """By capture, (frame, mm) of sudden moves inside what was taken for one segment: cuts nobody told of, perhaps."""


def find_similarity(
    captures: Sequence[Capture],
    units: Iterable[Unit],
    surveys: Iterable[UnitPlaces],
    zoom: Zoom,
    world_scale: WorldScale,
    config: CentreConfig,
    keep: Callable[[Sequence[UnitCentres]], None],
) -> Similarity:
    """Decide scale, zoom and centres from the whole survey, one segment of a recording in memory at a time.

    Args:
        captures: The recordings.
        units: In the order of the plan: segment by segment.
        surveys: What was found in each unit.
        zoom, world_scale, config: See the settings of `preprocess`.
        keep: Is handed the centres of the next few units, until all have been.

    Raises:
        InputError: No frame can be used, or none decides a zoom that is to fit.
    """
    distances, count, largest, errors = 0.0, 0, np.inf, set[str]()
    jumps: dict[str, list[tuple[int, float]]] = {}
    pairs = zip(units, surveys, strict=True)
    for (number, _), group in groupby(pairs, key=lambda pair: (pair[0].capture, pair[0].segment)):
        capture, found = captures[number], [places for _, places in group]
        if sudden := _jumps(capture, found, config):
            jumps.setdefault(capture.name, []).extend(sudden)
        centres = _smoothed(capture, found, config)
        keep(centres)
        apart = _distances(capture, np.concatenate(centres))
        distances, count = distances + float(apart.sum()), count + len(apart)
        if zoom == "fit":
            largest = min(largest, _segment_zoom(capture, found, centres))
        errors = set(sorted(errors.union(*(places.errors for places in found)))[:_ERRORS_TOLD])
    if not count:
        where = ", ".join(str(capture.path) for capture in captures)
        raise InputError(f"{where}: no frame can be used: {'; '.join(sorted(errors))}")
    scale = FACELIFT_RADIUS / (distances / count) if world_scale == "auto" else world_scale
    if scale <= 0:
        raise InputError(f"world-scale must be positive or 'auto', not {scale}")
    if zoom == "fit":
        if not np.isfinite(largest):
            raise InputError(
                "zoom fit: in no frame do the silhouettes agree on one animal; check masks and calibration"
            )
        # Three decimals, rounded down: still clips nothing, and reads well in a manifest.
        zoom = math.floor(largest * 1000) / 1000
    elif zoom <= 0:
        raise InputError(f"zoom must be positive or 'fit', not {zoom}")
    return Similarity(scale, float(zoom), jumps)


def _jumps(capture: Capture, found: Sequence[UnitPlaces], config: CentreConfig) -> list[tuple[int, float]]:
    """Sudden moves in one segment."""
    frames = np.concatenate([places.frames[places.found] for places in found])
    centres = np.concatenate([places.centres[places.found] for places in found])
    order = np.argsort(frames, kind="stable")
    return find_jumps(frames[order], centres[order], capture.fps, config.jumps)


def _smoothed(capture: Capture, found: Sequence[UnitPlaces], config: CentreConfig) -> list[UnitCentres]:
    """Centres of one segment smoothed over time, across units and splits."""
    frames = np.concatenate([places.frames for places in found])
    centres = np.concatenate([places.centres for places in found])
    order = np.argsort(frames, kind="stable")
    order = order[~np.isnan(centres[order, 0])]
    centres[order] = smooth_centres(centres[order], capture.times_s(frames[order]), config.smoothing_s)
    return np.split(centres, np.cumsum([len(places.frames) for places in found])[:-1])


def _distances(capture: Capture, centres: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " m"]:
    """Every camera's distance from every centre that there is."""
    cameras = np.array([view.camera.centre for view in capture.views]).reshape(-1, 3)
    there = centres[~np.isnan(centres[:, 0])]
    return np.linalg.norm(cameras - there[:, None], axis=-1).reshape(-1)


def _segment_zoom(capture: Capture, found: Sequence[UnitPlaces], centres: Sequence[UnitCentres]) -> float:
    """The largest zoom that clips no silhouette of a segment; infinite where none decides."""
    return min(
        (
            _largest_zoom(view.camera, outline, own[i])
            for places, own in zip(found, centres, strict=True)
            for i in np.flatnonzero(places.usable & places.found & (places.disagreement < _DISAGREEMENT))
            for view, outline in zip(capture.views, places.outlines_of(int(i)), strict=True)
        ),
        default=np.inf,
    )


def _largest_zoom(camera: Camera, outline: Float[np.ndarray, "n 2"], centre: Float[np.ndarray, "3"]) -> float:
    """The zoom at which a silhouette, re-aimed at the centre, just fits into the image.

    The outline is convex and re-aiming is projective, so the outline's corners bound the whole silhouette.
    """
    target = normalised_camera(camera, centre, 1.0, 2, 1.0)
    plane = camera.plane_from_pixels(outline)
    direction = np.concatenate([plane, np.ones_like(plane[:, :1])], axis=1) @ (camera.R @ target.R.T)
    reach = np.abs(direction[:, :2] / direction[:, 2:]).max()
    # A 2 px image spans [-1, 1] about its principal point, so the focal length is also 1 / tan(fov / 2).
    return float((1 - 2 * _FIT_MARGIN) / (reach * target.K[0, 0]))
