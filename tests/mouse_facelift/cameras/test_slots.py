"""Cameras belong to slots by azimuth: the six-camera rig's known orders, FaceLift's own rig, rigs of other sizes."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import facelift_rig, look_at, turntable
from mouse_facelift.cameras.slots import (
    assign_slots,
    camera_azimuths,
    camera_elevations,
    cameras_in_slots,
    equivalent_references,
    wrap_degrees,
)
from mouse_facelift.errors import InputError

# The MAMMAL / markerless-mouse rig: camera positions in mm, and the middle of its arena.
POSITIONS = [
    (-199.5, -129.3, 63.4),
    (321.6, 216.8, 145.9),
    (24.0, 355.8, 71.2),
    (327.6, -65.3, 63.3),
    (-230.4, 167.4, 142.2),
    (114.6, -236.3, 156.5),
]
ARENA = np.array([55.2, 63.6, 20.8])
K = np.array([[1600.0, 0, 576], [0, 1600, 512], [0, 0, 1]])


@pytest.fixture
def rig() -> list[Camera]:
    return [look_at(str(i), np.array(p), ARENA, K, 1152, 1024) for i, p in enumerate(POSITIONS)]


@pytest.mark.parametrize(
    ("reference", "order"), [(0, (0, 4, 2, 1, 3, 5)), (3, (3, 5, 0, 4, 2, 1)), (2, (2, 1, 3, 5, 0, 4))]
)
def test_the_six_camera_rig_has_its_known_orders(rig, reference, order):
    found = assign_slots(rig, reference)
    assert found.order == order
    assert found.residual_degrees[0] == 0
    assert np.abs(found.residual_degrees).max() < 45


def test_facelifts_own_rig_is_in_order_without_residual():
    found = assign_slots(facelift_rig(), 0)
    assert found.order == (0, 1, 2, 3, 4, 5)
    assert np.abs(found.residual_degrees).max() < 1e-3


def test_turning_the_world_changes_nothing(rig):
    angle = np.radians(77)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = [Camera(c.name, c.width, c.height, c.K, c.R @ turn.T, c.t) for c in rig]
    before, after = assign_slots(rig, 5), assign_slots(turned, 5)
    assert before.order == after.order
    assert np.allclose(before.residual_degrees, after.residual_degrees)


def test_a_smaller_rig_leaves_slots_empty_and_a_larger_one_cameras():
    few = assign_slots(turntable(4), 1, np.zeros(3))
    assert few.order.count(None) == 2 and few.order[0] == 1
    assert set(few.order) - {None} == {0, 1, 2, 3}
    assert np.isnan(few.residual_degrees).sum() == 2
    many = assign_slots(turntable(8), 0, np.zeros(3))
    # Every 45 degrees there is a camera, so each slot has an exact one.
    assert np.abs(many.residual_degrees).max() < 1e-2 and len(set(many.order)) == 6


def test_azimuths_are_measured_about_the_object():
    cameras = turntable(3, start_degrees=30)
    assert np.allclose(camera_azimuths(cameras, np.zeros(3)), [30, 150, -90])
    assert np.allclose(wrap_degrees(np.array([180.0, -180.0, 190.0, 0.0])), [180, 180, -170, 0])


def test_an_unknown_reference_is_refused(rig):
    with pytest.raises(InputError, match="reference camera 6 does not exist"):
        assign_slots(rig, 6)


@pytest.mark.parametrize("reference", [0, 2, 3, 5])
def test_a_rig_that_fits_the_slots_is_accepted(rig, reference):
    found = cameras_in_slots(rig, reference)
    assert found.order == assign_slots(rig, reference).order
    assert np.abs(found.residual_degrees).max() < 35


@pytest.mark.parametrize(("reference", "camera", "slot"), [(1, 4, "left"), (4, 1, "right")])
def test_a_camera_too_far_from_its_slot_is_refused(rig, reference, camera, slot):
    with pytest.raises(InputError, match=rf"camera {camera} stands 40 degrees from slot {slot} \(limit 35.*rays"):
        cameras_in_slots(rig, reference)
    assert cameras_in_slots(rig, reference, limit_degrees=41).order[0] == reference


def test_fewer_cameras_than_slots_are_refused(rig):
    with pytest.raises(InputError, match="4 cameras for 6 slots: .* would stay empty; use camera conditioning"):
        cameras_in_slots(rig[:4], 0)


def test_the_rig_looks_the_same_from_every_other_camera(rig):
    # Cameras 0, 2 and 3 hang low, 1, 4 and 5 high, in turn around the arena.
    assert equivalent_references(rig, 0) == (0, 2, 3)
    assert equivalent_references(rig, 3) == (3, 0, 2)
    assert equivalent_references(rig, 0, azimuth_tolerance=1.0) == (0,)
    assert equivalent_references(rig, 5, azimuth_tolerance=22) == (5, 1, 4)
    ring = turntable(6)
    assert equivalent_references(ring, 4, np.zeros(3)) == (4, 0, 1, 2, 3, 5)
    assert equivalent_references(facelift_rig(), 0) == (0,)


def test_elevations_are_measured_from_the_horizon():
    assert np.allclose(camera_elevations(turntable(3, elevation_degrees=20), np.zeros(3)), 20)
