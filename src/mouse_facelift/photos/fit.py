"""Do a generator and a GS-LRM go together? Only if both know pictures of about the same field of view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.views import row_cameras
from mouse_facelift.photos.rig import Rig
from mouse_facelift.samples.dataset import open_dataset

_LIMIT = 1.5
"""Most factor between the widths that the two see at the animal. Chosen, not measured: beyond it the animal covers less
than half, or more than twice, of the pixels that it was trained at (1.5 ** 2 = 2.25)."""


def check_fit(rig: Rig, checkpoint_config: Mapping[str, Any], checkpoint: str) -> str:
    """Compare a generator's cameras with those that a GS-LRM was trained on.

    Args:
        rig: The generator's.
        checkpoint_config: The GS-LRM's, which may name its dataset.
        checkpoint: What to call it.

    Returns:
        In words, what was found; also that nothing could be compared, where the dataset is not at hand.

    Raises:
        InputError: The animal would be another size than any it was trained on.
    """
    mine = _width(rig.cameras[0].K[0, 0] / rig.image_size, np.stack([camera.centre for camera in rig.cameras]))
    theirs = _trained_width(checkpoint_config)
    if theirs is None:
        return "whether the GS-LRM knows such cameras could not be checked: its dataset is not at hand"
    ratio = mine / theirs
    if not 1 / _LIMIT <= ratio <= _LIMIT:
        raise InputError(
            f"{checkpoint}: was trained on views {theirs:.2f} units wide at the animal, the generator's cameras "
            f"({rig.origin}) see {mine:.2f}; use a generator and a GS-LRM of datasets of one --zoom"
        )
    return f"the generator's views are {mine:.2f} units wide at the animal, the GS-LRM was trained on {theirs:.2f}"


def _trained_width(config: Mapping[str, Any]) -> float | None:
    if "data" not in config:
        return None
    try:
        dataset = open_dataset(str(config["data"]))
    except InputError:
        # A model may well outlive its dataset; the caller says that nothing was compared.
        return None
    shards = dataset.shards("train")
    if not shards:
        return None
    row = dataset.store.read_table(shards[0], ["w2c", "fxfycxcy"]).slice(0, 1).to_pylist()[0]
    w2c, fxfycxcy = row_cameras(row)
    centres = -np.einsum("vji,vj->vi", w2c[:, :3, :3], w2c[:, :3, 3])
    return _width(float(np.mean(fxfycxcy[:, 0] / (2 * fxfycxcy[:, 2]))), centres)


def _width(focal: float, centres: np.ndarray) -> float:
    """What a picture spans at the origin; focal lengths in picture widths."""
    return float(np.linalg.norm(centres, axis=-1).mean() / focal)
