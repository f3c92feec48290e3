"""One frame of a sequence file: the Gaussians of a moment, quantised, with what takes them back to the recording.

A Gaussian takes 20 bytes before compression (a PLY: 239) and comes back with these errors at most:

* position: half of 1/65535 of the frame's box along each axis (a 100 mm box: 0.0008 mm);
* scale: half of 1/65535 of the frame's range of logarithms (a range of 10: 0.008 %);
* rotation: 0.28 degrees;
* colour: half of 1/255 of the frame's brightest value, or of 1 where nothing is brighter;
* opacity: half of 1/255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.quantising import from_levels, pack_rotations, to_levels, unpack_rotations

INDEX = ("sample_id", "capture", "frame", "time_s", "segment")
"""Columns that say which frame a row is."""

SEQUENCE_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("capture", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("time_s", pa.float64()),
        pa.field("segment", pa.int16()),
        pa.field("centre_mm", pa.list_(pa.float64(), 3)),
        pa.field("shift_mm", pa.list_(pa.float64(), 3)),
        pa.field("scale", pa.float64()),
        pa.field("count", pa.int32()),
        pa.field("lower", pa.list_(pa.float64(), 3)),
        pa.field("upper", pa.list_(pa.float64(), 3)),
        pa.field("log_scale", pa.list_(pa.float64(), 2)),
        pa.field("brightest", pa.float64()),
        pa.field("means", pa.binary()),
        pa.field("scales", pa.binary()),
        pa.field("rotations", pa.binary()),
        pa.field("colours", pa.binary()),
        pa.field("opacities", pa.binary()),
    ],
    metadata={"mouse_facelift": '{"sequence_version": 2}'},
)
"""One row per frame; `shift_mm` is what steadying added to `centre_mm`. Gaussian after Gaussian, little-endian: `means`
three uint16 between `lower` and `upper`; `scales` three uint16 between the logarithms `log_scale`; `rotations` one
uint32 (2 bits: the largest of w, x, y, z, which is left out and positive; then the others, 10 bits each, from
-sqrt(1/2) to sqrt(1/2)); `colours` three uint8 from 0 to `brightest`; `opacities` one uint8 from 0 to 1."""

_BYTES = {"means": 6, "scales": 6, "rotations": 4, "colours": 3, "opacities": 1}


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Which moment of which recording; ``segment`` counts the stretches between the recording's cuts."""

    sample_id: str
    capture: str
    frame: int
    time_s: float
    segment: int


@dataclass(frozen=True, eq=False)
class SequenceFrame:
    """The Gaussians of one moment.

    Attributes:
        index: Which moment.
        centre_mm, scale: ``X_normalised = scale * (X_mm - centre_mm)``.
        gaussians: In the frame's normalised world.
        shift_mm: What `steadying` added to ``centre_mm``; subtracting it gives the centre back.
    """

    index: FrameIndex
    centre_mm: Float[np.ndarray, "3"]
    scale: float
    gaussians: Gaussians
    shift_mm: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))

    def in_mm(self) -> Gaussians:
        """The Gaussians in the recording's world."""
        return self.gaussians.restored(self.scale, torch.from_numpy(np.array(self.centre_mm, np.float64)))


def row_from_frame(frame: SequenceFrame) -> dict[str, Any]:
    """A frame as a row of :data:`SEQUENCE_SCHEMA`.

    Raises:
        InputError: Values that are not finite, scales not above 0, or a similarity that is none.
    """
    name = f"{frame.index.capture}, frame {frame.index.frame}"
    means, scales, rotations, opacities, colours = (
        tensor.detach().cpu().double().numpy() for tensor in frame.gaussians.tensors()
    )
    broken = int((~frame.gaussians.finite()).sum())
    if broken or not (scales > 0).all():
        raise InputError(
            f"{name}: {broken} of {len(means)} Gaussians are not finite and {int((scales <= 0).any(-1).sum())} have "
            "no extent; the model that made them has diverged, use an earlier checkpoint"
        )
    centre = np.asarray(frame.centre_mm, np.float64)
    shift = np.asarray(frame.shift_mm, np.float64)
    if not (np.isfinite([*centre, *shift, frame.scale, frame.index.time_s]).all() and frame.scale > 0):
        raise InputError(f"{name}: centre {centre}, scale {frame.scale}, time {frame.index.time_s} are no similarity")
    lower, upper = (np.zeros(3), np.zeros(3)) if not len(means) else (means.min(0), means.max(0))
    logs = np.log(scales)
    low, high = (0.0, 0.0) if not len(means) else (float(logs.min()), float(logs.max()))
    brightest = max(1.0, float(colours.max(initial=0.0)))
    return {
        **{key: getattr(frame.index, key) for key in INDEX},
        "centre_mm": centre,
        "shift_mm": shift,
        "scale": float(frame.scale),
        "count": len(means),
        "lower": lower,
        "upper": upper,
        "log_scale": [low, high],
        "brightest": brightest,
        "means": to_levels(means, lower, upper, 16).astype("<u2").tobytes(),
        "scales": to_levels(logs, low, high, 16).astype("<u2").tobytes(),
        "rotations": pack_rotations(rotations).astype("<u4").tobytes(),
        "colours": to_levels(colours, 0.0, brightest, 8).tobytes(),
        "opacities": to_levels(opacities, 0.0, 1.0, 8).tobytes(),
    }


def frame_from_row(row: Mapping[str, Any]) -> SequenceFrame:
    """The inverse of :func:`row_from_frame`, within the errors that the module states; float32 on the CPU.

    Raises:
        InputError: Columns that do not hold as many Gaussians as the row says.
    """
    count = int(row["count"])
    if any(len(row[name]) != size * count for name, size in _BYTES.items()):
        raise InputError(f"frame {row['frame']} does not hold the {count} Gaussians that it says it has")

    def levels(name: str, kind: str, columns: int) -> np.ndarray:
        return np.frombuffer(row[name], kind).reshape(count, columns)

    low, high = row["log_scale"]
    arrays = (
        from_levels(levels("means", "<u2", 3), np.array(row["lower"]), np.array(row["upper"]), 16),
        np.exp(from_levels(levels("scales", "<u2", 3), low, high, 16)),
        unpack_rotations(levels("rotations", "<u4", 1)[:, 0]),
        from_levels(levels("opacities", "u1", 1)[:, 0], 0.0, 1.0, 8),
        from_levels(levels("colours", "u1", 3), 0.0, float(row["brightest"]), 8),
    )
    gaussians = Gaussians(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))
    index = FrameIndex(**{key: row[key] for key in INDEX})
    centre, shift = (np.array(row[name], np.float64) for name in ("centre_mm", "shift_mm"))
    return SequenceFrame(index, centre, float(row["scale"]), gaussians, shift)
