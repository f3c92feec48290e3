"""How near generated views are to the true ones: by slot, beside two baselines, and whether they agree in space.

A picture generated without a mask has its silhouette where it differs from the background it was asked for by more
than half of what the animal does in the reference image, whose mask is given: a threshold that needs no tuning for coat
or background. The same rule is applied to the mean training image; a copy of the reference has the reference's mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mouse_facelift.cameras import Camera
from mouse_facelift.capture.boxed_mask import BoxedMask
from mouse_facelift.evaluation.images import Panel, SheetStyle, contact_sheet
from mouse_facelift.evaluation.metrics import psnr, view_metrics
from mouse_facelift.samples.hull import hull_agreement

SCORES = ("psnr_foreground", "ssim_foreground", "mask_iou")
"""What is compared, by the names of `evaluation.metrics.ViewMetrics`."""

RIVALS: Mapping[str, str] = {"nearest": "the reference image itself", "mean": "the mean training image"}
"""Baselines, by the prefix of their scores' names; neither knows where a view is and what the animal does there."""

_HULL_MARGIN = 1.5
"""The ball that may hold the animal, as a multiple of the radius that the reference's silhouette spans."""


@dataclass(frozen=True)
class TrueViews:
    """A sample in view order, view 0 the reference."""

    images: Float[Tensor, "v 3 h w"]
    """Over `background`, in [0, 1]."""
    masks: Float[Tensor, "v h w"]
    cameras: tuple[Camera, ...]
    """Of these pixels; the animal lies around the world's origin."""
    background: float
    names: tuple[str, ...]


def silhouettes(
    images: Float[Tensor, "v 3 h w"], reference: Float[Tensor, "3 h w"], mask: Float[Tensor, "h w"], background: float
) -> Float[Tensor, "v h w"]:
    """1 where a picture shows the animal rather than its background.

    Args:
        images: generated views in [0, 1].
        reference: the reference image on the same background.
        mask: its mask.
        background: grey level behind the animal.
    """
    inside = (reference - background).abs().amax(dim=0)[mask > 0.5]
    contrast = float(inside.median()) if inside.numel() else 1.0
    return ((images - background).abs().amax(dim=1) > 0.5 * contrast).float()


def view_scores(
    images: Float[Tensor, "v 3 h w"], masks: Float[Tensor, "v h w"], truth: TrueViews
) -> dict[str, Float[Tensor, " v"]]:
    """`SCORES` of every view; nan where one is not defined."""
    views = zip(images, masks, truth.images, truth.masks, strict=True)
    found = [view_metrics(a.movedim(0, -1), m, t.movedim(0, -1), k) for a, m, t, k in views]
    return {name: torch.tensor([getattr(scores, name) for scores in found]) for name in SCORES}


def named_scores(scores: Mapping[str, Float[Tensor, " v"]], names: Sequence[str], prefix: str = "") -> dict[str, float]:
    """Each score's mean over the views that had to be invented, and its value for every view by name."""
    found = {f"{prefix}{score}": float(values[1:].double().nanmean()) for score, values in scores.items()}
    for score, values in scores.items():
        found |= {f"{prefix}{score}_{name}": float(value) for name, value in zip(names, values, strict=True)}
    return found


def silhouette_agreement(masks: Float[Tensor, "v h w"], truth: TrueViews) -> float:
    """Mean IoU of the views' silhouettes with the visual hull that they make, reprojected; 0 if one is empty.

    It asks whether the views could be of one animal, whether or not it is the right one.
    """
    solid: Bool[np.ndarray, "v h w"] = masks.cpu().numpy() > 0.5
    boxed = [BoxedMask.of(mask) for mask in solid]
    if not all(boxed):
        return 0.0
    known = np.ones_like(solid)
    return float(hull_agreement(solid, known, boxed, truth.cameras, _ball_radius(truth)).mean())


def _ball_radius(truth: TrueViews) -> float:
    """Radius about the origin that holds the animal: what its true silhouettes span at the origin's distance."""
    radii = []
    for mask, camera in zip(truth.masks.cpu().numpy() > 0.5, truth.cameras, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            offsets = np.hypot(columns + 0.5 - camera.K[0, 2], rows + 0.5 - camera.K[1, 2])
            radii.append(offsets.max() / camera.K[0, 0] * np.linalg.norm(camera.centre))
    return _HULL_MARGIN * float(max(radii, default=1.0))


@dataclass(frozen=True)
class Generated:
    """Views that were generated of one sample."""

    images: Float[Tensor, "v 3 h w"]
    masks: Float[Tensor, "v h w"]

    @staticmethod
    def of(images: Float[Tensor, "v c h w"], truth: TrueViews) -> Generated:
        """Pictures with the masks that came with them as fourth channel, or the silhouettes that they show."""
        if images.shape[1] == 4:
            return Generated(images[:, :3], (images[:, 3] > 0.5).float())
        return Generated(images, silhouettes(images, truth.images[0], truth.masks[0], truth.background))


def model_scores(generated: Generated, truth: TrueViews) -> dict[str, float]:
    """All scores of a sample's generated views."""
    scores = named_scores(view_scores(generated.images, generated.masks, truth), truth.names)
    return scores | {"hull_iou": silhouette_agreement(generated.masks, truth)}


def rival_scores(truth: TrueViews, mean_views: Float[Tensor, "v 3 h w"] | None) -> dict[str, float]:
    """The baselines' scores; that of the mean training image is nan where there is none."""
    views = len(truth.images)
    copies = Generated(truth.images[:1].expand_as(truth.images), (truth.masks[:1] > 0.5).float().expand(views, -1, -1))
    found = {"true_hull_iou": silhouette_agreement(truth.masks, truth)}
    found |= named_scores(view_scores(copies.images, copies.masks, truth), truth.names, "nearest_")
    if mean_views is None:
        missing = {score: torch.full((len(truth.images),), torch.nan) for score in SCORES}
        return found | named_scores(missing, truth.names, "mean_")
    mean = Generated.of(mean_views.to(truth.images), truth)
    return found | named_scores(view_scores(mean.images, mean.masks, truth), truth.names, "mean_")


def view_sheet(truth: TrueViews, rows: Mapping[str, Float[Tensor, "v 3 h w"]], cell: int = 128) -> np.ndarray:
    """True views above generated ones, one column per view, with each one's foreground PSNR.

    Args:
        truth: the sample.
        rows: what was generated, by the words to show.
        cell: side of a picture on the sheet (pixels).
    """

    def panels(images: Float[Tensor, "v 3 h w"], captions: Sequence[str]) -> list[Panel]:
        shown = images.clamp(0, 1).movedim(1, -1).cpu().numpy()
        return [Panel(image, caption) for image, caption in zip(shown, captions, strict=True)]

    sheet = [panels(truth.images, [f"true {name}" for name in truth.names])]
    for words, images in rows.items():
        captions = []
        for image, true, mask in zip(images, truth.images, truth.masks, strict=True):
            score = float(psnr(image.movedim(0, -1), true.movedim(0, -1), where=mask > 0.5))
            captions.append(f"{words}, {score:.1f} dB")
        sheet.append(panels(images, captions))
    return contact_sheet(sheet, SheetStyle(cell=max(cell, truth.images.shape[-1])))
