"""What single frames of a recording show, seen as the pipeline would see them.

Each frame gets its silhouettes, 3-D centre, re-aimed views and the gate's numbers, without writing anything.
"""

from __future__ import annotations

import math
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
from mouse_facelift.capture.video import Decoder, read_frames
from mouse_facelift.evaluation.audit import AuditFrame
from mouse_facelift.samples.centres import CentreConfig, triangulate
from mouse_facelift.samples.cleaning import CleaningConfig
from mouse_facelift.samples.gate import measure
from mouse_facelift.samples.hull import hull_points
from mouse_facelift.samples.legacy import Silhouette, silhouette, undistorted
from mouse_facelift.samples.normalise import normalise_view, normalised_camera
from mouse_facelift.samples.schema import Sample
from mouse_facelift.samples.survey import FrameSurvey, survey_frames, unpack_mask

Mask = Bool[np.ndarray, "h w"]
Image = UInt8[np.ndarray, "h w 3"]
# Space left around the animal in the re-aimed views, as a factor of its reach.
_ROOM = 1.25
_SURFACE_POINTS = 40
# Frames surveyed in one go; their packed silhouettes and one frame of every view are in memory.
_TOGETHER = 6


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
    misses_mm: Float[np.ndarray, " v"] | None = None
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
    size: int,
    decoder: Decoder,
) -> Iterator[FrameLook]:
    """Look at frames one after another, with the silhouettes and centres that the pipeline would find.

    Args:
        capture: The recording.
        frames: Its frames, ascending.
        backgrounds: Empty arenas by name of view, for views without masks.
        masks, cleaning: How silhouettes are found.
        size: Side of the re-aimed views, in pixels.
        decoder: Video decoder.

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
                yield _look(capture, survey, [next(stream)[1] for stream in streams], size)


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


def _leave_one_out_misses(cameras: Sequence[Camera], centroids: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, " v"]:
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
