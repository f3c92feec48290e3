"""Can a recording be trusted? What a few of its frames say about its masks, its calibration and its floor.

From the frames that :mod:`mouse_facelift.evaluation.frame_look` looked at come per-view numbers and a short list of
checks, each with a finding and a verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.video import frame_times
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.checks import Check
from mouse_facelift.evaluation.frame_look import FrameLook
from mouse_facelift.samples.verdict import VerdictConfig

# Steps between time stamps, and differences of them between views, from which frames may be missing; in frames.
_LONG_GAP, _DRIFT = 1.5, 0.5


@dataclass(frozen=True)
class HealthConfig:
    """How a recording is looked at, and from when on a finding is a warning."""

    image_size: int = 256
    """Side of the re-aimed views that silhouettes are compared in, in pixels."""
    max_miss: float = 0.25
    """Largest median distance of a view's centroid ray from the other views' point, relative to the animal's reach."""
    outlier_ratio: float = 4.0
    """A view that misses the others' point this many times farther than the median view does is suspect."""
    min_hull_iou: float = 0.85
    """Least median IoU of a view's silhouettes with the visual hull of the others."""
    max_floor_mm: float = 15.0
    """Largest distance of the animal's lowest points from z = 0."""
    max_gap_degrees: float = 120.0
    """Largest azimuth between neighbouring cameras."""
    min_baseline_degrees: float = 5.0
    """Least angle between the directions of two cameras; below it they are nearly one view."""
    max_tilt_degrees: float = 45.0
    """Largest angle between the world's z and the cameras' mean up direction."""
    max_off_centre: float = 0.25
    """How far a principal point may lie from the middle of its view, as a share of the view's side. Lenses and cropping
    move it by less; the calibration of a recording of twice the size puts it at 0.5."""
    min_reach_mm: float = 5.0
    """How far the animal reaches from its middle at least; a mouse 40 to 100 mm. Less is hardly in millimetres."""
    max_reach_mm: float = 500.0
    """And how far at most."""


@dataclass(frozen=True, eq=False)
class RigHealth:
    """What the usable frames say of the cameras; arrays have one entry per view.

    Attributes:
        centre: Median 3-D centre of the animal, mm.
        distances_mm, azimuths, elevations: Of the cameras about that centre; degrees.
        misses_mm, hull_iou, gain, bias: Medians over frames.
        reach_mm, floor_mm: Medians of :class:`FrameLook`'s.
        baselines: Angles between the directions of all pairs of cameras, degrees; nan on the diagonal.
        tilt: Angle between z and the cameras' mean up, degrees.
    """

    centre: Float[np.ndarray, "3"]
    distances_mm: Float[np.ndarray, " v"]
    azimuths: Float[np.ndarray, " v"]
    elevations: Float[np.ndarray, " v"]
    misses_mm: Float[np.ndarray, " v"]
    hull_iou: Float[np.ndarray, " v"]
    gain: Float[np.ndarray, " v"]
    bias: Float[np.ndarray, " v"]
    reach_mm: float
    floor_mm: float
    baselines: Float[np.ndarray, "v v"]
    tilt: float

    @property
    def azimuth_gaps(self) -> Float[np.ndarray, " v"]:
        """Azimuths between neighbouring cameras, once around."""
        around = np.sort(self.azimuths)
        return np.diff(np.append(around, around[0] + 360))


def rig_health(cameras: Sequence[Camera], looks: Sequence[FrameLook]) -> RigHealth | None:
    """Medians over the usable frames; None when no frame is usable."""
    samples = [look.sample for look in looks if look.sample is not None]
    if not samples:
        return None
    centre = np.median([s.centre_mm for s in samples], axis=0)
    offsets = np.stack([camera.centre for camera in cameras]) - centre
    distances = np.linalg.norm(offsets, axis=-1)
    directions = offsets / distances[:, None]
    baselines = np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1)))
    np.fill_diagonal(baselines, np.nan)
    up = -np.mean([camera.R[1] for camera in cameras], axis=0)
    usable = [look for look in looks if look.sample is not None]
    return RigHealth(
        centre=centre,
        distances_mm=distances,
        azimuths=np.degrees(np.arctan2(offsets[:, 1], offsets[:, 0])),
        elevations=np.degrees(np.arcsin(directions[:, 2])),
        misses_mm=np.median(np.array([look.misses_mm for look in usable]), axis=0),
        hull_iou=np.median([s.agreement.view_hull_iou for s in samples], axis=0),
        gain=np.median([s.agreement.gain for s in samples], axis=0),
        bias=np.median([s.agreement.bias for s in samples], axis=0),
        reach_mm=float(np.median([look.reach_mm for look in usable])),
        floor_mm=float(np.median([look.lowest_mm for look in usable])),
        baselines=baselines,
        tilt=float(np.degrees(np.arccos(np.clip(up[2] / np.linalg.norm(up), -1, 1)))),
    )


def sync_check(capture: Capture) -> Check:
    """Whether the videos' own time stamps, where they keep any, run alike and without gaps."""
    question, found = "frames are in step", f"{capture.frame_count} frames"
    try:
        times = [frame_times(view.video) for view in capture.views]
    except InputError:
        return Check(question, f"{found} in every view; no time stamps to compare", "unknown")
    longest = max(float(np.diff(t).max(initial=0.0)) for t in times) * capture.fps
    shared = min(len(t) for t in times)
    drift = max(float(np.abs(t[:shared] - times[0][:shared]).max()) for t in times)
    in_step = longest < _LONG_GAP and drift * capture.fps < _DRIFT
    aligned = capture.times is not None
    stamps = f"time stamps up to {1000 * drift:.1f} ms apart, longest step {longest:.1f} frames"
    return Check.of(question, f"{found}{', aligned by time' if aligned else ''}; {stamps}", in_step or aligned)


def capture_checks(capture: Capture, looks: Sequence[FrameLook], config: HealthConfig) -> list[Check]:
    """The recording's checks, from the files to the rig; those that need a usable frame are left out without one."""
    cameras = [view.camera for view in capture.views]
    usable = sum(look.sample is not None for look in looks)
    reasons = Counter(look.error for look in looks if look.error is not None).most_common(1)
    found = f"{usable} of {len(looks)} sampled frames" + "".join(f"; {reason}" for reason, _ in reasons)
    checks = [sync_check(capture), _size_check(cameras, config)]
    checks.append(Check.of("every view sees the animal", found, usable == len(looks) > 0))
    rig = rig_health(cameras, looks)
    return checks if rig is None else [*checks, *_rig_checks([c.name for c in cameras], rig, config)]


def _size_check(cameras: Sequence[Camera], config: HealthConfig) -> Check:
    """Whether the cameras can be those of videos of this size: their principal points lie about the middle."""
    sizes = np.array([[camera.width, camera.height] for camera in cameras])
    middles = np.array([camera.K[:2, 2] for camera in cameras]) / sizes
    off = np.abs(middles - 0.5).max(axis=1)
    worst = int(off.argmax())
    x, y = middles[worst]
    at = f"principal point at {x:.0%}, {y:.0%} of the picture (view {cameras[worst].name})"
    bad = off > config.max_off_centre
    return Check.of("calibration fits the videos' size", at + _named([c.name for c in cameras], bad), not bad.any())


def _rig_checks(names: Sequence[str], rig: RigHealth, config: HealthConfig) -> list[Check]:
    limit = max(config.max_miss * rig.reach_mm, 1e-6)
    typical = float(np.median(rig.misses_mm))
    suspect = (rig.misses_mm > limit) & (rig.misses_mm > config.outlier_ratio * typical)
    low = rig.hull_iou < config.min_hull_iou
    gap, nearest = float(rig.azimuth_gaps.max()), float(np.nanmin(rig.baselines))
    miss = (
        f"miss {typical:.1f} mm (median view), {rig.misses_mm.max():.1f} mm (view {names[int(rig.misses_mm.argmax())]})"
    )
    agree = f"hull IoU {np.median(rig.hull_iou):.3f} (median view), {rig.hull_iou.min():.3f} (view "
    agree += f"{names[int(rig.hull_iou.argmin())]})"
    floor = f"lowest points of the animal at z = {rig.floor_mm:.1f} mm"
    return [
        Check.of("mask centroids' rays meet", miss + _named(names, suspect), typical <= limit and not suspect.any()),
        Check.of("silhouettes agree on one animal", agree + _named(names, low), not low.any()),
        Check.of("the floor is at z = 0", floor, abs(rig.floor_mm) <= config.max_floor_mm)
        if math.isfinite(rig.floor_mm)
        else Check("the floor is at z = 0", "the silhouettes have no common hull", "unknown"),
        Check.of(
            "lengths are in millimetres",
            f"the animal reaches {rig.reach_mm:.3g} from its middle",
            config.min_reach_mm <= rig.reach_mm <= config.max_reach_mm,
        ),
        _look_check(names, rig, VerdictConfig()),
        Check.of("z is up", f"cameras' mean up is {rig.tilt:.0f}° off z", rig.tilt <= config.max_tilt_degrees),
        Check.of("views stand all around", f"largest azimuth gap {gap:.0f}°", gap <= config.max_gap_degrees),
        Check.of(
            "no two views are one", f"nearest cameras {nearest:.0f}° apart", nearest >= config.min_baseline_degrees
        ),
    ]


def _look_check(names: Sequence[str], rig: RigHealth, limits: VerdictConfig) -> Check:
    """Brightness and contrast, by the thresholds that a dataset is judged by."""
    hazy = rig.bias > limits.max_bias
    unlike = (rig.gain > limits.max_gain) | (rig.gain < 1 / limits.max_gain)
    found = [
        f"{what}: view {', '.join(n for n, b in zip(names, bad, strict=True) if b)}"
        for what, bad in (("hazy", hazy), ("contrast unlike the others'", unlike))
        if bad.any()
    ]
    return Check.of("views look alike", "; ".join(found) or "contrast and black level agree", not found)


def _named(names: Sequence[str], bad: Bool[np.ndarray, " v"]) -> str:
    return f"; suspect: view {', '.join(n for n, b in zip(names, bad, strict=True) if b)}" if bad.any() else ""
