"""The hull's surface on a ray, against a ball whose silhouettes and surface are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.hull import INSIDE, hull_surface, least_alpha
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.rays import Rays, pixel_rays
from tests.worlds import ball_mask

SIZE = 48
CENTRE, RADIUS = np.array([0.1, -0.05, 0.06]), 0.4
Scene = tuple[Float[Tensor, "1 v h w"], Float[Tensor, "1 v 4 4"], Float[Tensor, "1 v 4"], Rays]


@pytest.fixture
def scene() -> Scene:
    cameras = turntable(8, SIZE, elevation_degrees=10) + turntable(4, SIZE, elevation_degrees=60)
    masks = torch.tensor(np.stack([ball_mask(c, CENTRE, RADIUS) for c in cameras]), dtype=torch.float32)[None]
    w2c, fxfycxcy = (torch.tensor(x, dtype=torch.float32)[None] for x in stack_cameras(cameras))
    return masks, w2c, fxfycxcy, pixel_rays(w2c, fxfycxcy, SIZE, SIZE)


def test_surface_lies_on_its_ray_and_near_the_ball(scene: Scene) -> None:
    masks, w2c, fxfycxcy, rays = scene
    surface = hull_surface(masks, rays, w2c, fxfycxcy)
    found = (surface.support[:, :, 0] > INSIDE - 1e-3) & (masks > INSIDE)
    assert found.sum() > 0.97 * masks.sum()
    offset = surface.points - rays.origins[..., None, None]
    along = (offset * rays.directions).sum(dim=2, keepdim=True)
    assert (offset - along * rays.directions).abs().max() < 1e-5
    # The hull holds the ball: its surface is in front of the ball's, and with twelve views not far in front of it.
    distance = (surface.points - torch.tensor(CENTRE, dtype=torch.float32)[:, None, None]).norm(dim=2)[found]
    pixel = 2.7 / float(fxfycxcy[0, 0, 0])
    assert distance.min() > RADIUS - 1.5 * pixel
    assert distance.median() < RADIUS + 2 * pixel
    to_camera = (offset.norm(dim=2) < 2.7)[found]
    assert to_camera.float().mean() > 0.95


def test_surface_is_where_the_last_view_begins_to_see_the_animal(scene: Scene) -> None:
    masks, w2c, fxfycxcy, rays = scene
    surface = hull_surface(masks, rays, w2c, fxfycxcy)
    met = (surface.support[:, :, 0] > INSIDE - 1e-3) & (masks > INSIDE)
    nearest, directions, points = (
        x[0].permute(0, 2, 3, 1)[met[0]] for x in (rays.nearest_points, rays.directions, surface.points)
    )
    offset = ((points - nearest) * directions).sum(dim=-1, keepdim=True)
    at = least_alpha(nearest, directions, torch.cat([offset, offset - 0.02], dim=1), masks[0], w2c[0], fxfycxcy[0])
    assert (at[:, 0] > INSIDE - 1e-3).all() and (at[:, 1] <= INSIDE).float().mean() > 0.95


def test_without_silhouettes_pixels_keep_their_nearest_point_and_have_no_support(scene: Scene) -> None:
    masks, w2c, fxfycxcy, rays = scene
    surface = hull_surface(masks, rays, w2c, fxfycxcy)
    nowhere = (masks == 0)[:, :, None]
    assert torch.equal(
        surface.points[nowhere.expand_as(surface.points)], rays.nearest_points[nowhere.expand(1, 12, 3, SIZE, SIZE)]
    )
    assert not surface.support[nowhere].any()
    assert not hull_surface(torch.zeros_like(masks), rays, w2c, fxfycxcy).support.any()


def test_what_one_view_sees_alone_has_no_support(scene: Scene) -> None:
    masks, w2c, fxfycxcy, rays = scene
    alone = masks.clone()
    alone[0, 3, :6, :6] = 1.0
    surface = hull_surface(alone, rays, w2c, fxfycxcy)
    assert surface.support[0, 3, 0, :6, :6].max() == 0.0
    assert surface.support[0, 3, 0][masks[0, 3] > 0].median() > INSIDE - 1e-3


def test_view_order_does_not_matter(scene: Scene) -> None:
    masks, w2c, fxfycxcy, _ = scene
    order = torch.tensor([5, 0, 11, 3, 7, 1, 9, 2, 10, 4, 8, 6])
    one = hull_surface(masks, pixel_rays(w2c, fxfycxcy, SIZE, SIZE), w2c, fxfycxcy).points[:, order]
    poses, focal = w2c[:, order], fxfycxcy[:, order]
    other = hull_surface(masks[:, order], pixel_rays(poses, focal, SIZE, SIZE), poses, focal).points
    assert torch.allclose(one, other, atol=1e-5)


def test_a_model_that_starts_on_the_hull_does_so_and_asks_for_masks(scene: Scene) -> None:
    masks, w2c, fxfycxcy, rays = scene
    model = GSLRM(GSLRMConfig(image_size=SIZE, width=64, layers=1, depth_base="hull", depth_range=0.3))
    for weight in model.pixel_gaussian_decoder[1].parameters():
        torch.nn.init.zeros_(weight)
    images = torch.cat([torch.rand(1, 12, 3, SIZE, SIZE), masks[:, :, None]], dim=2)
    gaussians = model(images, w2c, fxfycxcy)
    surface = hull_surface(masks, rays, w2c, fxfycxcy).points
    assert torch.allclose(gaussians.pixel_means, gaussians.per_pixel(surface), atol=1e-5)
    with pytest.raises(InputError, match="RGBA"):
        model(images[:, :, :3], w2c, fxfycxcy)
