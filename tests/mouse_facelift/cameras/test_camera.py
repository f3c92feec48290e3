"""The camera's algebra, against OpenCV and against itself."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mouse_facelift.cameras.camera import (
    Camera,
    intrinsics_from_fov,
    intrinsics_from_pixel_centre,
    intrinsics_to_pixel_centre,
    stack_cameras,
)
from mouse_facelift.cameras.poses import look_at
from mouse_facelift.errors import InputError

OPENCV_K = np.array([[1640.0, 3.5, 600.0], [0, 1655.0, 480.0], [0, 0, 1]])
DISTORTION = np.array([-0.21, 0.17, 0.002, -0.003, 0.05])


def _camera(distortion: np.ndarray | None = None, skew: float = 3.5) -> Camera:
    K = intrinsics_from_pixel_centre(OPENCV_K)
    K[0, 1] = skew
    camera = look_at("a", np.array([200.0, -150.0, 120.0]), np.array([5.0, 10.0, 20.0]), K, 1152, 1024)
    return replace(camera, distortion=distortion)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-40, 40, (200, 3)) + [5, 10, 20]


@pytest.mark.parametrize("distortion", [None, DISTORTION])
def test_projects_as_opencv_half_a_pixel_away(points: np.ndarray, distortion: np.ndarray | None) -> None:
    camera = _camera(distortion, skew=0.0)  # OpenCV's model knows no skew.
    K = intrinsics_to_pixel_centre(camera.K)
    rotation, _ = cv2.Rodrigues(np.array(camera.R))
    expected, _ = cv2.projectPoints(points, rotation, np.array(camera.t), K, distortion)
    np.testing.assert_allclose(camera.project(points), expected[:, 0] + 0.5, atol=1e-6)


@pytest.mark.parametrize("distortion", [None, DISTORTION])
def test_rays_go_back_through_the_points_they_came_from(points: np.ndarray, distortion: np.ndarray | None) -> None:
    camera = _camera(distortion)
    pixels = camera.project(points)
    distance = np.linalg.norm(points - camera.centre, axis=1, keepdims=True)
    np.testing.assert_allclose(camera.centre + distance * camera.rays(pixels), points, atol=1e-7)
    np.testing.assert_allclose(camera.pixels_from_plane(camera.plane_from_pixels(pixels)), pixels, atol=1e-9)


def test_a_similarity_of_the_world_leaves_every_pixel_where_it_was(points: np.ndarray) -> None:
    camera, centre, scale = _camera(DISTORTION), np.array([3.0, -20.0, 11.0]), 0.0081
    moved = camera.normalised(centre, scale)
    np.testing.assert_allclose(moved.project(scale * (points - centre)), camera.project(points), atol=1e-9)
    np.testing.assert_allclose(moved.centre, scale * (camera.centre - centre), atol=1e-12)


def test_resizing_scales_the_projection(points: np.ndarray) -> None:
    camera = _camera(DISTORTION)
    small = camera.resized(576, 256)
    np.testing.assert_allclose(small.project(points), camera.project(points) * [0.5, 0.25], atol=1e-9)
    assert (small.width, small.height) == (576, 256)


def test_world_and_camera_matrices_are_inverse() -> None:
    camera = _camera()
    np.testing.assert_allclose(camera.w2c @ camera.c2w, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(camera.c2w[:3, 3], camera.centre)
    assert camera.depth(camera.centre + 7 * camera.R[2]) == pytest.approx(7)


def test_field_of_view_reaches_the_edges() -> None:
    K = intrinsics_from_fov(50, 512, 512)
    camera = Camera("a", 512, 512, K, np.eye(3), np.zeros(3))
    edge = np.tan(np.radians(25))
    np.testing.assert_allclose(camera.project(np.array([[-edge, 0, 1], [edge, 0, 1]])), [[0, 256], [512, 256]])
    assert camera.fxfycxcy[0] == pytest.approx(548.99, abs=0.01)


def test_contains_includes_the_border_and_nothing_beyond() -> None:
    pixels = np.array([[0, 0], [1152, 1024], [-0.01, 5], [5, 1024.01]])
    assert _camera().contains(pixels).tolist() == [True, True, False, False]


def test_lossy_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="skew or distortion"):
        _ = _camera(DISTORTION, skew=0).fxfycxcy
    with pytest.raises(ValueError, match="skew or distortion"):
        stack_cameras([_camera(skew=1)])


def test_fields_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        _camera().K[0, 0] = 1


def test_survives_a_pickle(points: np.ndarray) -> None:
    camera = _camera(DISTORTION)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(camera)).project(points), camera.project(points))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"R": np.diag([1.0, 1.0, -1.0])}, r"not a rotation \(det -1"),
        ({"R": np.eye(3) * 1.01}, "not a rotation"),
        ({"K": OPENCV_K.T}, "transposed"),
        ({"K": np.diag([-1.0, 1.0, 1.0])}, "positive focal"),
        ({"t": np.zeros((3, 1))}, r"t has shape \(3, 1\)"),
        ({"t": np.array([0, np.nan, 0])}, "not finite"),
        ({"distortion": np.zeros(4)}, "distortion has shape"),
    ],
)
def test_what_is_not_a_camera_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(_camera(), **change)
