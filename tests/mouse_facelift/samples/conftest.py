"""Fixtures of the ball world, with and without lens distortion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from tests.worlds import BARREL, ball_mask, make_ring


@pytest.fixture
def ring() -> Callable[..., list[Camera]]:
    return make_ring


@pytest.fixture
def ball() -> Callable[..., np.ndarray]:
    return ball_mask


@pytest.fixture(params=["pinhole", "distorted"])
def distortion(request: pytest.FixtureRequest) -> np.ndarray | None:
    return BARREL if request.param == "distorted" else None
