"""FaceLift's sample folders, read and written without loss where the format allows.

A *sample folder* holds ``opencv_cameras.json`` and the images it names (``images/cam_000.png`` ...), or - the form that
FaceLift's multi-view diffusion reads - six images ``cam_000.png`` ... ``cam_005.png`` and no cameras: those are, by
FaceLift's convention, its six inference cameras in slot order (:func:`mouse_facelift.cameras.poses.facelift_rig`).
Source: FaceLift's data loaders, as described in their repository.

The world is FaceLift's normalised one. Folders of other software say nothing of millimetres: they come in with
``centre_mm`` zero and ``scale`` one, so "millimetres" of such samples are FaceLift's own units. Folders written here
carry what a row knows besides pixels and cameras in an entry of the JSON that FaceLift ignores (:class:`Origin`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.facelift import FILE_NAME, cameras_from_content, read_content, write_facelift
from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.plain import from_plain, to_plain
from mouse_facelift.samples.facelift_lists import stay_inside
from mouse_facelift.samples.gate import measure
from mouse_facelift.samples.png_check import is_damaged_png
from mouse_facelift.samples.schema import Agreement, Sample, encode_image
from mouse_facelift.storage import Store, inside

ORIGIN_KEY = "mouse_facelift"
BY_CONVENTION = "cameras by convention"
"""Appended to ``source`` of samples whose cameras are FaceLift's six and were not in the folder."""


@dataclass(frozen=True)
class Origin:
    """What a row knows besides pixels, cameras and measurements; the fields are those of :class:`Sample`."""

    sample_id: str
    capture: str
    frame: int = 0
    time_s: float = 0.0
    segment: int = 0
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    mask_source: str | None = None
    source: str | None = None
    camera: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = np.array([self.time_s, *self.centre_mm, self.scale])
        # Ids become names of files; that of a folder nobody checked must not lead out of where they are put.
        inside(self.sample_id)
        if not np.isfinite(numbers).all() or self.scale <= 0:
            raise InputError(f"sample {self.sample_id!r}: needs finite numbers and a scale above 0")
        if not 0 <= self.frame < 2**31 or not 0 <= self.segment < 2**15:
            raise InputError(f"sample {self.sample_id!r}: frame {self.frame} or segment {self.segment} is out of range")


def read_origin(folder: str | Path) -> Origin | None:
    """Where the sample in a folder came from; None for folders of other software.

    Raises:
        InputError: The folder's JSON cannot be read.
    """
    path = Path(folder) / FILE_NAME
    return _origin(path, read_content(path)) if path.exists() else None


def _origin(path: Path, content: Mapping[str, Any]) -> Origin | None:
    return from_plain(Origin, content[ORIGIN_KEY], source=str(path)) if ORIGIN_KEY in content else None


def read_sample(folder: str | Path, default: Origin | None = None, source: str = "facelift") -> Sample:
    """A sample folder as a sample, measured as the gate measures.

    Eight-bit RGBA comes in exactly, RGB as opaque. Of sixteen-bit images the high byte counts, as in FaceLift's loader.
    Images all opaque are no masks: ``mask_source`` is then "none" and the gate's numbers are nan; otherwise "images".

    Args:
        folder: With ``opencv_cameras.json``, or with six images and no cameras.
        default: What to call a sample that does not say; by default after its folder and the folder around that.
        source: What to call where the images came from, for a sample that does not say.

    Raises:
        InputError: An image is missing, not square, not of its camera's or the others' size, or outside the folder.
    """
    folder = Path(folder).absolute()
    path = folder / FILE_NAME
    if path.exists():
        content = read_content(path)
        cameras, names = cameras_from_content(path, content)
        images = [_read_image(folder, name) for name in names]
        stated = _origin(path, content)
    else:
        images, stated = _read_slots(folder), None
        # FaceLift renders and trains at one side; its cameras scale with the images.
        cameras = [camera.resized(*image.shape[:2]) for camera, image in zip(facelift_rig(), images, strict=True)]
        names = [f"cam_{slot:03d}.png" for slot in range(len(images))]
        source = f"{source}, {BY_CONVENTION}"
    for image, camera, name in zip(images, cameras, names, strict=True):
        _check_size(folder / name, image, camera, images[0])
    origin = stated or default or Origin(f"{folder.parent.name}-{folder.name}", folder.parent.name)
    return _assemble(path, np.stack(images), cameras, origin, source)


def _assemble(
    path: Path, images: UInt8[np.ndarray, "v s s 4"], cameras: Sequence[Camera], origin: Origin, source: str
) -> Sample:
    if origin.camera:
        if len(origin.camera) != len(cameras):
            raise InputError(f"{path}: names {len(origin.camera)} cameras for {len(cameras)} frames; export it again")
        cameras = [replace(camera, name=name) for camera, name in zip(cameras, origin.camera, strict=True)]
    masked = bool((images[..., 3] < 255).any())
    return Sample(
        sample_id=origin.sample_id,
        capture=origin.capture,
        frame=origin.frame,
        time_s=origin.time_s,
        segment=origin.segment,
        images=images,
        cameras=tuple(cameras),
        centre_mm=np.array(origin.centre_mm),
        scale=origin.scale,
        agreement=_measure(images, cameras, masked),
        mask_source=origin.mask_source or ("images" if masked else "none"),
        source=origin.source or source,
    )


def _measure(images: UInt8[np.ndarray, "v s s 4"], cameras: Sequence[Camera], masked: bool) -> Agreement:
    """The gate's numbers; nan where there are no masks to measure, or no second view to agree with."""
    if masked and len(cameras) > 1:
        # What lay outside the source frames is not recorded in folders: every pixel counts as seen.
        return measure(images, np.ones(images.shape[:3], bool), cameras)
    unknown = np.full(len(cameras), np.nan, np.float32)
    fractions = (images[..., 3] > 127).mean(axis=(1, 2), dtype=np.float32) if masked else unknown
    return Agreement(fractions, unknown, unknown, float("nan"), unknown, unknown, unknown)


def _read_slots(folder: Path) -> list[UInt8[np.ndarray, "h w 4"]]:
    """The images of a folder without cameras, which must be FaceLift's six."""
    found = sorted(p.name for p in folder.glob("cam_*.png"))
    expected = [f"cam_{slot:03d}.png" for slot in range(len(facelift_rig()))]
    if found != expected:
        raise InputError(
            f"{folder}: has no {FILE_NAME}, and its images are not FaceLift's six slots {expected[0]} to "
            f"{expected[-1]} (found {', '.join(found) or 'none'}); add the cameras"
        )
    return [_read_image(folder, name) for name in expected]


def _read_image(folder: Path, name: str) -> UInt8[np.ndarray, "h w 4"]:
    try:
        path = stay_inside(folder / inside(name), folder, str(folder / FILE_NAME))
    except InputError as error:
        raise InputError(f"{folder / FILE_NAME}: file_path {name!r}: {error}") from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore it or leave its sample out") from error
    whole = bool(data) and not is_damaged_png(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: is not a whole image of 8 or 16 bits per channel; restore it or leave it out")
    if image.dtype == np.uint16:
        image = np.right_shift(image, 8).astype(np.uint8)
    channels = 1 if image.ndim == 2 else image.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
    return cv2.cvtColor(image, codes[channels])


def _check_size(
    path: Path, image: UInt8[np.ndarray, "h w 4"], camera: Camera, first: UInt8[np.ndarray, "h w 4"]
) -> None:
    height, width = image.shape[:2]
    if width != height:
        raise InputError(f"{path}: is {width}x{height}, FaceLift's images are square; crop it and its camera")
    if (camera.width, camera.height) != (width, height):
        raise InputError(
            f"{path}: is {width}x{height}, its camera says {camera.width}x{camera.height}; make w, h, fx, fy, cx, cy "
            "those of the image"
        )
    if image.shape != first.shape:
        raise InputError(f"{path}: is {width}x{height}, another view {first.shape[1]}x{first.shape[0]}; make one size")


def write_sample(folder: str | Path, sample: Sample) -> None:
    """Write a sample folder, to a local path or a URI; the JSON last, so that it marks the folder as complete.

    Raises:
        InputError: Images that are not square, which FaceLift refuses.
    """
    store = Store.at(folder)
    height, width = sample.images.shape[1:3]
    if height != width:
        raise InputError(f"sample {sample.sample_id}: {width}x{height} px, FaceLift's images are square; preprocess it")
    names = [f"images/cam_{view:03d}.png" for view in range(len(sample.cameras))]
    for name, image in zip(names, sample.images, strict=True):
        store.write(name, encode_image(image))
    origin = Origin(
        sample_id=sample.sample_id,
        capture=sample.capture,
        frame=sample.frame,
        time_s=sample.time_s,
        segment=sample.segment,
        centre_mm=(float(sample.centre_mm[0]), float(sample.centre_mm[1]), float(sample.centre_mm[2])),
        scale=sample.scale,
        mask_source=sample.mask_source,
        source=sample.source,
        camera=tuple(camera.name for camera in sample.cameras),
    )
    extra = {ORIGIN_KEY: to_plain(origin)}
    write_facelift(store.path(FILE_NAME), store.name, sample.cameras, names, extra)
