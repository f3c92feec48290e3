"""Which camera of a sample is which view of the model, and the pictures and cameras in that order.

View 0 is the reference. A model of named slots takes cameras by azimuth (`cameras.slots`); one that is told its
cameras by rays takes them as they come. Where the rig looks alike from several cameras, each may be the reference: an
augmentation that invents nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped, UInt8
from torch import Tensor

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.slots import (
    assign_slots,
    cameras_in_slots,
    equivalent_references,
)
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.augment import mirrored
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET, CameraConditioning
from mouse_facelift.samples.reduction import reduced_images, reduced_intrinsics, reduction_factor
from mouse_facelift.samples.schema import decode_image, placed

Row = Mapping[str, Any]

BACKGROUNDS: Mapping[str, float] = MappingProxyType({"white": 1.0, "black": 0.0, "grey": 0.5})
"""Level of all three channels of each background, FaceLift's three."""

ANY_RIG = (
    f"a model with camera conditioning (rays) and the slots {' '.join(REFERENCE_AND_TARGET)} serves any number of views"
)


@dataclass(frozen=True)
class ViewsConfig:
    """Which views a model of one image to many is trained on.

    Raises:
        InputError: a value that means nothing.
    """

    image_size: int = 512
    """Side of the images that are trained on (pixels); larger ones are averaged down to it, exactly."""
    references: tuple[str, ...] = ()
    """Cameras that may be the reference, by name; one is drawn for every sample and step, the first is used to
    evaluate. When empty: for named slots the camera that fits them best and those from which the rig looks the same,
    with rays every camera."""
    num_targets: int = 0
    """With slots "reference" "target": views beside the reference, drawn anew for every sample and step; 0 for all."""
    background: Literal["three_choices", "white", "black", "grey"] = "three_choices"
    """What lies behind the animal, in all views of a sample; "three_choices" draws one of the three."""
    mirror: bool = False
    """With rays: show every other sample in a mirror, pictures and cameras alike. Twice the samples, all exact, for an
    animal whose left and right are alike."""

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.num_targets < 0:
            raise InputError(
                f"views: image_size is {self.image_size} and num_targets {self.num_targets}; "
                "they must be at least 1 and 0"
            )

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """Names of the backgrounds a sample may get; the first is used to evaluate."""
        return tuple(BACKGROUNDS) if self.background == "three_choices" else (self.background,)


@dataclass(frozen=True)
class ViewRule:
    """How many views a model has, and what tells them apart."""

    slots: tuple[str, ...]
    cameras: CameraConditioning

    def __post_init__(self) -> None:
        if self.slots == REFERENCE_AND_TARGET and self.cameras == "none":
            raise InputError(
                f"model: the slots {' '.join(self.slots)} do not say where a view stands; "
                "use them with camera conditioning (rays)"
            )

    @property
    def free(self) -> bool:
        """Whether any camera may be any view."""
        return self.slots == REFERENCE_AND_TARGET

    def names(self, views: int) -> tuple[str, ...]:
        """Names of so many views, fit for scores and captions."""
        return ("reference", *(f"view_{i}" for i in range(1, views))) if self.free else self.slots


@dataclass(frozen=True)
class DecodedViews:
    """A sample's pictures and cameras at one size, in the order of its cameras."""

    images: UInt8[np.ndarray, "v s s 4"]
    w2c: Float32[np.ndarray, "v 4 4"]
    fxfycxcy: Float32[np.ndarray, "v 4"]


def decode_reduced(row: Row, size: int) -> DecodedViews:
    """All views of a row at `size` x `size` pixels.

    Raises:
        InputError: an image is damaged, not square, or cannot be averaged down to that size exactly.
    """
    images, intrinsics = [], []
    w2c, fxfycxcy = row_cameras(row)
    for image, name, own in zip(row["images"], row["camera"], fxfycxcy, strict=True):
        where = f"sample {row['sample_id']}, camera {name}"
        with placed(where):
            picture = decode_image(image["bytes"])
        height, width = picture.shape[:2]
        if height != width or height < size:
            raise InputError(
                f"{where}: an image of {width}x{height} px, the run trains on {size}x{size}; preprocess all "
                "recordings with one --image-size, or give another --views.image-size"
            )
        factor = reduction_factor(height, size, where)
        images.append(reduced_images(picture[None], factor)[0])
        intrinsics.append(reduced_intrinsics(own, factor))
    return DecodedViews(np.stack(images), w2c, np.stack(intrinsics))


def row_cameras(row: Row) -> tuple[Float32[np.ndarray, "v 4 4"], Float32[np.ndarray, "v 4"]]:
    """(w2c, fxfycxcy) of a row, as stored."""
    w2c = np.array([list(pose) for pose in row["w2c"]], dtype=np.float32).reshape(-1, 4, 4)
    return w2c, np.array([list(f) for f in row["fxfycxcy"]], dtype=np.float32)


def cameras_of(row: Row) -> list[Camera]:
    """The cameras of a row; their images' size, which plays no part here, is taken from the centre point."""
    cameras = []
    for name, pose, (fx, fy, cx, cy) in zip(row["camera"], *row_cameras(row), strict=True):
        matrix = pose.astype(np.float64)
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        cameras.append(Camera(name, round(2 * cx), round(2 * cy), K, matrix[:3, :3], matrix[:3, 3]))
    return cameras


def view_orders(row: Row, references: Sequence[str], rule: ViewRule) -> Int[np.ndarray, "r v"]:
    """For each of the references that the sample has, its cameras in view order, the reference first.

    Raises:
        InputError: it has none of them, or a slot would stay empty.
    """
    cameras, sample = cameras_of(row), f"sample {row['sample_id']}"
    numbers = [i for i, camera in enumerate(cameras) if not references or camera.name in references]
    if references:
        numbers.sort(key=lambda i: list(references).index(cameras[i].name))
    if not numbers:
        raise InputError(
            f"{sample} has none of the reference cameras {', '.join(references)}; choose --views.references among "
            f"{', '.join(camera.name for camera in cameras)}"
        )
    if rule.free:
        return np.array([[i, *(j for j in range(len(cameras)) if j != i)] for i in numbers])
    centre = rig_centre(cameras)
    orders = [assign_slots(cameras, i, centre).order for i in numbers]
    empty = [name for name, camera in zip(rule.slots, orders[0], strict=True) if camera is None]
    if empty:
        raise InputError(
            f"{sample}: {len(cameras)} cameras for {len(rule.slots)} slots, {', '.join(empty)} would stay empty; "
            f"{ANY_RIG}"
        )
    return np.array(orders)


def choose_references(rows: Sequence[Row], config: ViewsConfig, rule: ViewRule) -> tuple[str, ...]:
    """The reference cameras of a run, by name, from samples of its dataset.

    With rays nothing is refused: the model is told where its views are.

    Args:
        rows: one at least; references are chosen in the first one's rig, the others' rigs must fit as well.
        config: the references asked for.
        rule: the model's slots.

    Raises:
        InputError: there is no such camera, there are fewer cameras than slots, or they do not fit the slots.
    """
    cameras = cameras_of(rows[0])
    names = [camera.name for camera in cameras]
    absent = [name for name in config.references if name not in names]
    if absent:
        raise InputError(f"there is no camera {absent[0]} to be the reference; the samples have {', '.join(names)}")
    view_orders(rows[0], config.references, rule)
    if rule.cameras == "rays":
        return config.references or tuple(names)
    references = config.references
    if not references:
        centre = rig_centre(cameras)
        worst = [np.abs(assign_slots(cameras, i, centre).residual_degrees).max() for i in range(len(cameras))]
        best = int(np.argmin(worst))
        cameras_in_slots(cameras, best, centre)
        references = tuple(names[i] for i in equivalent_references(cameras, best, centre))
    for row in rows:
        found = cameras_of(row)
        for number, camera in enumerate(found):
            if camera.name in references:
                cameras_in_slots(found, number, rig_centre(found))
    return references


def rig_centre(cameras: Sequence[Camera]) -> Float[np.ndarray, "3"]:
    """The middle of the cameras, at the animal's height.

    Which camera is which slot is a property of the rig. About the animal azimuths swing with every step it takes (by 50
    degrees in a recording of a mouse in an arena a third as wide as the rig), and slots would come and go.
    """
    middle = np.mean([camera.centre for camera in cameras], axis=0)
    return np.array([middle[0], middle[1], 0.0])


def drawn_orders(
    orders: Int[Tensor, "b r v"], counts: Int[Tensor, " b"], num_targets: int, generator: torch.Generator
) -> Int[Tensor, "b w"]:
    """One of each sample's orders, and of its targets so many as wanted.

    Args:
        orders: from `view_orders`, padded to the most references.
        counts: how many references each sample has.
        num_targets: targets to keep, drawn without replacement; 0 keeps all, in order.
        generator: a CPU generator.
    """
    counts = counts.cpu()
    chosen = (torch.rand(len(counts), generator=generator) * counts).long().clamp_max(counts - 1)
    picked = orders.cpu()[torch.arange(len(counts)), chosen]
    if num_targets and num_targets < picked.shape[1] - 1:
        keys = torch.rand(len(counts), picked.shape[1] - 1, generator=generator)
        kept = keys.argsort(dim=1)[:, :num_targets].sort(dim=1).values + 1
        picked = torch.cat([picked[:, :1], picked.gather(1, kept)], dim=1)
    return picked.to(orders.device)


def in_order(parts: Shaped[Tensor, "b c *rest"], order: Int[Tensor, "b v"]) -> Shaped[Tensor, "b v *rest"]:
    """What belongs to a sample's cameras, in the order of its views."""
    return parts[torch.arange(len(parts), device=parts.device)[:, None], order]


def mirrored_slots(slots: Sequence[str]) -> tuple[int, ...]:
    """For each slot the one whose place it takes in a mirror: left and right change, front and back stay.

    Raises:
        InputError: "left" of a slot has no "right" among them.
    """
    swap = {"left": "right", "right": "left"}
    found = []
    for slot in slots:
        twin = "_".join(swap.get(word, word) for word in slot.split("_"))
        if twin not in slots:
            raise InputError(f"views: slot {slot} has no {twin} to change with in a mirror; switch --views.mirror off")
        found.append(list(slots).index(twin))
    return tuple(found)


def some_mirrored(batch: Batch, slots: Sequence[str], generator: torch.Generator) -> Batch:
    """Every other object, drawn by the generator, in a mirror: its pictures, cameras and the order of its views.

    Args:
        batch: objects with their views in order.
        slots: one name per view, or `REFERENCE_AND_TARGET`, whose views have no places.
        generator: a CPU generator.
    """
    which = (torch.rand(len(batch.images), generator=generator) < 0.5).to(batch.w2c.device)
    batch = mirrored(batch, which)
    if tuple(slots) == REFERENCE_AND_TARGET:
        return batch
    swapped = torch.tensor(mirrored_slots(slots), device=which.device)
    parts = (batch.images, batch.w2c, batch.fxfycxcy)
    return Batch(*(torch.where(which.view(-1, *[1] * (part.ndim - 1)), part[:, swapped], part) for part in parts))


def drawn_backgrounds(objects: int, config: ViewsConfig, generator: torch.Generator) -> Int[Tensor, " b"]:
    """For every sample the number of its background, of `config.backgrounds`."""
    return torch.randint(0, len(config.backgrounds), (objects,), generator=generator)


def composited(
    images: UInt8[Tensor, "b v h w 4"], levels: Float[Tensor, " b"], channels: int = 3
) -> Float[Tensor, "b v c h w"]:
    """Straight-alpha pictures over a grey level of each sample's own, in [0, 1].

    Args:
        images: straight RGBA.
        levels: of the background.
        channels: 3, or 4 to keep the alpha beside the colours.
    """
    rgba = images.movedim(-1, -3).float() / 255
    alpha = rgba[:, :, 3:]
    colours = rgba[:, :, :3] * alpha + (1 - alpha) * levels.to(images.device)[:, None, None, None, None]
    return colours if channels == 3 else torch.cat([colours, alpha], dim=2)


def straightened(images: Float[Tensor, "v 4 h w"], background: float) -> Float[Tensor, "v 4 h w"]:
    """The inverse of `composited` with its alpha: straight RGBA in [0, 1]; nothing is said of colours at alpha 0."""
    alpha = images[:, 3:].clamp(0, 1)
    colours = (images[:, :3] - (1 - alpha) * background) / alpha.clamp_min(1 / 255)
    return torch.cat([colours.clamp(0, 1), alpha], dim=1)
