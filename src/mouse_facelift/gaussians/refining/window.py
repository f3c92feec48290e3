"""The part of a frame's views that a fit looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mouse_facelift.evaluation.ssim import SSIM_WINDOW

# Surroundings of the silhouette that are compared, in pixels: what grows out of it further costs no less.
_MARGIN = 8
# Alpha from which a pixel counts as silhouette here: a soft edge belongs to it.
_EDGE = 0.02


@dataclass(frozen=True, eq=False)
class Window:
    """The views cut down to where the animal is, all to one size; exact, a cut only moves the principal point."""

    colours: Float[Tensor, "v h w 3"]
    masks: Float[Tensor, "v h w"]
    fxfycxcy: Float[Tensor, "v 4"]


def window(images: Float[Tensor, "v 4 h w"], fxfycxcy: Float[Tensor, "v 4"]) -> Window:
    """Each view's box of its silhouette with a margin, grown to the largest such box (or the whole picture)."""
    height, width = images.shape[-2:]
    boxes = [_box(image[3] > _EDGE) for image in images]
    tall = min(height, max(SSIM_WINDOW, *(bottom - top for top, bottom, _, _ in boxes)))
    wide = min(width, max(SSIM_WINDOW, *(right - left for _, _, left, right in boxes)))
    cuts, lenses = [], []
    for image, lens, (top, bottom, left, right) in zip(images, fxfycxcy, boxes, strict=True):
        first_row = min(max((top + bottom - tall) // 2, 0), height - tall)
        first_column = min(max((left + right - wide) // 2, 0), width - wide)
        cuts.append(image[:, first_row : first_row + tall, first_column : first_column + wide])
        lenses.append(lens - lens.new_tensor([0.0, 0.0, first_column, first_row]))
    stacked = torch.stack(cuts)
    return Window(stacked[:, :3].permute(0, 2, 3, 1).contiguous(), stacked[:, 3].contiguous(), torch.stack(lenses))


def _box(silhouette: Bool[Tensor, "h w"]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a silhouette with its margin; the picture's middle when it is empty."""
    height, width = silhouette.shape
    row, column = torch.nonzero(silhouette, as_tuple=True)
    if not len(row):
        return height // 2, height // 2, width // 2, width // 2
    top, bottom = int(row.min()) - _MARGIN, int(row.max()) + 1 + _MARGIN
    left, right = int(column.min()) - _MARGIN, int(column.max()) + 1 + _MARGIN
    return max(top, 0), min(bottom, height), max(left, 0), min(right, width)
