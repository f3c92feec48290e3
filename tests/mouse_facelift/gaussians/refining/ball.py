"""A ball of two colours, seen exactly: views for tests of what is made from views alone."""

from __future__ import annotations

import numpy as np
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.evaluation.rivals import Views

RADIUS = 0.3


def ball_views(views: int, size: int, elevation_degrees: float = 25.0) -> Views:
    """The ball about the origin, red where x > 0 and green elsewhere, from a circle of cameras."""
    cameras = turntable(views, size, elevation_degrees=elevation_degrees, hfov_degrees=20.0)
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=-1)
    images = np.zeros((views, 4, size, size), np.float32)
    for image, camera in zip(images, cameras, strict=True):
        rays = camera.rays(grid)
        middle = -(rays @ camera.centre)
        half = RADIUS**2 - (camera.centre @ camera.centre - middle**2)
        hit = half > 0
        points = camera.centre + (middle - np.sqrt(np.maximum(half, 0)))[..., None] * rays
        image[0], image[1], image[3] = points[..., 0] > 0, points[..., 0] <= 0, hit
    w2c, fxfycxcy = (torch.from_numpy(array).float() for array in stack_cameras(cameras))
    return Views(torch.from_numpy(images), w2c, fxfycxcy)
