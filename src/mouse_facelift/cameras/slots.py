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

RESIDUAL_LIMIT_DEGREES = 35.0
"""How far a camera may stand from its slot. Six cameras at equal angles miss FaceLift's slots by up to 30 degrees."""

SAME_AZIMUTH_DEGREES, SAME_ELEVATION_DEGREES = 15.0, 10.0
"""How much two headings of a rig may differ and still count as the same arrangement. On the six-camera mouse rig whose
cameras hang low and high in turn, the low ones agree within 12.6 and 2.2; neighbours differ by 14 or more in elevation.
"""


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


def cameras_in_slots(
    cameras: Sequence[Camera],
    reference: int,
    centre: Float[np.ndarray, "3"] | None = None,
    limit_degrees: float = RESIDUAL_LIMIT_DEGREES,
) -> SlotAssignment:
    """`assign_slots` for a model that has nothing but the slots to go by: every slot filled, and no camera far off.

    Raises:
        InputError: ``reference`` is not one of the cameras, there are fewer cameras than slots, or one stands more
            than ``limit_degrees`` of azimuth from its slot.
    """
    found = assign_slots(cameras, reference, centre)
    cure = "use camera conditioning (rays), which serves any rig"
    empty = [name for name, camera in zip(FACELIFT_SLOTS, found.order, strict=True) if camera is None]
    if empty:
        raise InputError(
            f"{len(cameras)} cameras for {len(FACELIFT_SLOTS)} slots: {', '.join(empty)} would stay empty; {cure}"
        )
    worst = int(np.abs(found.residual_degrees).argmax())
    if abs(found.residual_degrees[worst]) > limit_degrees:
        camera = found.order[worst]
        assert camera is not None
        residuals = ", ".join(
            f"{name} {residual:+.0f}" for name, residual in zip(FACELIFT_SLOTS, found.residual_degrees, strict=True)
        )
        raise InputError(
            f"camera {cameras[camera].name} stands {abs(found.residual_degrees[worst]):.0f} degrees from slot "
            f"{FACELIFT_SLOTS[worst]} (limit {limit_degrees:.0f}; with reference {cameras[reference].name}: {residuals}"
            f"); choose another reference or {cure}"
        )
    return found


def equivalent_references(
    cameras: Sequence[Camera],
    reference: int,
    centre: Float[np.ndarray, "3"] | None = None,
    azimuth_tolerance: float = SAME_AZIMUTH_DEGREES,
    elevation_tolerance: float = SAME_ELEVATION_DEGREES,
) -> tuple[int, ...]:
    """Cameras from which the rig looks the same as from ``reference``, itself first, then in rising order.

    Taking any of them as the reference shows a slot-based model the same arrangement of views about another heading of
    the animal: an augmentation that invents nothing. Compared are elevations, and azimuths relative to the reference.

    Raises:
        InputError: ``reference`` is not one of the cameras.
    """
    centre = axes_meeting_point(cameras) if centre is None else centre
    azimuths, elevations = camera_azimuths(cameras, centre), camera_elevations(cameras, centre)
    order = assign_slots(cameras, reference, centre).order
    found = [reference]
    for other in range(len(cameras)):
        other_order = assign_slots(cameras, other, centre).order
        # A slot that only one of the two leaves empty is a different arrangement.
        if other == reference or [c is None for c in order] != [c is None for c in other_order]:
            continue
        here, there = ([c for c in cs if c is not None] for cs in (order, other_order))
        turn = wrap_degrees(azimuths[here] - azimuths[reference] - azimuths[there] + azimuths[other])
        rise = elevations[here] - elevations[there]
        if np.abs(turn).max() <= azimuth_tolerance and np.abs(rise).max() <= elevation_tolerance:
            found.append(other)
    return tuple(found)


def camera_elevations(cameras: Sequence[Camera], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, " v"]:
    """Elevation in degrees of each camera above the horizontal plane through ``centre``."""
    offsets = np.stack([camera.centre for camera in cameras]) - centre
    return np.degrees(np.arctan2(offsets[:, 2], np.hypot(offsets[:, 0], offsets[:, 1])))


def camera_azimuths(cameras: Sequence[Camera], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, " v"]:
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
