"""Scenes that meet every case a renderer distinguishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians


@dataclass(frozen=True)
class Scene:
    gaussians: Gaussians
    w2c: Float[Tensor, "v 4 4"]
    fxfycxcy: Float[Tensor, "v 4"]
    width: int
    height: int


def cameras(views: int, width: int, height: int) -> tuple[Float[Tensor, "v 4 4"], Float[Tensor, "v 4"]]:
    """Randomly turned cameras 2.7 from the origin, looking roughly at it, with unequal focals, off-centre."""
    w2c = torch.eye(4).repeat(views, 1, 1)
    turn = torch.linalg.qr(torch.randn(views, 3, 3))[0]
    w2c[:, :3, :3] = turn * torch.linalg.det(turn)[:, None, None]
    w2c[:, :3, 3] = torch.tensor([0.05, -0.1, 2.7])
    focal = torch.tensor([1.1 * width, 1.2 * width])
    lens = torch.cat([focal, torch.tensor([0.48 * width, 0.55 * height])])
    return w2c, lens.repeat(views, 1)


def make_scene(kind: str, seed: int = 0, n: int = 150, views: int = 2, width: int = 37, height: int = 26) -> Scene:
    """`mixed`: overlapping, tiny, huge, thin, opaque, faint, behind the camera, off screen, not finite;
    `translucent`: an untrained model's cloud, many layers deep; `opaque`: pixels finish after a few splats."""
    torch.manual_seed(seed)
    means, scales = torch.randn(n, 3) * 0.4, torch.exp(torch.randn(n, 3) * 0.5 - 2.3)
    opacities = torch.rand(n)
    colours, rotations = torch.rand(n, 3) * 1.2, torch.randn(n, 4)
    if kind == "translucent":
        opacities = torch.sigmoid(torch.randn(n) * 0.3 - 2.0)
    elif kind == "opaque":
        opacities = 0.9 + 0.1 * torch.rand(n)
    else:
        tenth = n // 10
        scales[:tenth] = 1e-5
        scales[tenth : 2 * tenth] *= 20
        scales[2 * tenth : 3 * tenth, 0] *= 30
        means[3 * tenth : 4 * tenth] *= 8
        opacities[4 * tenth : 5 * tenth] = 1.0
        opacities[5 * tenth : 6 * tenth] *= 0.01
        means[-1, 0], scales[-2, 1], opacities[-3], colours[-4, 2] = torch.nan, torch.inf, torch.nan, torch.inf
    rotations[0] = 0.0
    w2c, lens = cameras(views, width, height)
    return Scene(Gaussians(means, scales, rotations, opacities, colours), w2c, lens, width, height)


@pytest.fixture
def scene() -> Callable[..., Scene]:
    return make_scene
