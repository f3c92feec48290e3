from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.viewer.splats import extent, frustum, splats
from tests.synthetic import blob


def test_covariances_are_those_of_the_gaussians() -> None:
    gaussians = blob(1, 30)
    drawn = splats(gaussians)
    assert np.array_equal(drawn.centers, gaussians.means.numpy())
    assert np.abs(drawn.covariances - np.swapaxes(drawn.covariances, 1, 2)).max() < 1e-6
    eigenvalues = np.linalg.eigvalsh(drawn.covariances)
    assert np.allclose(eigenvalues, np.sort(gaussians.scales.numpy() ** 2, axis=1), rtol=1e-4)
    one = Gaussians(
        torch.zeros(1, 3),
        torch.tensor([[0.3, 0.1, 0.2]]),
        torch.tensor([[math.cos(0.25), 0.0, 0.0, math.sin(0.25)]]),
        torch.ones(1),
        torch.full((1, 3), 1.5),
    )
    turned = splats(one)
    axis = np.array([math.cos(0.5), math.sin(0.5), 0.0])
    assert axis @ turned.covariances[0] @ axis == pytest.approx(0.09)
    assert turned.rgbs.max() == 1.0 and turned.opacities.shape == (1, 1)


def test_extent_ignores_strays() -> None:
    gaussians = blob(0, 500)
    far = gaussians.means.clone()
    far[7] = 1e6
    middle, radius = extent(Gaussians(far, *gaussians.tensors()[1:]))
    assert radius < 1.5 and np.abs(middle).max() < 1
    assert extent(Gaussians.empty())[1] == 1.0


def test_a_frustum_stands_where_the_camera_does() -> None:
    camera = turntable(3, 64, hfov_degrees=40.0)[1]
    image = np.full((64, 64, 4), 200, np.uint8)
    image[..., 3] = 0
    shape = frustum(camera, image, 2.0, np.array([5.0, 0, 0]), longest=16)
    assert np.allclose(shape.position, camera.centre * 2 + [5, 0, 0])
    assert math.degrees(shape.fov) == pytest.approx(40.0) and shape.aspect == 1.0
    assert shape.image is not None and shape.image.shape == (16, 16, 3) and shape.image.min() == 255
    w, x, y, z = shape.wxyz
    # The third column of camera-to-world is the way the camera looks.
    forward = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
    assert np.allclose(forward, camera.R[2])
