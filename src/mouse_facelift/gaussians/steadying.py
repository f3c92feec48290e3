"""A sequence whose animal trembles less: each frame moved as a whole, so that its centre follows a smooth path.

Every frame of a recording is reconstructed by itself, and the place where a model puts the animal errs a little
differently each time. The centre of the Gaussians, in millimetres, is smoothed over time inside each segment, and the
frame's similarity is changed by what that moves it: shape, colours and the normalised world stay as they are. Real
motion that is faster than the smoothing is damped as well; `evaluation.jitter` measures what is gained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import Sequenced
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
    """The frame as it was reconstructed, moved by a shift in millimetres; an earlier shift does not count."""
    return replace(frame, centre_mm=frame.centre_mm - frame.shift_mm + shift, shift_mm=np.asarray(shift, np.float64))


def followed(sequence: Sequenced, deviation_s: float) -> Callable[[int], Gaussians]:
    """Frames as a camera sees them that follows the animal softly.

    Args:
        sequence: In order of segment and time.
        deviation_s: How softly: standard deviation of the smoothing of the animal's centre, seconds; never across a
            cut. 0 keeps the centre in the middle of every picture.

    Returns:
        A frame's Gaussians by position, in normalised units about the smoothed centre.
    """
    index = sequence.index
    centres = np.stack([centre_in_mm(frame) for frame in sequence])
    aims = centres + steadying_shifts(centres, index, deviation_s)

    def placed(position: int) -> Gaussians:
        frame = sequence.frame(position)
        # Where nothing is visible there is no centre, and nothing to show either.
        away = np.nan_to_num((frame.centre_mm - aims[position]) * frame.scale)
        return replace(frame.gaussians, means=frame.gaussians.means + torch.from_numpy(away).float())

    return placed
