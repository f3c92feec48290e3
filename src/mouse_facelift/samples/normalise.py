"""Normalisation, exact by construction: every change of pixels is written into the camera in the same function.

A view is re-aimed at the animal's 3-D centre - a rotation about the camera's own centre, so no parallax is invented -
and given a square focal length shared by all views::

    H = K_new R_look R^T K^-1        t_new = -R_look s (C - c)

Lens distortion is folded into the same single resampling. Nothing is shifted or scaled in 2-D.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.camera import intrinsics_from_fov
from mouse_facelift.cameras.poses import FACELIFT_HFOV_DEGREES, look_at_rotation

# Pixels kept around the silhouette, so that interpolation at its edge sees true zeros and not the crop's border.
_MARGIN = 4


@dataclass(frozen=True)
class NormalisedView:
    """A re-aimed view: ``camera`` describes ``image``; ``known`` marks pixels that the source frame covers."""

    image: UInt8[np.ndarray, "s s 4"]
    camera: Camera
    known: Bool[np.ndarray, "s s"]


def normalised_camera(camera: Camera, centre: Float[np.ndarray, "3"], scale: float, size: int, zoom: float) -> Camera:
    """The camera that looks at ``centre`` from the same place, in the world ``X' = scale (X - centre)``.

    The focal length is FaceLift's (horizontal field of view 50 degrees) times ``zoom``, the same for every view.
    """
    K = intrinsics_from_fov(FACELIFT_HFOV_DEGREES, size, size)
    K[:2, :2] *= zoom
    R = look_at_rotation(camera.centre, centre)
    return Camera(camera.name, size, size, K, R, -R @ (scale * (camera.centre - centre)))


def homography(source: Camera, target: Camera) -> Float[np.ndarray, "3 3"]:
    """Source pixels to target pixels (corner origin) for two pinholes at one centre: ``K' R' R^T K^-1``."""
    return target.K @ target.R @ source.R.T @ np.linalg.inv(source.K)


def normalise_view(
    frame: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    camera: Camera,
    target: Camera,
) -> NormalisedView:
    """Resample one decoded view of the animal into ``target`` (from :func:`normalised_camera`).

    Colour is premultiplied by the mask while resampling and stored straight; where the animal is not, RGBA is zero.
    When the target has coarser pixels than the source, the source is first averaged over whole blocks of pixels (an
    exact change of its intrinsics), so that nothing aliases.
    """
    size = target.width
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    field_radius = field_of_view_radius(camera)
    known = _covered(camera, target, field_radius)
    if not len(rows):
        return NormalisedView(np.zeros((size, size, 4), np.uint8), target, known)
    # Rounded down: one more row of pixels in the mean blurs tails away. Against exact area sampling of the silhouettes
    # of a six-camera recording at 512 px, the worst view's IoU is 0.993 so and 0.982 with the nearest whole number.
    block = max(1, int(camera.K[0, 0] / target.K[0, 0]))
    top, left = max(0, rows[0] - _MARGIN), max(0, columns[0] - _MARGIN)
    region = (slice(top, rows[-1] + 1 + _MARGIN), slice(left, columns[-1] + 1 + _MARGIN))
    premultiplied, crop = _premultiplied_blocks(frame[region], mask[region], camera, (left, top), block)
    warped = _warp(premultiplied, crop, target, field_radius)
    return NormalisedView(_straight_rgba(warped), target, known)


def _premultiplied_blocks(
    frame: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    camera: Camera,
    corner: tuple[int, int],
    block: int,
) -> tuple[Float32[np.ndarray, "h2 w2 4"], Camera]:
    """Premultiplied RGBA of a crop averaged over ``block`` x ``block`` pixels, and the camera of the result."""
    height, width = (-(-n // block) * block for n in mask.shape)
    image = np.zeros((height, width, 4), np.float32)
    # The mask is 0 or 1, so bytes hold the product exactly; floats begin where pixels are averaged.
    opaque = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2RGBA)
    image[: mask.shape[0], : mask.shape[1]] = cv2.bitwise_and(opaque, opaque, mask=mask.astype(np.uint8))
    if block > 1:
        image = cv2.resize(image, (width // block, height // block), interpolation=cv2.INTER_AREA)
    K = camera.K.copy()
    K[:2, 2] -= corner
    K[:2] /= block
    return image, replace(camera, K=K, width=width // block, height=height // block)


def _warp(
    image: Float32[np.ndarray, "h w 4"], source: Camera, target: Camera, field_radius: float
) -> Float32[np.ndarray, "s s 4"]:
    """Bilinear resampling of ``image`` (described by ``source``) into ``target``; zero outside."""
    shape = (target.width, target.height)
    if source.distortion is not None:
        # OpenCV's maps count from the first pixel's centre.
        at = (source_pixels(source, target, field_radius) - 0.5).astype(np.float32)
        return cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    to_source = np.linalg.inv(half) @ homography(target, source) @ half
    return cv2.warpPerspective(image, to_source, shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def field_of_view_radius(camera: Camera) -> float:
    """Largest ideal image-plane radius that the frame shows.

    A distortion polynomial is fitted inside the frame; beyond it, it may fold back and show the animal twice.
    """
    along = np.linspace(0, 1, 33)
    edge = [(x, y) for a in along for x, y in ((a, 0.0), (a, 1.0), (0.0, a), (1.0, a))]
    plane = camera.plane_from_pixels(np.array(edge) * [camera.width, camera.height])
    return float(np.linalg.norm(plane, axis=-1).max())


def source_pixels(source: Camera, target: Camera, field_radius: float = np.inf) -> Float[np.ndarray, "s s 2"]:
    """For every pixel centre of ``target``, the pixel of ``source`` that sees the same direction.

    Directions behind the source or beyond ``field_radius`` map far outside its frame.
    """
    grid = np.stack(np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5), axis=-1)
    plane = (grid - target.K[:2, 2]) / [target.K[0, 0], target.K[1, 1]]
    direction = np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1) @ (target.R @ source.R.T)
    ahead = direction[..., 2:] > 1e-6
    plane = direction[..., :2] / np.where(ahead, direction[..., 2:], 1)
    seen = ahead & (np.linalg.norm(plane, axis=-1, keepdims=True) <= field_radius)
    return np.where(seen, source.pixels_from_plane(np.where(seen, plane, 0)), -1e6)


def _covered(source: Camera, target: Camera, field_radius: float) -> Bool[np.ndarray, "s s"]:
    """Which pixels of ``target`` the source frame covers."""
    corners = np.array([[0, 0, 1], [source.width, 0, 1], [source.width, source.height, 1], [0, source.height, 1]])
    mapped = corners @ homography(source, target).T
    if source.distortion is not None or (mapped[:, 2] <= 0).any():
        return source.contains(source_pixels(source, target, field_radius))
    # fillConvexPoly counts from pixel centres and takes 1/16 px fixed point.
    outline = np.round((mapped[:, :2] / mapped[:, 2:] - 0.5) * 16).astype(np.int32)
    return cv2.fillConvexPoly(np.zeros((target.height, target.width), np.uint8), outline, 1, shift=4).astype(bool)


def _straight_rgba(premultiplied: Float32[np.ndarray, "s s 4"]) -> UInt8[np.ndarray, "s s 4"]:
    """Premultiplied [0, 255] floats to straight 8-bit RGBA; everything is zero where alpha rounds to zero."""
    image = np.zeros(premultiplied.shape, np.uint8)
    solid = premultiplied[..., 3] >= 0.5
    left, top, width, height = cv2.boundingRect(solid.view(np.uint8))
    rows, columns = np.nonzero(solid[top : top + height, left : left + width])
    rows, columns = rows + top, columns + left
    pixels = premultiplied[rows, columns]
    pixels[:, :3] *= 255 / pixels[:, 3:]
    image[rows, columns] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return image
