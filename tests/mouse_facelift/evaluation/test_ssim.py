"""Structural similarity against torchmetrics, against formulas worked out by hand, and where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import structural_similarity_index_measure

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation import ssim as room
from mouse_facelift.evaluation.ssim import ssim, ssim_facelift, ssim_map


def animal_on_white(seed: int = 0, height: int = 48, width: int = 40) -> torch.Tensor:
    """White with a dark textured patch: flat regions are where rounding shows."""
    picture = torch.ones(2, height, width, 3)
    generator = torch.Generator().manual_seed(seed)
    picture[:, 12:30, 10:33] = 0.15 + 0.2 * torch.rand(2, 18, 23, 3, generator=generator)
    return picture


def torchmetrics_map(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    first, second = (picture.permute(0, 3, 1, 2).contiguous() for picture in (a, b))
    _, full = structural_similarity_index_measure(first, second, data_range=1.0, return_full_image=True)
    return torch.as_tensor(full).mean(dim=1)


@pytest.mark.parametrize("kind", ["noise", "animal"])
def test_map_equals_torchmetrics_in_double_precision(kind: str) -> None:
    torch.manual_seed(0)
    a, b = (animal_on_white(1), animal_on_white(2)) if kind == "animal" else torch.rand(2, 2, 48, 40, 3).unbind()
    difference = ssim_map(a, b).double() - torchmetrics_map(a.double(), b.double())
    assert difference.abs().max() < 1e-4
    assert abs(float(difference.mean())) < 1e-6


def test_gradient_equals_torchmetrics() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(1, 24, 20, 3, requires_grad=True), torch.rand(1, 24, 20, 3)
    weights = torch.rand(1, 24, 20)
    ours, theirs = (
        torch.autograd.grad((weights * similarity(a, b)).mean(), a)[0] for similarity in (ssim_map, torchmetrics_map)
    )
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


@pytest.mark.parametrize("mirrored", [True, False])
def test_the_way_of_the_gpu_gives_the_same_means(mirrored: bool) -> None:
    x = torch.rand(2, 3, 30, 17)
    shifted = room._shifted_sum(room._shifted_sum(room._padded(x, mirrored), 2), 3)
    torch.testing.assert_close(shifted, room._blur(x, mirrored), rtol=0, atol=1e-6)


def test_facelifts_form_is_that_of_scikit_image() -> None:
    """Its definition by scipy's filters: Gaussian truncated at 3.5 sigma, sample covariance, border cut off."""
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 32, 28, 3))
    channels = []
    for x, y in zip(a.transpose(2, 0, 1), b.transpose(2, 0, 1), strict=True):
        mx, my, xx, yy, xy = (gaussian_filter(z, 1.5, truncate=3.5) for z in (x, y, x * x, y * y, x * y))
        vx, vy, cov = (121 / 120 * v for v in (xx - mx * mx, yy - my * my, xy - mx * my))
        full = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))
        channels.append(full[5:-5, 5:-5].mean())
    found = ssim_facelift(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert float(found) == pytest.approx(float(np.mean(channels)), abs=1e-6)


def test_ssim_of_equal_flat_and_inverted_pictures() -> None:
    torch.manual_seed(0)
    picture = torch.rand(24, 24, 3)
    assert float(ssim(picture, picture)) == pytest.approx(1.0, abs=1e-5)
    assert float(ssim(picture, 1 - picture)) < 0
    # Two flat pictures differ in brightness alone: (2ab + c1) / (a^2 + b^2 + c1), c1 = 0.01^2.
    a, b = 0.2, 0.6
    flat = ssim(torch.full((24, 24, 3), a), torch.full((24, 24, 3), b))
    assert float(flat) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-4)


def test_pictures_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(InputError, match="window"):
        ssim_map(torch.zeros(1, 5, 30, 3), torch.zeros(1, 5, 30, 3))
    assert float(ssim_map(torch.ones(1, 6, 30, 3), torch.ones(1, 6, 30, 3)).mean()) == pytest.approx(1.0)
    with pytest.raises(InputError, match="window"):
        ssim_facelift(torch.zeros(10, 30, 3), torch.zeros(10, 30, 3))
