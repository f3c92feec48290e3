"""What a dataset looks like: a contact sheet of samples, one row each, a column per camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from mouse_facelift.evaluation.images import Panel, SheetStyle, composite, contact_sheet
from mouse_facelift.samples.schema import Sample

# A mid grey shows dark fur, pale feet and the edge of the alpha alike.
_BACKGROUND = (0.6, 0.6, 0.6)


def sample_sheet(samples: Sequence[Sample], cell: int = 224) -> UInt8[np.ndarray, "h w 3"]:
    """Every view of each sample over grey, with the camera's name and the gate's numbers."""
    rows = []
    for sample in samples:
        rows.append(
            [
                Panel(composite(image, _BACKGROUND), f"{sample.sample_id}  cam {camera.name}  IoU {iou:.3f}")
                for image, camera, iou in zip(
                    sample.images, sample.cameras, sample.agreement.view_hull_iou, strict=True
                )
            ]
        )
    return contact_sheet(rows, SheetStyle(cell=cell))
