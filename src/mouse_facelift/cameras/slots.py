"""Which camera of a rig stands where in a slot-based model's order.

FaceLift's multi-view diffusion knows six places about the object by name - front, front_right, right, back, left,
front_left - and a prompt for each. A rig's cameras belong to them by azimuth, never by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from mouse_facelift.cameras.camera import Camera
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig
from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class SlotAssignment:
    """Cameras in slot order.

    Attributes:
        order: For each of FaceLift's six slots the camera's index; None where the rig has too few cameras.
        residual_degrees: For each slot, the camera's azimuth minus the slot's, in (-180, 180]; nan for an empty slot.
    """

    order: tuple[int | None, ...]
    residual_degrees: Float[np.ndarray, "6"]


def assign_slots(
    cameras: Sequence[Camera], reference: int, centre: Float[np.ndarray, "3"] | None = None
) -> SlotAssignment:
    """Cameras to FaceLift's slots, the camera ``reference`` as its front.

    The assignment has the least sum of squared azimuth differences; elevation plays no part.

    Args:
        cameras: The rig, world z up; at least two. Of more than six cameras the best placed six are taken.
        reference: Index of the front camera.
        centre: Where the object is; by default the point nearest to all optical axes.

    Raises:
        InputError: ``reference`` is not one of the cameras.
    """
    if not 0 <= reference < len(cameras):
        raise InputError(f"reference camera {reference} does not exist; the rig has cameras 0 to {len(cameras) - 1}")
    azimuths = camera_azimuths(cameras, axes_meeting_point(cameras) if centre is None else centre)
    slots = _slot_azimuths()
    others = [i for i in range(len(cameras)) if i != reference]
    differences = wrap_degrees((azimuths - azimuths[reference])[others, None] - slots[None, 1:])
    rows, columns = linear_sum_assignment(differences**2)
    order: list[int | None] = [reference, *[None] * (len(slots) - 1)]
    residuals = np.full(len(slots), np.nan)
    residuals[0] = 0.0
    for row, column in zip(rows, columns, strict=True):
        order[column + 1] = others[row]
        residuals[column + 1] = differences[row, column]
    return SlotAssignment(tuple(order), residuals)


def camera_azimuths(cameras: Sequence[Camera], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v"]:
    """Azimuth in degrees, in (-180, 180], of each camera about ``centre``, counter-clockwise seen from above."""
    offsets = np.stack([camera.centre for camera in cameras]) - centre
    return np.degrees(np.arctan2(offsets[:, 1], offsets[:, 0]))


def axes_meeting_point(cameras: Sequence[Camera]) -> Float[np.ndarray, "3"]:
    """The point with the least sum of squared distances to the optical axes."""
    axes = np.stack([camera.R[2] for camera in cameras])
    centres = np.stack([camera.centre for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("vij,vj->i", across, centres), rcond=None)[0]


def wrap_degrees(angles: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Angles brought into (-180, 180]."""
    return 180.0 - np.mod(180.0 - angles, 360.0)


def _slot_azimuths() -> Float[np.ndarray, "6"]:
    """Azimuths of the slots relative to the front: 0, -45, -90, 180, 90, 45 degrees, from FaceLift's own cameras."""
    azimuths = camera_azimuths(facelift_rig(), np.zeros(3))
    return np.round(wrap_degrees(azimuths - azimuths[FACELIFT_SLOTS.index("front")]), 3)
