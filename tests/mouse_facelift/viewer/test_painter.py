from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.viewer.painter import Painter, Sight


def dot(x: float, y: float, z: float) -> Gaussians:
    one = torch.ones(1)
    return Gaussians(torch.tensor([[x, y, z]]), torch.full((1, 3), 0.05), torch.eye(4)[:1], one, torch.zeros(1, 3))


def sight(width: int, height: int) -> Sight:
    w2c = np.eye(4)
    w2c[2, 3] = 5.0
    return Sight(w2c, math.radians(60), width, height)


@pytest.fixture(scope="module")
def painter() -> Painter:
    painter = Painter()
    while not painter.ready():
        pass
    return painter


@pytest.mark.parametrize("longest", [4000, 333, 101])
def test_a_point_lies_where_the_camera_projects_it(painter: Painter, longest: int) -> None:
    seen = sight(517, 300)
    picture = painter.draw([dot(0.8, -0.6, 0.3)], seen, longest)
    assert max(picture.shape[:2]) == min(517, longest)
    darkness = 255.0 - picture[..., 0]
    rows, columns = np.indices(darkness.shape) + 0.5
    # Back to the canvas, over which the browser stretches every picture.
    x = (columns * darkness).sum() / darkness.sum() * 517 / picture.shape[1]
    y = (rows * darkness).sum() / darkness.sum() * 300 / picture.shape[0]
    focal = 150 / math.tan(math.radians(30))
    assert (x, y) == pytest.approx((258.5 + focal * 0.8 / 5.3, 150 - focal * 0.6 / 5.3), abs=0.25)


def test_everything_is_drawn_together_and_what_is_nearer_hides(painter: Painter) -> None:
    near, far = dot(0.0, 0.0, -1.0), dot(0.0, 0.0, 1.0)
    red = Gaussians(*near.tensors()[:4], torch.tensor([[1.0, 0.0, 0.0]]))
    picture = painter.draw([far, red], sight(101, 101), 101)
    assert picture[50, 50, 0] > 240 and picture[50, 50, 1] < 15
    assert (painter.draw([], sight(64, 32), 999) == 255).all()
