"""The dataset's one similarity: a single scale and zoom for all cameras and frames, and a centre per frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from mouse_facelift.samples.survey import FrameSurvey
from mouse_facelift.samples.units import Unit

# Pixels left free between the animal and the image border by ``--zoom fit``, at 512 px.
_FIT_MARGIN = 8 / 512

# A frame whose silhouettes miss each other by more than this share of the animal's size shows something else in one of
# them; the gate will refuse it, and until then it must not decide how large the animal is.
_DISAGREEMENT = 0.5

Zoom = float | Literal["fit"]
WorldScale = float | Literal["auto"]


@dataclass(frozen=True)
class Similarity:
    """``X_normalised = scale (X_mm - centre)`` with one centre per (unit, frame); focal length FaceLift's x zoom."""

    scale: float
    zoom: float
    centres: Mapping[str, Mapping[int, Float[np.ndarray, "3"]]]
    """Smoothed centres by unit name, then frame; frames that cannot be used are absent."""


def find_similarity(
    captures: Sequence[Capture],
    units: Sequence[Unit],
    surveys: Sequence[Sequence[FrameSurvey]],
    zoom: Zoom,
    world_scale: WorldScale,
    config: CentreConfig,
) -> Similarity:
    """Decide scale, zoom and centres from the whole survey (``surveys[i]`` belongs to ``units[i]``)."""
    centres = _smoothed(captures, units, surveys, config)
    if not any(centres.values()):
        errors = {s.error for survey in surveys for s in survey if s.error}
        where = ", ".join(str(capture.path) for capture in captures)
        raise InputError(f"{where}: no frame can be used: {'; '.join(sorted(errors)[:3])}")
    scale = _mean_distance_scale(captures, units, centres) if world_scale == "auto" else world_scale
    if scale <= 0:
        raise InputError(f"world-scale must be positive or 'auto', not {scale}")
    if zoom == "fit":
        zooms = [
            _largest_zoom(view.camera, outline, centre)
            for unit, survey in zip(units, surveys, strict=True)
            for frame in survey
            if frame.error is None and frame.disagreement < _DISAGREEMENT
            if (centre := centres[unit.name].get(frame.frame)) is not None
            for view, outline in zip(captures[unit.capture].views, frame.outlines, strict=True)
        ]
        if not zooms:
            raise InputError(
                "zoom fit: in no frame do the silhouettes agree on one animal; check masks and calibration"
            )
        # Three decimals, rounded down: still clips nothing, and reads well in a manifest.
        zoom = math.floor(min(zooms) * 1000) / 1000
    elif zoom <= 0:
        raise InputError(f"zoom must be positive or 'fit', not {zoom}")
    return Similarity(scale, float(zoom), centres)


def jumps_by_capture(
    captures: Sequence[Capture], units: Sequence[Unit], surveys: Sequence[Sequence[FrameSurvey]], config: CentreConfig
) -> dict[str, list[tuple[int, float]]]:
    """(frame, mm) of sudden moves inside what was taken for one segment: cuts that nobody told of, perhaps."""
    found: dict[str, list[tuple[int, float]]] = {}
    segments: dict[tuple[int, int], list[FrameSurvey]] = {}
    for unit, survey in zip(units, surveys, strict=True):
        segments.setdefault((unit.capture, unit.segment), []).extend(s for s in survey if s.centre is not None)
    for (number, _), survey in segments.items():
        ordered = sorted(survey, key=lambda s: s.frame)
        centres = np.array([s.centre for s in ordered]).reshape(-1, 3)
        jumps = find_jumps(np.array([s.frame for s in ordered]), centres, captures[number].fps, config.jumps)
        found.setdefault(captures[number].name, []).extend(jumps)
    return {name: jumps for name, jumps in found.items() if jumps}


def _mean_distance_scale(
    captures: Sequence[Capture], units: Sequence[Unit], centres: Mapping[str, Mapping[int, Float[np.ndarray, "3"]]]
) -> float:
    """The scale at which cameras are, on average over views and frames, at FaceLift's distance from the animal."""
    distances = [
        np.linalg.norm(view.camera.centre - centre)
        for unit in units
        for centre in centres[unit.name].values()
        for view in captures[unit.capture].views
    ]
    return FACELIFT_RADIUS / float(np.mean(distances))


def _smoothed(
    captures: Sequence[Capture],
    units: Sequence[Unit],
    surveys: Sequence[Sequence[FrameSurvey]],
    config: CentreConfig,
) -> dict[str, dict[int, Float[np.ndarray, "3"]]]:
    """Centres smoothed within each segment of each capture, across units and splits but never across a cut."""
    groups: dict[tuple[int, int], list[tuple[int, str, Float[np.ndarray, "3"]]]] = {}
    for unit, survey in zip(units, surveys, strict=True):
        usable = [(s.frame, unit.name, s.centre) for s in survey if s.centre is not None]
        groups.setdefault((unit.capture, unit.segment), []).extend(usable)
    smoothed: dict[str, dict[int, Float[np.ndarray, "3"]]] = {unit.name: {} for unit in units}
    for (capture, _), found in groups.items():
        if not found:
            continue
        found.sort(key=lambda entry: entry[0])
        times = np.array([captures[capture].time_s(frame) for frame, _, _ in found])
        for (frame, unit, _), centre in zip(
            found, smooth_centres(np.stack([c for _, _, c in found]), times, config.smoothing_s), strict=True
        ):
            smoothed[unit][frame] = centre
    return smoothed


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
