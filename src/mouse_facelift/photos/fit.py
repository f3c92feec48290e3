"""Do views and a GS-LRM go together? Only if the animal is about as large in them as in those it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.views import row_cameras
from mouse_facelift.samples.dataset import open_dataset

_CLOSE = 1.1
"""Factor between the widths that views have at the animal up to which they count as equal. Chosen, not measured: poses
of one animal differ by more."""


def trained_width(checkpoint_config: Mapping[str, Any]) -> float | None:
    """What the views that a GS-LRM was trained on span at the animal, world units; None where its dataset is gone."""
    if "data" not in checkpoint_config:
        return None
    try:
        dataset = open_dataset(str(checkpoint_config["data"]))
    except InputError:
        # A model may well outlive its dataset; the caller says that nothing was compared.
        return None
    shards = dataset.shards("train")
    if not shards:
        return None
    row = dataset.store.read_table(shards[0], ["w2c", "fxfycxcy"]).slice(0, 1).to_pylist()[0]
    w2c, fxfycxcy = row_cameras(row)
    centres = -np.einsum("vji,vj->vi", w2c[:, :3, :3], w2c[:, :3, 3])
    # Half the picture is the principal point, by normalisation.
    return float(np.linalg.norm(centres, axis=-1).mean() / np.mean(fxfycxcy[:, 0] / (2 * fxfycxcy[:, 2])))


def seen_width(cameras: Sequence[Camera]) -> float:
    """What views span at the world's origin, on average; world units."""
    distances = [float(np.linalg.norm(camera.centre)) for camera in cameras]
    return float(np.mean(distances) / np.mean([camera.K[0, 0] / camera.width for camera in cameras]))


def missing_span(cameras: Sequence[Camera], trained: float | None) -> float:
    """By how much views must be widened (above 1) or cut (below) to be what a GS-LRM knows; 1 where they are close."""
    factor = 1.0 if trained is None else trained / seen_width(cameras)
    return 1.0 if 1 / _CLOSE <= factor <= _CLOSE else factor


def fit_words(cameras: Sequence[Camera], trained: float | None) -> str:
    """For a person: what was compared, and what follows."""
    if trained is None:
        return "whether the GS-LRM knows such cameras could not be checked: its dataset is not at hand"
    text = f"the generator's views are {seen_width(cameras):.2f} units wide at the animal, the GS-LRM was trained on "
    text += f"{trained:.2f}"
    factor = missing_span(cameras, trained)
    return text if factor == 1 else f"{text}, so that they are {'widened' if factor > 1 else 'cut'} to that"
