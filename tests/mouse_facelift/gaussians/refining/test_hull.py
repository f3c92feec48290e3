from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import mask_iou
from mouse_facelift.evaluation.rivals import Views
from mouse_facelift.gaussians.gaussians import rotation_matrices
from mouse_facelift.gaussians.refining import HullConfig, gaussians_from_hull
from mouse_facelift.gaussians.refining.hull import look_up, rotations_to
from mouse_facelift.gaussians.rendering import render
from tests.mouse_facelift.gaussians.refining.ball import RADIUS, ball_views


@pytest.fixture(scope="module")
def ball() -> Views:
    return ball_views(views=6, size=64)


def test_a_ball_seen_all_around_gives_its_surface_and_outward_normals(ball: Views) -> None:
    gaussians = gaussians_from_hull(ball.images, ball.w2c, ball.fxfycxcy, HullConfig(inset=0.0))
    distance = gaussians.means.norm(dim=-1)
    # Six silhouettes do not make a ball: the hull has corners, never a dent.
    assert distance.min() > 0.85 * RADIUS and distance.median() < 1.15 * RADIUS
    outward = rotation_matrices(gaussians.rotations)[..., 2]
    assert ((outward * gaussians.means).sum(-1) / distance).median() > 0.9


def test_its_silhouettes_are_those_it_was_made_from(ball: Views) -> None:
    gaussians = gaussians_from_hull(ball.images, ball.w2c, ball.fxfycxcy)
    drawn = render(gaussians, ball.w2c, ball.fxfycxcy, 64, 64)
    for alpha, image in zip(drawn.alpha, ball.images, strict=True):
        assert mask_iou(alpha, image[3]) > 0.85


def test_colours_come_from_the_views_that_see_them_not_from_behind(ball: Views) -> None:
    """The ball is red where x > 0 and green elsewhere; views from behind show the other colour on the same ray."""
    gaussians = gaussians_from_hull(ball.images, ball.w2c, ball.fxfycxcy)
    x = gaussians.means[:, 0]
    red, green = gaussians.colours[x > 0.4 * RADIUS], gaussians.colours[x < -0.4 * RADIUS]
    assert red[:, 0].mean() > 0.75 > 0.25 > red[:, 1].mean()
    assert green[:, 1].mean() > 0.75 > 0.25 > green[:, 0].mean()


def test_finer_voxels_make_more_and_smaller_gaussians(ball: Views) -> None:
    few, many = (
        gaussians_from_hull(ball.images, ball.w2c, ball.fxfycxcy, HullConfig(voxel_pixels=side)) for side in (3.0, 1.5)
    )
    assert len(many) > 2.5 * len(few)
    assert many.scales.max() < few.scales.max()


def test_silhouettes_that_contradict_each_other_or_are_empty_are_refused(ball: Views) -> None:
    apart = ball.images.clone()
    apart[0, 3] = 0
    apart[0, 3, 20:44, 7:10] = 1
    with pytest.raises(InputError, match=r"hull is empty.*inspect"):
        gaussians_from_hull(apart, ball.w2c, ball.fxfycxcy)
    empty = ball.images.clone()
    empty[2, 3] = 0
    with pytest.raises(InputError, match="view 2 has an empty silhouette"):
        gaussians_from_hull(empty, ball.w2c, ball.fxfycxcy)


def test_rotations_take_the_z_axis_to_every_normal() -> None:
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    normals = torch.cat([normals, torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]])])
    torch.testing.assert_close(rotation_matrices(rotations_to(normals))[..., 2], normals, atol=1e-5, rtol=0)


def test_looking_up_a_picture_agrees_with_the_pixel_convention(ball: Views) -> None:
    """The centre of pixel (row 3, column 5) lies at (5.5, 3.5)."""
    picture = torch.arange(64.0 * 64).reshape(1, 64, 64)
    lens, depth = ball.fxfycxcy[0], 2.0
    point = torch.tensor([[(5.5 - lens[2]) / lens[0] * depth, (3.5 - lens[3]) / lens[1] * depth, depth]])
    value, covered, z = look_up(picture, point, torch.eye(4), lens)
    assert value.item() == pytest.approx(3 * 64 + 5, abs=1e-2) and covered.item() and z.item() == depth
    assert not look_up(picture, -point, torch.eye(4), lens)[1].item()


@pytest.mark.parametrize("change", [{"voxel_pixels": 0.0}, {"opacity": 1.0}, {"inset": math.nan}, {"most_voxels": 2}])
def test_impossible_settings_are_refused_by_name(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(HullConfig(), **change)
