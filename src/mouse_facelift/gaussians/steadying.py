"""A sequence whose animal trembles less: each frame moved as a whole, so that its centre follows a smooth path.

Every frame of a recording is reconstructed by itself, and the place where a model puts the animal errs a little
differently each time. The centre of the Gaussians, in millimetres, is smoothed over time inside each segment, and the
frame's similarity is changed by what that moves it: shape, colours and the normalised world stay as they are. Real
motion that is faster than the smoothing is damped as well; `evaluation.jitter` measures what is gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.samples.centres import smooth_centres


def centre_of(gaussians: Gaussians) -> Float[np.ndarray, "3"]:
    """Mean of the Gaussians' centres, weighted by opacity; nan where nothing is visible."""
    weights = gaussians.opacities.detach().cpu().double().numpy()
    means = gaussians.means.detach().cpu().double().numpy()
    return weights @ means / weights.sum() if weights.sum() > 0 else np.full(3, np.nan)


def centre_in_mm(frame: SequenceFrame) -> Float[np.ndarray, "3"]:
    """Where the animal of a frame is in the recording's world; nan where nothing is visible."""
    return centre_of(frame.gaussians) / frame.scale + frame.centre_mm


def steadying_shifts(
    centres: Float[np.ndarray, "n 3"], index: Sequence[FrameIndex], deviation_s: float
) -> Float[np.ndarray, "n 3"]:
    """What to add to each frame's `centre_mm`, so that the centres follow a smooth path.

    Args:
        centres: :func:`centre_in_mm` of each frame; a row of nan gets no shift and has no say.
        index: Of the same frames, in order of recording, segment and time.
        deviation_s: Standard deviation of the Gaussian weights, seconds; 0 shifts nothing.

    Raises:
        InputError: Times that do not increase inside a segment.
    """
    shifts = np.zeros_like(centres)
    for (capture, segment), group in groupby(range(len(index)), lambda i: (index[i].capture, index[i].segment)):
        rows = np.array([i for i in group if np.isfinite(centres[i]).all()], int)
        times = np.array([index[i].time_s for i in rows])
        if (np.diff(times) <= 0).any():
            raise InputError(f"{capture}, segment {segment}: frames are not in order of time; sort them first")
        shifts[rows] = smooth_centres(centres[rows], times, deviation_s) - centres[rows]
    return shifts


def steadied(frame: SequenceFrame, shift: Float[np.ndarray, "3"]) -> SequenceFrame:
    """The frame moved by a shift in millimetres."""
    return replace(frame, centre_mm=frame.centre_mm + shift)
