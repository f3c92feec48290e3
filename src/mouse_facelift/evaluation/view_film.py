"""A film of one camera over time: what it saw beside what a sequence of Gaussians looks like from there, and how much
both flicker."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.evaluation.flicker import Flicker, FlickerMeter
from mouse_facelift.evaluation.report import format_number
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render
from mouse_facelift.gaussians.sequence_row import SequenceFrame
from mouse_facelift.samples.schema import decode_views

Picture = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]
# Moments farther apart than this many of the shortest step do not follow one another.
_GAP = 1.5


@dataclass(frozen=True, eq=False)
class FilmMoment:
    """One moment of one camera.

    Attributes:
        row: The sample, a row of `SAMPLE_SCHEMA`.
        view: Which of its views.
        frame: The Gaussians, as they are in the sequence: steadied or not.
    """

    row: Mapping[str, Any]
    view: int
    frame: SequenceFrame


@dataclass(frozen=True)
class ViewFilm:
    """What one camera says about a sequence."""

    moments: int
    truth: Flicker
    """Of the camera's own pictures, on the animal: what noise, light and wrong flow alone give."""
    rendered: Flicker
    """Of the sequence as it is, through the same camera."""
    unsteadied: Flicker
    """Of the sequence before it was steadied; equal where it was not."""
    mask_iou: float
    """Of rendered and seen silhouettes, mean over time."""
    mask_iou_unsteadied: float
    """The same before it was steadied."""

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> ViewFilm:
        """The inverse of `asdict`, None standing for nan."""

        def number(value: Any) -> Any:
            return math.nan if value is None else value

        def flicker(name: str) -> Flicker:
            return Flicker(**{key: number(value) for key, value in plain[name].items()})

        return ViewFilm(
            plain["moments"],
            flicker("truth"),
            flicker("rendered"),
            flicker("unsteadied"),
            number(plain["mask_iou"]),
            number(plain["mask_iou_unsteadied"]),
        )

    def words(self) -> str:
        """For a person."""
        residuals = (format_number(1e3 * flicker.residual, 1) for flicker in (self.rendered, self.truth))
        text = "flicker {} thousandths of the range, the recording's own {}".format(*residuals)
        if self.unsteadied != self.rendered:
            text += f"; before steadying {format_number(1e3 * self.unsteadied.residual, 1)}, mask IoU "
            return text + f"{format_number(self.mask_iou_unsteadied)} -> {format_number(self.mask_iou)}"
        return text + f"; mask IoU {format_number(self.mask_iou)}"


def write_view_film(
    path: Path | None, moments: Iterable[FilmMoment], size: int, fps: float, backend: Backend = "auto"
) -> ViewFilm:
    """Write the film (whole or not at all) and measure; one moment is in memory at a time.

    Args:
        path: The file; None only measures.
        moments: In order of time, with pictures of one size.
        size: About how large each of the two pictures is on the film, pixels; a whole multiple of the stored ones.
        fps: Pictures per second.
        backend: Who draws.
    """
    from mouse_facelift.capture.video import VideoWriter

    truth, rendered, unsteadied = FlickerMeter(), FlickerMeter(), FlickerMeter()
    overlaps, overlaps_before = [], []
    before: SequenceFrame | None = None
    step = math.inf
    with contextlib.ExitStack() as stack:
        writer: VideoWriter | None = None
        for moment in moments:
            frame = moment.frame
            seen, mask, camera = _seen(moment)
            shown, alpha = _drawn(_shifted(frame), camera, backend)
            follows, step = _follows(before, frame, step)
            truth.add(seen, mask, follows)
            rendered.add(shown, alpha, follows)
            overlaps.append(_overlap(alpha, mask))
            if frame.shift_mm.any():
                earlier, alpha = _drawn(frame.gaussians, camera, backend)
                unsteadied.add(earlier, alpha, follows)
            else:
                unsteadied.add(shown, alpha, follows)
            overlaps_before.append(_overlap(alpha, mask))
            before = frame
            if path is None:
                continue
            picture = _enlarged(np.concatenate([seen, shown], axis=1), max(1, size // seen.shape[0]))
            if writer is None:
                writer = stack.enter_context(VideoWriter(path, picture.shape[1], picture.shape[0], fps))
            writer.write(picture)
    measured = truth.result(), rendered.result(), unsteadied.result()
    return ViewFilm(len(overlaps), *measured, _mean(overlaps), _mean(overlaps_before))


def _seen(moment: FilmMoment) -> tuple[Picture, Mask, Camera]:
    """The camera's picture on white, its mask, and the camera."""
    images, w2c, fxfycxcy = decode_views(moment.row, [moment.view])
    alpha = images[0, ..., 3:].astype(np.float32) / 255
    picture = np.rint(images[0, ..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    height, width = picture.shape[:2]
    fx, fy, cx, cy = fxfycxcy[0].astype(np.float64)
    pose = w2c[0].astype(np.float64)
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    camera = Camera(moment.row["camera"][moment.view], width, height, K, pose[:3, :3], pose[:3, 3])
    return picture, alpha[..., 0] > 0.5, camera


def _shifted(frame: SequenceFrame) -> Gaussians:
    """The Gaussians in the sample's normalised world, where steadying put them."""
    if not frame.shift_mm.any():
        return frame.gaussians
    shift = torch.from_numpy(frame.shift_mm * frame.scale).float()
    return replace(frame.gaussians, means=frame.gaussians.means + shift)


def _drawn(gaussians: Gaussians, camera: Camera, backend: Backend) -> tuple[Picture, Mask]:
    w2c = torch.from_numpy(camera.w2c).float()[None]
    fxfycxcy = torch.from_numpy(camera.fxfycxcy).float()[None]
    with torch.no_grad():
        view = render(gaussians, w2c, fxfycxcy, camera.width, camera.height, backend=backend)
    return (view.rgb[0].clamp(0, 1) * 255).round().byte().numpy(), (view.alpha[0] > 0.5).numpy()


def _follows(before: SequenceFrame | None, frame: SequenceFrame, step: float) -> tuple[bool, float]:
    """Whether a frame follows the one before, and the shortest step between two so far, seconds."""
    if before is None or before.index.segment != frame.index.segment:
        return False, step
    since = frame.index.time_s - before.index.time_s
    return since <= _GAP * min(step, since), min(step, since)


def _overlap(a: Mask, b: Mask) -> float:
    union = int((a | b).sum())
    return math.nan if not union else float((a & b).sum() / union)


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _enlarged(picture: Picture, factor: int) -> Picture:
    """Every pixel as a square, and a row or column of white where a side would be odd."""
    large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = large.shape[:2]
    return np.pad(large, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
