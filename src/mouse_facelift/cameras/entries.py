"""Matrices out of one camera's entry in a calibration file, checked: what every reader of such files needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift.errors import InputError

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]


def read_matrices(
    path: Path, name: str, entry: Mapping[str, Any], shapes: Shapes
) -> dict[str, Float[np.ndarray, "..."]]:
    """The entry's matrices by key, as float64.

    Args:
        path: the file, for messages.
        name: the camera, for messages.
        entry: what the file holds of it.
        shapes: the keys it must have and the shapes each may have.

    Raises:
        InputError: a key is missing, its value is no matrix of numbers, or has another shape.
    """
    matrices = {}
    for key, allowed in shapes.items():
        if key not in entry:
            raise InputError(
                f"{path}: camera {name} has no {key}, only {', '.join(entry)}; expected {', '.join(shapes)}"
            )
        try:
            matrix = np.asarray(entry[key], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: camera {name}: {key} is not a matrix of numbers") from error
        if matrix.shape not in allowed:
            raise InputError(f"{path}: camera {name}: {key} has shape {matrix.shape}, expected {allowed[0]}")
        matrices[key] = matrix
    return matrices
