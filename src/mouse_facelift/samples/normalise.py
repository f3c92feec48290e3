"""Normalisation, exact by construction: every change of pixels is written into the camera in the same function.

A view is re-aimed at the animal's 3-D centre - a rotation about the camera's own centre, so no parallax is invented -
and given a square focal length shared by all views::

    H = K_new R_look R^T K^-1        t_new = -R_look s (C - c)

Lens distortion is folded into the same single resampling. Nothing is shifted or scaled in 2-D.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.camera import intrinsics_from_fov
from mouse_facelift.cameras.poses import FACELIFT_HFOV_DEGREES, look_at_rotation
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.capture.pictures import Picture, RgbPicture

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
    return normalise_picture(RgbPicture(frame), BoxedMask.of(mask), camera, target)


def normalise_picture(picture: Picture, mask: BoxedMask, camera: Camera, target: Camera) -> NormalisedView:
    """:func:`normalise_view` at the cost of the animal: nothing but its surroundings is converted or resampled."""
    image = np.zeros((target.height, target.width, 4), np.uint8)
    if camera.distortion is None:
        at, known = None, _covered(camera, target)
    else:
        # A lens that bends lines needs the place of every pixel.
        at = source_pixels(camera, target, field_of_view_radius(camera))
        known = camera.contains(at)
    if not mask:
        return NormalisedView(image, target, known)
    # Rounded down: one more row of pixels in the mean blurs tails away. Against exact area sampling of the silhouettes
    # of a six-camera recording at 512 px, the worst view's IoU is 0.993 so and 0.982 with the nearest whole number.
    block = max(1, int(camera.K[0, 0] / target.K[0, 0]))
    rows, columns = (
        slice(max(0, span.start - _MARGIN), min(size, span.stop + _MARGIN))
        for span, size in ((mask.rows, mask.height), (mask.columns, mask.width))
    )
    crop = _premultiplied_blocks(picture.rgb(rows, columns), mask.within(rows, columns), block)
    # Pixels of the blocks, counted like OpenCV's from the first one's centre, to pixels of the frame.
    to_frame = np.array([[block, 0, columns.start + block / 2], [0, block, rows.start + block / 2], [0, 0, 1.0]])
    if at is None:
        _warp(crop, homography(camera, target) @ to_frame, image)
    else:
        _remap(crop, (at - to_frame[:2, 2]) / block, image)
    return NormalisedView(image, target, known)


def _premultiplied_blocks(
    frame: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], block: int
) -> Float32[np.ndarray, "h2 w2 4"]:
    """Premultiplied RGBA of a crop averaged over ``block`` x ``block`` pixels."""
    height, width = (-(-n // block) * block for n in mask.shape)
    image = np.zeros((height, width, 4), np.float32)
    _premultiply(frame, mask, image)
    if block > 1:
        image = cv2.resize(image, (width // block, height // block), interpolation=cv2.INTER_AREA).astype(
            np.float32, copy=False
        )
    return image


def _warp(
    crop: Float32[np.ndarray, "h w 4"], to_image: Float[np.ndarray, "3 3"], image: UInt8[np.ndarray, "s s 4"]
) -> None:
    """Resample ``crop`` (premultiplied) bilinearly into the part of ``image`` (straight, zero) that it reaches.

    ``to_image`` takes the crop's pixels, counted from the first one's centre, to the image's, counted from its corner.
    """
    height, width = crop.shape[:2]
    # Interpolation reaches a pixel beyond the centres of the outermost ones.
    corners = np.array([[-1, -1, 1], [width, -1, 1], [width, height, 1], [-1, height, 1]]) @ to_image.T
    rows, columns = slice(0, image.shape[0]), slice(0, image.shape[1])
    if (corners[:, 2] > 0).all():
        places = corners[:, :2] / corners[:, 2:]
        first, last = np.floor(places.min(axis=0)).astype(int), np.ceil(places.max(axis=0)).astype(int)
        rows, columns = (
            slice(max(0, a), min(size, b)) for a, b, size in zip(first[::-1], last[::-1], image.shape[:2], strict=True)
        )
    size = columns.stop - columns.start, rows.stop - rows.start
    if min(size) > 0:
        corner = np.array([[1, 0, columns.start + 0.5], [0, 1, rows.start + 0.5], [0, 0, 1.0]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(crop, np.linalg.inv(to_image) @ corner, size, flags=flags)
        _straighten(warped, image[rows, columns])


def _remap(
    crop: Float32[np.ndarray, "h w 4"], at: Float[np.ndarray, "s s 2"], image: UInt8[np.ndarray, "s s 4"]
) -> None:
    """Resample ``crop`` bilinearly into the part of ``image`` that it reaches; ``at`` is every pixel's place in it."""
    reached = (at > -1) & (at < [crop.shape[1], crop.shape[0]])
    part = BoxedMask.of(reached[..., 0] & reached[..., 1])
    if part:
        places = at[part.rows, part.columns].astype(np.float32)
        warped = cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        _straighten(warped, image[part.rows, part.columns])


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


def _covered(source: Camera, target: Camera) -> Bool[np.ndarray, "s s"]:
    """Which pixels of ``target`` the frame of a pinhole covers."""
    corners = np.array([[0, 0, 1], [source.width, 0, 1], [source.width, source.height, 1], [0, source.height, 1]])
    mapped = corners @ homography(source, target).T
    if (mapped[:, 2] <= 0).any():
        return source.contains(source_pixels(source, target))
    # fillConvexPoly counts from pixel centres and takes 1/16 px fixed point.
    outline = np.round((mapped[:, :2] / mapped[:, 2:] - 0.5) * 16).astype(np.int32)
    return cv2.fillConvexPoly(np.zeros((target.height, target.width), np.uint8), outline, 1, shift=4).view(bool)


@numba.njit(cache=True, nogil=True)
def _premultiply(
    frame: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], image: Float32[np.ndarray, "h2 w2 4"]
) -> None:  # pragma: no cover - compiled
    """Write the frame where the mask is set, opaque, into an image that is zero and may be larger."""
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column]:
                for channel in range(3):
                    image[row, column, channel] = frame[row, column, channel]
                image[row, column, 3] = 255


@numba.njit(cache=True, nogil=True)
def _straighten(
    premultiplied: Float32[np.ndarray, "h w 4"], image: UInt8[np.ndarray, "h w 4"]
) -> None:  # pragma: no cover - compiled
    """Write premultiplied [0, 255] floats as straight 8-bit RGBA; all stays zero where alpha rounds to zero."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            alpha = premultiplied[row, column, 3]
            if alpha >= np.float32(0.5):
                gain = np.float32(255) / alpha
                for channel in range(3):
                    level = np.rint(premultiplied[row, column, channel] * gain)
                    image[row, column, channel] = np.uint8(min(max(level, np.float32(0)), np.float32(255)))
                image[row, column, 3] = np.uint8(min(np.rint(alpha), np.float32(255)))
