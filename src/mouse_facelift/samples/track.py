"""Centres that somebody else found: a DANNCE centre-of-mass track, or an array of one's own.

A track has one position, in the calibration's world and in millimetres, for every frame of the recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras.dannce import load_mat
from mouse_facelift.errors import InputError

HULL = "hull"
# What the variable with the positions is called, in DANNCE's com3d.mat and in the struct `com` of its label3d files.
_NAMES = ("com3d", "com")
_IDS = "sampleID"


def find_track(source: str, folder: Path, frame_count: int) -> Float[np.ndarray, "n 3"] | None:
    """The track that ``source`` names for the recording in ``folder``, or None where it says "hull".

    A relative path is looked for in the recording's own folder first, so that one setting serves several recordings.

    Raises:
        InputError: As :func:`read_track`, or there is no such file.
    """
    if source == HULL:
        return None
    inside = folder / source
    return read_track(inside if inside.exists() else Path(source), frame_count)


def read_track(path: str | Path, frame_count: int) -> Float[np.ndarray, "n 3"]:
    """Positions in millimetres from ``.npy`` or ``.mat``, one for each of ``frame_count`` frames.

    A ``.mat`` file holds them as ``com3d`` or ``com`` (an array, or a struct with such a field); with ``sampleID``
    beside them, rows are put in its order.

    Raises:
        InputError: Not such a file, not one row of three finite numbers per frame, or a sampleID with holes.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".mat"):
        raise InputError(f"{path}: is neither .npy nor .mat; give centres as 'hull' or as such a file")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of centres; look at --centre.source")
    raw, ids = (_load_npy(path), None) if path.suffix == ".npy" else _load_mat(path)
    try:
        track = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the centres are not numbers; expected an array of shape (frames, 3)") from error
    if track.shape == (3, frame_count) and frame_count != 3:
        track = track.T
    if track.shape != (frame_count, 3):
        raise InputError(
            f"{path}: holds centres of shape {track.shape}, but the recording has {frame_count} frames; "
            f"give one row of x, y, z in mm for every frame: ({frame_count}, 3)"
        )
    bad = np.flatnonzero(~np.isfinite(track).all(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: {len(bad)} rows are not finite (first: row {bad[0]}); fill them in, or use --centre.source hull"
        )
    return track if ids is None else track[_order(path, ids, frame_count)]


def _order(path: Path, ids: Any, count: int) -> np.ndarray:
    """Row numbers in the order of the sample ids, which must run evenly: a hole would shift every frame after it."""
    ids = np.asarray(ids, dtype=np.float64).ravel()
    if len(ids) != count:
        raise InputError(f"{path}: {_IDS} has {len(ids)} entries for {count} frames; write both from one recording")
    order = np.argsort(ids, kind="stable")
    steps = np.diff(ids[order])
    if len(steps) and (steps.min() <= 0 or steps.max() > 1.5 * np.median(steps)):
        raise InputError(f"{path}: {_IDS} repeats or leaves out samples; give one centre for every frame")
    return order


def _load_npy(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # NumPy's own words advise to load the file unsafely.
        raise InputError(f"{path}: is not a .npy array of plain numbers; save it with numpy.save") from error


def _load_mat(path: Path) -> tuple[Any, Any]:
    """The positions and, where the file has them, the sample ids."""
    scope: Mapping[str, Any] = load_mat(path)
    for _ in range(2):
        name = next((n for n in _NAMES if n in scope), None)
        if name is None:
            break
        value = np.asarray(scope[name])
        if value.dtype.names is None:
            return value, scope.get(_IDS)
        record = value.ravel()[0]
        scope = {field: record[field] for field in value.dtype.names}
    raise InputError(f"{path}: has no variable {' or '.join(_NAMES)} with the centres; expected (frames, 3) in mm")
