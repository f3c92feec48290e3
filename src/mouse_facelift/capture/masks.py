"""Silhouettes of the animal: read from mask videos or images, or made from the difference to an empty arena.

Made masks are for recordings that come without any: one animal that is darker (or lighter) than what is behind it,
static cameras. They keep the body and most of the feet; a tail or ear of the arena's own brightness is lost, and floor
reflections are cut off where they are visibly fainter than the fur. The report calls them "estimated".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mouse_facelift.capture.boxed_mask import BoxedMask, Mask
from mouse_facelift.capture.capture import View
from mouse_facelift.capture.pictures import Picture, RgbPicture
from mouse_facelift.capture.video import Decoder, probe, read_frames, read_pictures
from mouse_facelift.errors import InputError
from mouse_facelift.samples.png_check import is_damaged_png

Rgb = UInt8[np.ndarray, "h w 3"]
# Grey levels added to the background before dividing by it: sensor noise must not decide in the dark.
NOISE_LEVELS = 16.0
# A piece of the body has at least this share of the largest piece's area.
PART_OF_LARGEST = 0.2
# What touches the image's edge over less than this, in units of the square root of its area, only grazes it.
GRAZING_CONTACT = 0.2
# Mean side, in pixels, of the reduced images in which the animal is first looked for.
FIRST_LOOK_SIDE = 400
# How far around that place the silhouette may reach, in units of its longer side.
SEARCH_MARGIN = 1.0


@dataclass(frozen=True)
class MaskConfig:
    """How silhouettes are found.

    Attributes:
        video_threshold: Grey level (or alpha) above which a pixel of a mask video or image is the animal; lossy masks
            are not 0 and 255.
        min_fraction, max_fraction: Share of the image that an animal covers; anything else is not one.
        animal: Whether it is darker or lighter than the arena; only for masks made from a background.
        background_frames: Frames, spread evenly over the recording, that the background is made from.
        background_quantile: Quantile over those frames, counted from the animal's side of the scale: at 0.8 a place is
            seen empty unless the animal sits on it for 80 % of the recording. 0.5 is the median.
        contrast: Relative difference to the background that surely is the animal or its reflection.
        fur_quantile: Quantile of the brightness of such pixels taken as that of fur, again from the animal's side.
        opacity: How far from background (0) to fur (1) a pixel of the body is; reflections on the floor stay below.
        edge_opacity: The same for pixels that touch the body: soft edges, ears, feet.
        detail: Width of the bridges that are cut and the gaps that are closed, relative to the image's mean side.
        growth: How far from the body such touching pixels may lie, relative to the image's mean side.

    Raises:
        InputError: A threshold that is no grey level, or above which there is none.
    """

    video_threshold: int = 127
    min_fraction: float = 0.0005
    max_fraction: float = 0.3
    animal: Literal["dark", "light"] = "dark"
    background_frames: int = 61
    background_quantile: float = 0.8
    contrast: float = 0.5
    fur_quantile: float = 0.3
    opacity: float = 0.8
    edge_opacity: float = 0.4
    detail: float = 0.0075
    growth: float = 0.006

    def __post_init__(self) -> None:
        if not 0 <= self.video_threshold < 255:
            raise InputError(
                f"masks: video-threshold is {self.video_threshold}; grey levels above it are the animal, so it must be "
                "from 0 to 254"
            )


def mask_from_video(image: Rgb, config: MaskConfig | None = None) -> Mask:
    """The silhouette in a decoded frame of a mask video: its largest connected part, holes kept.

    All False where nothing in it has the size of an animal.
    """
    return _mask_in(RgbPicture(image), config or MaskConfig()).full()


def _mask_in(picture: Picture, config: MaskConfig) -> BoxedMask:
    return _animal(picture.bright(config.video_threshold), config, picture.height * picture.width)


def mask_from_image(path: Path, width: int, height: int, config: MaskConfig | None = None) -> Mask:
    """The silhouette in a PNG: of its alpha where it has any, otherwise of its brightness; largest part, holes kept.

    Values are read as shares of the file's range, so 16-bit masks work; a mask of labels 0 and 1 is not one of these.

    Raises:
        InputError: There is no such file, it is not an image, or not one of ``width`` x ``height`` pixels.
    """
    return _mask_in_image(path, width, height, config or MaskConfig()).full()


def _mask_in_image(path: Path, width: int, height: int, config: MaskConfig) -> BoxedMask:
    if not path.is_file():
        raise InputError(f"{path}: there is no mask image of this frame; add it, or leave the frame out")
    data = path.read_bytes()
    # OpenCV reads a PNG that is cut short or changed, and shows something else in its place.
    whole = bool(data) and not is_damaged_png(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if image is None:
        raise InputError(f"{path}: is not a readable image; write the mask again")
    if image.shape[:2] != (height, width):
        raise InputError(
            f"{path}: the mask is {image.shape[1]}x{image.shape[0]} and its video {width}x{height}; "
            "make the masks from that video"
        )
    if image.dtype == np.uint16:
        image = np.right_shift(image, 8).astype(np.uint8)
    if image.ndim == 3:
        image = image[..., 3] if image.shape[2] == 4 else image.max(axis=2)
    _, bright = cv2.threshold(np.ascontiguousarray(image), config.video_threshold, 1, cv2.THRESH_BINARY)
    return _animal(bright, config, bright.size)


def read_masks(
    view: View, frames: Sequence[int], background: Rgb | None, config: MaskConfig, decoder: Decoder = "auto"
) -> Iterator[BoxedMask | InputError]:
    """One view's silhouettes in frames of its recording, wherever they come from.

    Args:
        view: The view; its mask video comes first, then its mask images, then an estimate.
        frames: Ascending numbers of frames of the recording, all of which the view has.
        background: The empty arena; only for views without masks.
        config: See :class:`MaskConfig`.
        decoder: Video decoder.

    Yields:
        Per frame its silhouette, or what is wrong with its mask image.

    Raises:
        InputError: A video cannot be decoded (any further).
    """
    numbers = view.source_frames(frames)
    if view.mask_video is not None:
        for _, picture in read_pictures(view.mask_video, numbers, decoder):
            yield _mask_in(picture, config)
    elif view.mask_images is not None:
        for number in numbers:
            try:
                yield _mask_in_image(view.mask_image(number), view.camera.width, view.camera.height, config)
            except InputError as error:
                yield error
    else:
        if background is None:
            raise ValueError(f"view {view.name} has no masks: its background is needed")
        for _, image in read_frames(view.video, numbers, decoder):
            yield BoxedMask.of(mask_from_background(image, background, config))


def estimate_background(video: str | Path, config: MaskConfig | None = None, decoder: Decoder = "auto") -> Rgb:
    """The arena without the animal, from frames spread over the whole recording.

    A quantile on the arena's side of the median: an animal that sits still for most of the recording would leave its
    own ghost in the median.

    Raises:
        InputError: The video cannot be read.
    """
    config = config or MaskConfig()
    count = probe(video).frame_count
    chosen = np.unique(np.linspace(0, count - 1, min(config.background_frames, count)).round().astype(int))
    stack = np.stack([image for _, image in read_frames(video, chosen.tolist(), decoder)])
    quantile = config.background_quantile if config.animal == "dark" else 1 - config.background_quantile
    rank = round(quantile * (len(stack) - 1))
    # In strips: a partition copies what it sorts, and a whole recording's stack is hundreds of megabytes.
    strips = np.array_split(stack, max(1, stack.shape[1] // 64), axis=1)
    return np.concatenate([np.partition(strip, rank, axis=0)[rank] for strip in strips])


def mask_from_background(frame: Rgb, background: Rgb, config: MaskConfig | None = None) -> Mask:
    """The silhouette of the one animal in front of a known background.

    The darkest sizeable difference is the animal with its reflection; its fur's brightness then gives every pixel an
    opacity between background and fur, in which the reflection (a mixture of both) falls short of the body. Small holes
    (eyes, ears, highlights) are filled, since the arena is not seen through an animal.

    Args:
        frame: The image.
        background: The empty arena, as :func:`estimate_background` gives it.
        config: See :class:`MaskConfig`.

    Returns:
        The silhouette; all False where nothing has the size of an animal.
    """
    config = config or MaskConfig()
    if frame.shape != background.shape:
        raise ValueError(f"frame {frame.shape} and background {background.shape} differ in size")
    side, pixels = float(np.sqrt(frame.shape[0] * frame.shape[1])), frame.shape[0] * frame.shape[1]
    mask = np.zeros(frame.shape[:2], bool)
    found = _first_look(frame, background, config)
    if found is None:
        return mask
    window, seed = found
    here, empty = (_brightness(image[window], config) for image in (frame, background))
    fur = np.quantile(here[seed], config.fur_quantile)
    kernel = _disc(config.detail * side)
    opacity = (empty - here) / np.maximum(empty - fur, NOISE_LEVELS)
    body = cv2.morphologyEx((opacity > config.opacity).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    # Before a background as dark as fur there is no difference to see: inside the outline, the body goes on there.
    body |= _hull(_large_parts(body)) & (here < fur + NOISE_LEVELS / 2).astype(np.uint8)
    body = _animal(cv2.morphologyEx(body, cv2.MORPH_CLOSE, kernel), config, pixels).full().astype(np.uint8)
    allowed = (opacity > config.edge_opacity).astype(np.uint8) | body
    grown, step = body, _disc(3)
    for _ in range(max(1, round(config.growth * side))):
        grown = cv2.dilate(grown, step) & allowed
    mask[window] = _filled(_animal(cv2.morphologyEx(grown, cv2.MORPH_OPEN, step), config, pixels).full())
    return mask


def _first_look(frame: Rgb, background: Rgb, config: MaskConfig) -> tuple[tuple[slice, slice], Mask] | None:
    """A window about the darkest sizeable difference, and that difference in it; None without one.

    On every few pixels only: a rough place and the brightness of what is there are asked for.
    """
    step = max(1, round(float(np.sqrt(frame.shape[0] * frame.shape[1])) / FIRST_LOOK_SIDE))
    here, empty = (_brightness(image[::step, ::step], config) for image in (frame, background))
    kernel = _disc(config.detail * float(np.sqrt(here.size)))
    first = ((empty - here) > config.contrast * (empty + NOISE_LEVELS)).astype(np.uint8)
    first = cv2.morphologyEx(first, cv2.MORPH_OPEN, kernel)
    # People and their shadows come in from the edge of the image; an animal touches it at most with its reflection.
    found = _animal(_clear_of_edges(first), config, here.size) or _animal(first, config, here.size)
    if not found:
        return None
    rows, columns = _window(found, margin=SEARCH_MARGIN)
    part = found.full()[rows, columns].astype(np.uint8).repeat(step, axis=0).repeat(step, axis=1).astype(bool)
    window = slice(rows.start * step, rows.stop * step), slice(columns.start * step, columns.stop * step)
    height, width = frame[window].shape[:2]
    return window, part[:height, :width]


def _brightness(image: Rgb, config: MaskConfig) -> Float[np.ndarray, "h w"]:
    """Grey levels in which the animal is dark.

    Of a dark animal's arena the darkest channel is taken: coloured light (infrared strobes, laser lines) comes and goes
    in the others, and pink skin is dark in it too.
    """
    red, green, blue = cv2.split(np.ascontiguousarray(image))
    dark = config.animal == "dark"
    grey = cv2.min(cv2.min(red, green), blue) if dark else 255 - cv2.max(cv2.max(red, green), blue)
    return cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)


def _disc(diameter: float) -> UInt8[np.ndarray, "d d"]:
    size = max(3, round(diameter) | 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.uint8)


def _animal(mask: UInt8[np.ndarray, "h w"], config: MaskConfig, pixels: int) -> BoxedMask:
    """The largest connected part of a mask, or nothing if its share of the image's pixels is not an animal's."""
    found = BoxedMask.of(mask)
    if not found:
        return found
    # Labelling costs the most of all; outlines tell for less that there is nothing to choose.
    box = found.inside.view(np.uint8)
    _, nested = cv2.findContours(box, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    area = cv2.countNonZero(box)
    if np.count_nonzero(nested[0, :, 3] < 0) > 1:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(box, connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        largest = int(areas.argmax())
        area = int(areas[largest])
        part = BoxedMask.of(labels == largest + 1)
        found = part.moved(found.top, found.left, found.height, found.width)
    if config.min_fraction * pixels <= area <= config.max_fraction * pixels:
        return found
    return BoxedMask.of(np.zeros(mask.shape, bool))


def _clear_of_edges(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The connected parts of a mask that do not come in from the image's edge, but at most graze it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    edges = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    contact = np.bincount(edges, minlength=count)
    inside = contact <= GRAZING_CONTACT * np.sqrt(stats[:, cv2.CC_STAT_AREA])
    return mask & inside.astype(np.uint8)[labels.astype(np.int32, copy=False)]


def _large_parts(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The largest connected part and those not much smaller: an animal that a post in the background cuts in pieces."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = np.concatenate([[0], areas >= PART_OF_LARGEST * areas.max(initial=0)]).astype(np.uint8)
    return large[labels.astype(np.int32, copy=False)]


def _hull(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The filled convex outline of a mask; empty for an empty one."""
    points = cv2.findNonZero(mask)
    hull = np.zeros_like(mask)
    return hull if points is None else cv2.fillConvexPoly(hull, cv2.convexHull(points), 1).astype(np.uint8)


def _window(mask: BoxedMask, margin: float) -> tuple[slice, slice]:
    """The bounding box of a mask, widened on every side by ``margin`` times its longer side."""
    reach = int(margin * max(mask.inside.shape))
    rows, columns = (slice(max(0, span.start - reach), span.stop + reach) for span in (mask.rows, mask.columns))
    return rows, columns


def _filled(mask: Mask) -> Mask:
    """The mask without holes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool)
