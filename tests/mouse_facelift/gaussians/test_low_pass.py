from __future__ import annotations

import numpy as np
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.low_pass import with_low_pass
from mouse_facelift.gaussians.rendering import render
from tests.synthetic import blob


def draw(gaussians: Gaussians, size: int) -> torch.Tensor:
    w2c, fxfycxcy = (torch.from_numpy(a).float() for a in stack_cameras(turntable(1, size)))
    return render(gaussians, w2c, fxfycxcy, size, size, backend="reference").rgb[0]


def test_enlarged_pictures_look_like_the_small_one_only_with_its_blur() -> None:
    """A cloud of Gaussians much thinner than a pixel, drawn at 16 px and at 128 px averaged back to 16."""
    dust = blob(count=150)
    dust = Gaussians(dust.means, dust.scales * 0.05, *dust.tensors()[2:])
    size, factor = 16, 8
    focal = float(stack_cameras(turntable(1, size))[1][0, 0])
    small = draw(dust, size)

    def averaged(gaussians: Gaussians) -> torch.Tensor:
        return draw(gaussians, size * factor).reshape(size, factor, size, factor, 3).mean((1, 3))

    lost = float((averaged(dust) - small).abs().mean())
    kept = float((averaged(with_low_pass(dust, 2.7 / focal)) - small).abs().mean())
    assert kept < 0.25 * lost


def test_variances_add() -> None:
    gaussians = blob()
    twice = with_low_pass(with_low_pass(gaussians, 0.3), 0.4)
    once = with_low_pass(gaussians, 0.5)
    np.testing.assert_allclose(twice.scales.numpy(), once.scales.numpy(), rtol=1e-6)
    added = (once.scales.square() - gaussians.scales.square()).numpy()
    np.testing.assert_allclose(added, CONVENTIONS.low_pass_px2 * 0.25, rtol=1e-4)
    assert torch.equal(with_low_pass(gaussians, 0.0).scales, gaussians.scales.square().sqrt())


def test_only_widths_change() -> None:
    gaussians = blob()
    wide = with_low_pass(gaussians, 0.1)
    for name in ("means", "rotations", "opacities", "colours"):
        assert torch.equal(getattr(wide, name), getattr(gaussians, name))
    assert (wide.scales > gaussians.scales).all()
