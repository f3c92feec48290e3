"""Recipes by which recordings of mice used to be brought into FaceLift's format, as named baselines.

Each is a pure function from silhouettes and calibration to what it did to the pictures (a 3x3 matrix per view) and
the cameras it wrote beside them. In none of them do the cameras describe the pictures, which is what the audit
measures; nothing else uses them, and none is a default.

What went wrong, in short: focal lengths and principal points overwritten with FaceLift's; pictures shifted and scaled
per view with no change of the cameras; every camera slid to the same distance from the calibration's origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.camera import intrinsics_from_fov
from mouse_facelift.cameras.poses import FACELIFT_HFOV_DEGREES, FACELIFT_RADIUS
from mouse_facelift.cameras.slots import axes_meeting_point
from mouse_facelift.samples.normalise import NormalisedView, normalise_view

# All of the recipes wrote pictures of this size.
LEGACY_SIZE = 512
_MIDDLE = np.array([LEGACY_SIZE / 2, LEGACY_SIZE / 2])
# What the recipes aimed at: shares of the picture's side for bounding boxes, and for the square root of the area.
_BOX_CENTRED, _BOX, _AREA_ROOT, _SAMPLE_ROOT, _SAMPLE_REACH = 0.7, 0.6, 0.3, 0.6, 0.95
_CROP_SIDE, _UNDISTORTED_SIZE = 1024, (1152, 1024)


@dataclass(frozen=True)
class Silhouette:
    """What the recipes looked at in a view: bounding box (left, top, right, bottom), centroid and area, in pixels."""

    box: Float[np.ndarray, "4"]
    centroid: Float[np.ndarray, "2"]
    area: float

    def moved(self, matrix: Float[np.ndarray, "3 3"]) -> Silhouette:
        """The silhouette after an axis-parallel scaling and shift of the picture."""
        scale, shift = np.diag(matrix)[:2], matrix[:2, 2]
        box = self.box.reshape(2, 2) * scale + shift
        return Silhouette(box.reshape(4), self.centroid * scale + shift, self.area * float(scale.prod()))

    @property
    def side(self) -> float:
        """The longer side of the bounding box."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def box_centre(self) -> Float[np.ndarray, "2"]:
        """The middle of the bounding box."""
        return (self.box[:2] + self.box[2:]) / 2


@dataclass(frozen=True, eq=False)
class LegacyViews:
    """What a recipe made of one frame.

    Attributes:
        matrices: Per view, undistorted source pixels (corner origin) to pixels of the written picture.
        cameras: Per view, the camera the recipe wrote.
        mm_per_unit: Millimetres of the capture's world per unit of the written one, on average over the cameras.
    """

    matrices: tuple[Float[np.ndarray, "3 3"], ...]
    cameras: tuple[Camera, ...]
    mm_per_unit: float


Method = Callable[[Sequence[Silhouette], Sequence[Camera]], LegacyViews]


def silhouette(mask: Bool[np.ndarray, "h w"], camera: Camera) -> Silhouette:
    """A mask's measures in undistorted pixels; the recipes worked on undistorted videos.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("an empty mask has no bounding box")
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=-1)
    if camera.distortion is not None:
        pixels = undistorted(camera).pixels_from_plane(camera.plane_from_pixels(pixels))
    box = np.concatenate([pixels.min(axis=0) - 0.5, pixels.max(axis=0) + 0.5])
    return Silhouette(box, pixels.mean(axis=0), float(len(pixels)))


def undistorted(camera: Camera) -> Camera:
    """The same camera without its lens distortion."""
    return replace(camera, distortion=None)


def facelift_k_overwrite(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """Centre crop, resize to 512; K overwritten with FaceLift's; the rig scaled to a mean distance of 2.7."""
    scale = FACELIFT_RADIUS / _mean_distance(cameras)
    K = intrinsics_from_fov(FACELIFT_HFOV_DEGREES, LEGACY_SIZE, LEGACY_SIZE)
    written = tuple(_written(camera, K, camera.t * scale) for camera in cameras)
    return LegacyViews(tuple(_centre_crop(camera) for camera in cameras), written, 1 / scale)


def per_camera_distance(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """Centre crop and resize with the true K carried along; then each camera moved to a distance of exactly 2.7."""
    crops = tuple(_centre_crop(camera) for camera in cameras)
    written = [_written(c, crop @ c.K, c.t) for c, crop in zip(cameras, crops, strict=True)]
    return _equal_distances(LegacyViews(crops, tuple(written), 1.0))


def markerless_crop(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """Bounding box to the middle and to 60 % of the picture, per view; K scaled as if 1152 x 1024 had been squeezed."""
    squeeze = np.diag([LEGACY_SIZE / _UNDISTORTED_SIZE[0], LEGACY_SIZE / _UNDISTORTED_SIZE[1], 1.0])
    matrices = tuple(
        _about(s.box_centre, _BOX * _CROP_SIDE / s.side * LEGACY_SIZE / _CROP_SIDE, _MIDDLE) for s in silhouettes
    )
    return LegacyViews(matrices, tuple(_written(c, squeeze @ c.K, c.t) for c in cameras), 1.0)


def centred(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """After the overwrite, each bounding box moved to the middle, one scale for all views; cameras unchanged."""
    base = facelift_k_overwrite(silhouettes, cameras)
    seen = _moved(silhouettes, base)
    scale = _BOX_CENTRED * LEGACY_SIZE / max(s.side for s in seen)
    return _then(base, [_about(s.box_centre, scale, _MIDDLE) for s in seen])


def axes_normalised(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """After the overwrite, the world moved to where the optical axes meet and scaled to a mean distance of 2.7."""
    base = facelift_k_overwrite(silhouettes, cameras)
    middle = axes_meeting_point(base.cameras)
    distance = float(np.mean([np.linalg.norm(c.centre - middle) for c in base.cameras]))
    scale = FACELIFT_RADIUS / distance
    return replace(
        base, cameras=tuple(c.normalised(middle, scale) for c in base.cameras), mm_per_unit=base.mm_per_unit / scale
    )


def uniform_box(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """After the overwrite, each picture scaled about its middle until the box spans 60 %; cameras unchanged."""
    base = facelift_k_overwrite(silhouettes, cameras)
    scales = [_BOX * LEGACY_SIZE / s.side for s in _moved(silhouettes, base)]
    return _then(base, [_about(_MIDDLE, scale, _MIDDLE) for scale in scales])


def uniform_area(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """As :func:`uniform_box`, until the root of the animal's area is 30 % of the side."""
    base = facelift_k_overwrite(silhouettes, cameras)
    scales = [_AREA_ROOT / _root_share(s) for s in _moved(silhouettes, base)]
    return _then(base, [_about(_MIDDLE, scale, _MIDDLE) for scale in scales])


def pixel_based(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """After the overwrite, each centroid moved to the middle and each area to (30 %)^2; cameras unchanged."""
    base = facelift_k_overwrite(silhouettes, cameras)
    seen = _moved(silhouettes, base)
    return _then(base, [_about(s.centroid, _AREA_ROOT / _root_share(s), _MIDDLE) for s in seen])


def uniform_scale(silhouettes: Sequence[Silhouette], cameras: Sequence[Camera]) -> LegacyViews:
    """After the overwrite, centroids to the middle with one scale per sample; the (wrong) K follows the picture."""
    base = facelift_k_overwrite(silhouettes, cameras)
    seen = _moved(silhouettes, base)
    reach = [np.abs(s.box.reshape(2, 2) - s.centroid).max() for s in seen]
    scale = min(
        min(_SAMPLE_ROOT / _root_share(s), _SAMPLE_REACH * LEGACY_SIZE / 2 / r)
        for s, r in zip(seen, reach, strict=True)
    )
    moves = [_about(s.centroid, scale, _MIDDLE) for s in seen]
    written = tuple(replace(c, K=move @ c.K) for c, move in zip(base.cameras, moves, strict=True))
    return replace(_then(base, moves), cameras=written)


def _trained(method: Method) -> Method:
    """A recipe followed by what training did on loading: rig's plane made level, every distance made 2.7."""
    return lambda silhouettes, cameras: _equal_distances(_levelled(method(silhouettes, cameras)))


@dataclass(frozen=True)
class Recipe:
    """A named baseline: ``title`` says in a few words what it does."""

    title: str
    method: Method


_LOADED = "then levelled, each distance 2.7"
RECIPES: Mapping[str, Recipe] = {
    "per_camera_distance": Recipe("true K, each distance 2.7", per_camera_distance),
    "facelift_k_overwrite": Recipe("K overwritten with FaceLift's", facelift_k_overwrite),
    "facelift_k_overwrite_trained": Recipe(f"K overwritten, {_LOADED}", _trained(facelift_k_overwrite)),
    "centred": Recipe("boxes centred", centred),
    "centred_trained": Recipe(f"boxes centred, {_LOADED}", _trained(centred)),
    "axes_normalised": Recipe("world moved to the axes' meeting point", axes_normalised),
    "uniform_box": Recipe("boxes scaled alike per view", uniform_box),
    "uniform_area": Recipe("areas scaled alike per view", uniform_area),
    "pixel_based": Recipe("centroids centred, areas alike", pixel_based),
    "pixel_based_trained": Recipe(f"centroids centred, areas alike, {_LOADED}", _trained(pixel_based)),
    "uniform_scale": Recipe("centroids centred, one scale, wrong K follows", uniform_scale),
    "uniform_scale_trained": Recipe(f"one scale, {_LOADED}", _trained(uniform_scale)),
    "markerless_crop": Recipe("boxes cropped, K squeezed", markerless_crop),
    "markerless_crop_trained": Recipe(f"boxes cropped, K squeezed, {_LOADED}", _trained(markerless_crop)),
}
"""All baselines by name; ``*_trained`` are what models really saw, ``pixel_based_trained`` the last of them."""


def make_views(
    recipe: Recipe,
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    masks: Sequence[Bool[np.ndarray, "h w"]],
    cameras: Sequence[Camera],
    size: int = LEGACY_SIZE,
) -> tuple[list[NormalisedView], float]:
    """A frame's views as a recipe would have written them: its pictures with its cameras, for comparisons of models.

    Resampled with this project's care (antialiased, premultiplied), so that the geometry is the only difference.

    Returns:
        The views, and the nominal scale of their world (units per millimetre; its origin is the calibration's).

    Raises:
        ValueError: a mask is empty.
    """
    seen = [silhouette(mask, camera) for mask, camera in zip(masks, cameras, strict=True)]
    made = recipe.method(seen, [undistorted(camera) for camera in cameras])
    views = []
    for frame, mask, source, matrix, written in zip(frames, masks, cameras, made.matrices, made.cameras, strict=True):
        # The camera that truly describes the picture; with it the picture is made, without it it is stored.
        true = Camera(source.name, LEGACY_SIZE, LEGACY_SIZE, matrix @ source.K, source.R, source.t)
        view = normalise_view(frame, mask, source, true.resized(size, size))
        views.append(replace(view, camera=written.resized(size, size)))
    return views, 1 / made.mm_per_unit


def _written(camera: Camera, K: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]) -> Camera:
    # Skew was dropped: the format holds fx, fy, cx, cy.
    K = np.array([[K[0, 0], 0, K[0, 2]], [0, K[1, 1], K[1, 2]], [0, 0, 1.0]])
    return Camera(camera.name, LEGACY_SIZE, LEGACY_SIZE, K, camera.R, t)


def _mean_distance(cameras: Sequence[Camera]) -> float:
    """Mean distance from the *world's origin*, wherever the calibration put it."""
    return float(np.mean([np.linalg.norm(camera.centre) for camera in cameras]))


def _centre_crop(camera: Camera) -> Float[np.ndarray, "3 3"]:
    """The largest centred square of the frame, resized to 512."""
    return _about(np.array([camera.width, camera.height]) / 2, LEGACY_SIZE / min(camera.width, camera.height), _MIDDLE)


def _about(point: Float[np.ndarray, "2"], scale: float, place: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3 3"]:
    """Scaling by ``scale`` that takes ``point`` to ``place``."""
    matrix = np.diag([scale, scale, 1.0])
    matrix[:2, 2] = place - scale * point
    return matrix


def _moved(silhouettes: Sequence[Silhouette], base: LegacyViews) -> list[Silhouette]:
    return [s.moved(matrix) for s, matrix in zip(silhouettes, base.matrices, strict=True)]


def _root_share(seen: Silhouette) -> float:
    return float(np.sqrt(seen.area)) / LEGACY_SIZE


def _then(base: LegacyViews, moves: Sequence[Float[np.ndarray, "3 3"]]) -> LegacyViews:
    """The pictures changed once more, the cameras left as they are."""
    return replace(base, matrices=tuple(m @ b for m, b in zip(moves, base.matrices, strict=True)))


def _equal_distances(base: LegacyViews) -> LegacyViews:
    """Every camera moved along its line to the origin until it is 2.7 away."""
    distances = [np.linalg.norm(camera.centre) for camera in base.cameras]
    written = [replace(c, t=c.t * FACELIFT_RADIUS / d) for c, d in zip(base.cameras, distances, strict=True)]
    scale = FACELIFT_RADIUS / float(np.mean(distances))
    return replace(base, cameras=tuple(written), mm_per_unit=base.mm_per_unit / scale)


def _levelled(base: LegacyViews) -> LegacyViews:
    """The world rotated so that the normal of the plane nearest to all cameras points up."""
    centres = np.stack([camera.centre for camera in base.cameras])
    normal = np.linalg.svd(centres - centres.mean(axis=0))[2][-1]
    normal = normal if normal[2] >= 0 else -normal
    # The shortest rotation from the normal to z, by Rodrigues' formula; the normal is never -z.
    x, y, z = normal
    cross = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0.0]])
    turn = np.eye(3) + cross + cross @ cross / (1 + z)
    return replace(base, cameras=tuple(replace(c, R=c.R @ turn.T) for c in base.cameras))
