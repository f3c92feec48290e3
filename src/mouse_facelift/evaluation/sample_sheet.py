"""What a dataset looks like: a contact sheet of samples, one row each, a column per camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from mouse_facelift.evaluation.images import Panel, SheetStyle, composite, contact_sheet, encode_png
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.schema import Sample
from mouse_facelift.storage import Store

CONTACT_SHEET = "contact_sheet.png"
"""The picture that lies beside a finished dataset's manifest."""

# A mid grey shows dark fur, pale feet and the edge of the alpha alike.
_BACKGROUND = (0.6, 0.6, 0.6)


def sample_sheet(samples: Sequence[Sample], cell: int = 224) -> UInt8[np.ndarray, "h w 3"]:
    """Every view of each sample over grey, with the camera's name and the gate's numbers."""
    rows = []
    for sample in samples:
        rows.append(
            [
                Panel(composite(image, _BACKGROUND), f"{sample.sample_id}\ncam {camera.name}, IoU {iou:.3f}")
                for image, camera, iou in zip(
                    sample.images, sample.cameras, sample.agreement.view_hull_iou, strict=True
                )
            ]
        )
    return contact_sheet(rows, SheetStyle(cell=cell))


def spread_samples(dataset: Dataset, split: str, count: int) -> list[Sample]:
    """At most ``count`` samples of a split, evenly spread over it."""
    total = dataset.count(split)
    places = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)) if total else []
    return list(dataset.samples(split, {int(i) for i in places}))


def write_contact_sheet(store: Store, count: int = 3) -> None:
    """Write :data:`CONTACT_SHEET` beside a finished dataset, so that a person sees what was made; none of no samples.

    Args:
        store: Of the dataset.
        count: Samples of each split, spread over it.
    """
    dataset = open_dataset(store.uri)
    shown = [sample for split in ("train", "val") for sample in spread_samples(dataset, split, count)]
    if shown:
        store.write(CONTACT_SHEET, encode_png(sample_sheet(shown)))
