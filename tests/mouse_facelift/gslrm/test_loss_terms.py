"""Every formula against a plain transcription of its definition, and finite gradients in every corner."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mouse_facelift.evaluation.ssim import ssim_map
from mouse_facelift.gslrm.loss_terms import (
    colour_error,
    distance_spread,
    mask_weights,
    pixel_misalignment,
    pixel_weights,
    silhouette_error,
    structure_error,
)


def rays_and_points(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(2, 3, 3, generator=generator) * 2
    directions = torch.nn.functional.normalize(torch.randn(2, 3, 16, 3, generator=generator), dim=-1)
    depths = 1 + torch.rand(2, 3, 16, 1, generator=generator)
    return origins, directions, origins[:, :, None] + depths * directions


@pytest.mark.parametrize("mask", [torch.zeros(2, 4, 4), torch.ones(2, 4, 4), torch.rand(2, 4, 4)])
def test_weights_have_mean_one_for_any_mask(mask: Tensor) -> None:
    assert float(pixel_weights(mask, 10.0).mean()) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(pixel_weights(mask, 1.0), torch.ones(2, 4, 4))
    assert float(mask_weights(mask).mean()) == pytest.approx(1.0 if mask.any() else 0.0, abs=1e-5)


def test_image_terms_are_weighted_means() -> None:
    torch.manual_seed(0)
    rgb, target = torch.rand(2, 2, 16, 16, 3)
    weights = pixel_weights(torch.rand(2, 16, 16), 3.0)
    squares = sum(
        float(weights[n, y, x]) * float((rgb[n, y, x] - target[n, y, x]).square().sum()) / 3
        for n in range(2)
        for y in range(16)
        for x in range(16)
    )
    assert float(colour_error(rgb, target, weights)) == pytest.approx(squares / (2 * 16 * 16), rel=1e-4)
    expected = 1 - float((weights * ssim_map(rgb, target)).mean())
    assert float(structure_error(rgb, target, weights)) == pytest.approx(expected, rel=1e-5)
    assert float(silhouette_error(rgb[..., 0], target[..., 0])) == pytest.approx(
        float((rgb[..., 0] - target[..., 0]).square().mean()), rel=1e-5
    )


def test_structure_error_stays_in_its_range() -> None:
    torch.manual_seed(0)
    picture, ones = torch.rand(3, 24, 24, 3), torch.ones(3, 24, 24)
    assert 0.0 <= float(structure_error(picture, picture, ones)) < 1e-5
    inverted = float(structure_error(1 - picture, picture, ones))
    assert 1.0 < inverted <= 2.0
    for level in (0.0, 0.5, 1.0):
        flat = torch.full((1, 16, 16, 3), level)
        assert 0.0 <= float(structure_error(flat, flat, ones[:1, :16, :16])) < 1e-5


def test_masked_structure_error_sees_the_mask_alone() -> None:
    torch.manual_seed(0)
    target, mask = torch.rand(1, 32, 32, 3), torch.zeros(1, 32, 32)
    mask[:, 10:16, 10:16] = 1.0
    far = target.clone()
    far[:, 24:] = 0.0
    assert float(structure_error(far, target, mask_weights(mask))) == pytest.approx(0.0, abs=1e-5)
    near = target.clone()
    near[:, 10:16, 10:16] = 0.0
    expected = 1 - float(ssim_map(near, target)[:, 10:16, 10:16].mean())
    assert float(structure_error(near, target, mask_weights(mask))) == pytest.approx(expected, rel=1e-4)


def test_points_on_their_rays_are_aligned() -> None:
    origins, directions, points = rays_and_points()
    assert float(pixel_misalignment(points, origins, directions)) < 1e-6


def test_misalignment_is_the_distance_from_the_ray() -> None:
    origins, directions, points = rays_and_points()
    sideways = torch.cross(directions, torch.tensor([0.3, -0.5, 0.8]).expand_as(directions), dim=-1)
    sideways = torch.nn.functional.normalize(sideways, dim=-1)
    mask = torch.rand(2, 3, 16)
    moved = points + 0.25 * sideways
    assert float(pixel_misalignment(moved, origins, directions)) == pytest.approx(0.25, rel=1e-4)
    masked = pixel_misalignment(moved, origins, directions, mask)
    assert float(masked) == pytest.approx(0.25 * float(mask.mean()), rel=1e-4)


def test_misalignments_gradient_takes_the_length_along_the_ray_as_given() -> None:
    origins, directions, points = rays_and_points()
    points = (points + 0.1 * torch.randn_like(points)).requires_grad_()
    pixel_misalignment(points, origins, directions).backward()
    offsets = points.detach() - origins[:, :, None]
    residuals = offsets - (offsets * directions).sum(-1, keepdim=True) * directions
    expected = residuals / residuals.norm(dim=-1, keepdim=True) / residuals[..., 0].numel()
    assert points.grad is not None
    torch.testing.assert_close(points.grad, expected, rtol=1e-3, atol=1e-6)


def test_distance_spread_by_its_definition() -> None:
    origins, _, points = rays_and_points()
    total = 0.0
    for b in range(2):
        for v in range(3):
            distances = [math.dist(p, origins[b, v].tolist()) for p in points[b, v].tolist()]
            mean = sum(distances) / 16
            deviation = math.sqrt(sum((d - mean) ** 2 for d in distances) / 15)
            for d in distances:
                wanted = (d - mean) / (deviation + 1e-8) * 0.5 + float(origins[b, v].norm())
                total += (d - wanted) ** 2
    assert float(distance_spread(points, origins)) == pytest.approx(total / (2 * 3 * 16), rel=1e-4)


def test_distance_spread_draws_points_to_half_a_unit_around_the_origins_distance() -> None:
    origins, directions, _ = rays_and_points()
    depths = torch.rand(2, 3, 16, 1, requires_grad=True)
    optimiser = torch.optim.SGD([depths], lr=20.0)
    order = depths.detach().argsort(dim=2)
    for _ in range(60):
        optimiser.zero_grad()
        distance_spread(origins[:, :, None] + depths * directions, origins).backward()
        optimiser.step()
    assert depths.detach().gather(2, order).diff(dim=2).min() > -1e-4
    torch.testing.assert_close(depths.detach().mean(dim=2)[..., 0], origins.norm(dim=-1), rtol=0, atol=1e-2)
    torch.testing.assert_close(depths.detach().std(dim=2)[..., 0], torch.full((2, 3), 0.5), rtol=0, atol=1e-2)


def test_geometry_gradients_are_finite_where_all_points_coincide() -> None:
    origins, directions, _ = rays_and_points()
    for start in (origins[:, :, None].expand(-1, -1, 16, -1), torch.zeros(2, 3, 16, 3)):
        points = start.clone().requires_grad_()
        empty = torch.zeros(2, 3, 16)
        (distance_spread(points, origins) + pixel_misalignment(points, origins, directions, empty)).backward()
        assert points.grad is not None and torch.isfinite(points.grad).all()
