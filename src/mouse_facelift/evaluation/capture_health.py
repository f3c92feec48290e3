"""Can a recording be trusted? What a few of its frames say about its masks, its calibration and its floor.

Each sampled frame is seen as the pipeline would see it: silhouettes, 3-D centre, re-aimed views, the gate's numbers.
From these come per-view numbers and a short list of checks, each with a finding and a verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import ConvexHull, QhullError

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_HFOV_DEGREES, FACELIFT_RADIUS
from mouse_facelift.capture.capture import Capture
from mouse_facelift.capture.masks import MaskConfig, estimate_background
from mouse_facelift.capture.video import Decoder, frame_times, read_frames
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.audit import AuditFrame
from mouse_facelift.evaluation.checks import Check
from mouse_facelift.samples.centres import CentreConfig, triangulate
from mouse_facelift.samples.cleaning import CleaningConfig
from mouse_facelift.samples.gate import measure
from mouse_facelift.samples.hull import hull_points
from mouse_facelift.samples.legacy import Silhouette, silhouette, undistorted
from mouse_facelift.samples.normalise import normalise_view, normalised_camera
from mouse_facelift.samples.schema import Sample
from mouse_facelift.samples.survey import FrameSurvey, survey_frames, unpack_mask
from mouse_facelift.samples.verdict import VerdictConfig

Mask = Bool[np.ndarray, "h w"]
Image = UInt8[np.ndarray, "h w 3"]
# Space left around the animal in the re-aimed views, as a factor of its reach.
_ROOM = 1.25
_SURFACE_POINTS = 40
# Frames surveyed in one go; their packed silhouettes and one frame of every view are in memory.
_TOGETHER = 6
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


@dataclass(frozen=True)
class FrameLook:
    """What one frame shows.

    Attributes:
        error: Why the frame cannot be used, or None. Nothing else is set then.
        misses_mm: Per view, the distance of its centroid ray from the point that the other views make.
        reach_mm: How far the silhouettes reach from their centroids, at the animal.
        lowest_mm: z of the visual hull's lowest points.
        sample: The re-aimed views with the gate's numbers.
        audit: Hull points and silhouettes, for the audit.
    """

    frame: int
    error: str | None = None
    misses_mm: Float[np.ndarray, "v"] | None = None
    reach_mm: float = math.nan
    lowest_mm: float = math.nan
    sample: Sample | None = None
    audit: AuditFrame | None = None


def estimate_backgrounds(capture: Capture, masks: MaskConfig, decoder: Decoder) -> dict[str, Image]:
    """Backgrounds of the views without masks, by name."""
    views = [view for view in capture.views if not view.has_masks]
    # Decoders release the interpreter's lock; two at a time keep memory at two stacks of frames.
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(lambda view: estimate_background(view.video, masks, decoder), views)
        return {view.name: image for view, image in zip(views, images, strict=True)}


def look_at_frames(
    capture: Capture,
    frames: Sequence[int],
    backgrounds: Mapping[str, Image],
    masks: MaskConfig,
    cleaning: CleaningConfig,
    config: HealthConfig,
    decoder: Decoder,
) -> Iterator[FrameLook]:
    """Look at frames one after another, with the silhouettes and centres that the pipeline would find.

    Raises:
        InputError: A frame's colours cannot be decoded.
    """
    for start in range(0, len(frames), _TOGETHER):
        part = frames[start : start + _TOGETHER]
        surveys = survey_frames(capture, part, backgrounds, masks, CentreConfig(), decoder, cleaning)
        usable = [survey.frame for survey in surveys if survey.error is None]
        streams = [read_frames(view.video, view.source_frames(usable), decoder) for view in capture.views]
        for survey in surveys:
            if survey.error is not None:
                yield FrameLook(survey.frame, survey.error)
            else:
                yield _look(capture, survey, [next(stream)[1] for stream in streams], config.image_size)


def _look(capture: Capture, survey: FrameSurvey, images: Sequence[Image], size: int) -> FrameLook:
    cameras = [view.camera for view in capture.views]
    centre = survey.centre
    if centre is None:
        return FrameLook(survey.frame, "no 3-D centre")
    masks = [unpack_mask(packed, *image.shape[:2]) for packed, image in zip(survey.masks, images, strict=True)]
    seen = tuple(silhouette(mask, camera) for mask, camera in zip(masks, cameras, strict=True))
    reach = max(_reach(s, camera, centre) for s, camera in zip(seen, cameras, strict=True))
    inside = hull_points(masks, cameras, centre, reach, CentreConfig().hull_resolution)
    return FrameLook(
        survey.frame,
        None,
        _leave_one_out_misses([undistorted(camera) for camera in cameras], np.stack([s.centroid for s in seen])),
        reach,
        float(np.quantile(inside[:, 2], 0.01)) if len(inside) else math.nan,
        _sample(capture, survey.frame, images, masks, centre, reach, size),
        AuditFrame(np.concatenate([centre[None], _surface(inside)]), seen, centre),
    )


def _reach(seen: Silhouette, camera: Camera, centre: Float[np.ndarray, "3"]) -> float:
    """How far a silhouette reaches from its centroid, in world units at the centre's depth."""
    pixels = float(np.abs(seen.box.reshape(2, 2) - seen.centroid).max())
    return pixels * float(camera.depth(centre)) / float(camera.K[0, 0])


def _leave_one_out_misses(cameras: Sequence[Camera], centroids: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "v"]:
    origins = np.stack([camera.centre for camera in cameras])
    rays = np.stack([camera.rays(pixel) for camera, pixel in zip(cameras, centroids, strict=True)])
    if len(cameras) == 2:
        return triangulate(origins, rays).misses
    others = ~np.eye(len(cameras), dtype=bool)
    points = np.stack([triangulate(origins[rest], rays[rest]).point for rest in others])
    return np.linalg.norm(np.cross(rays, points - origins), axis=-1)


def _surface(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """Corners of the points' convex hull, at most a few dozen; none of too few or flat points."""
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return points[:0]
    return corners[np.unique(np.linspace(0, len(corners) - 1, min(len(corners), _SURFACE_POINTS)).astype(int))]


def _sample(
    capture: Capture,
    frame: int,
    images: Sequence[Image],
    masks: Sequence[Mask],
    centre: Float[np.ndarray, "3"],
    reach: float,
    size: int,
) -> Sample:
    """The frame as `preprocess` would write it, zoomed until the animal fills the views."""
    distances = [float(np.linalg.norm(view.camera.centre - centre)) for view in capture.views]
    scale = FACELIFT_RADIUS / float(np.mean(distances))
    zoom = min(distances) * math.tan(math.radians(FACELIFT_HFOV_DEGREES / 2)) / (_ROOM * reach)
    views = []
    for view, image, mask in zip(capture.views, images, masks, strict=True):
        target = normalised_camera(view.camera, centre, scale, size, zoom)
        views.append(normalise_view(image, mask, view.camera, target))
    written = np.stack([view.image for view in views])
    cameras = tuple(view.camera for view in views)
    agreement = measure(written, np.stack([view.known for view in views]), cameras)
    return Sample(
        sample_id=f"{capture.name}-{frame:06d}",
        capture=capture.name,
        frame=frame,
        time_s=capture.time_s(frame),
        segment=0,
        images=written,
        cameras=cameras,
        centre_mm=centre,
        scale=scale,
        agreement=agreement,
        mask_source=capture.mask_source,
        source="real",
    )


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
    distances_mm: Float[np.ndarray, "v"]
    azimuths: Float[np.ndarray, "v"]
    elevations: Float[np.ndarray, "v"]
    misses_mm: Float[np.ndarray, "v"]
    hull_iou: Float[np.ndarray, "v"]
    gain: Float[np.ndarray, "v"]
    bias: Float[np.ndarray, "v"]
    reach_mm: float
    floor_mm: float
    baselines: Float[np.ndarray, "v v"]
    tilt: float

    @property
    def azimuth_gaps(self) -> Float[np.ndarray, "v"]:
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
    checks = [sync_check(capture), Check.of("every view sees the animal", found, usable == len(looks) > 0)]
    rig = rig_health(cameras, looks)
    return checks if rig is None else [*checks, *_rig_checks([c.name for c in cameras], rig, config)]


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


def _named(names: Sequence[str], bad: Bool[np.ndarray, "v"]) -> str:
    return f"; suspect: view {', '.join(n for n, b in zip(names, bad, strict=True) if b)}" if bad.any() else ""
