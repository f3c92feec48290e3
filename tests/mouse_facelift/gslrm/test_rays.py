"""Rays against stored vectors of the published model, and against the cameras they claim to describe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.gslrm.rays import invert_rigid, pixel_footprint, pixel_rays, pixel_vectors

# (view, row, column) -> direction and nearest point, of FaceLift's six inference cameras at 512 px.
VECTORS = {
    (0, 0, 0): (-0.388751, 0.835311, 0.388751, -0.876766, -0.816089, 0.876767),
    (0, 255, 255): (-0.000911, 0.999999, 0.000911, -0.002459, -0.000004, 0.002459),
    (0, 100, 400): (0.245496, 0.932705, 0.264184, 0.618234, -0.351167, 0.665296),
    (1, 0, 0): (0.315766, 0.865543, 0.388751, -1.197029, 0.042906, 0.876766),
    (1, 511, 13): (0.332251, 0.858011, -0.391698, -1.154169, 0.040584, -0.890107),
    (2, 300, 7): (0.908543, 0.411249, -0.073644, -0.471283, 1.008821, -0.180654),
    (3, 0, 511): (-0.388751, -0.835311, 0.388751, -0.876766, 0.816089, 0.876767),
    (4, 17, 200): (-0.913270, -0.092326, 0.396753, 0.448030, -0.227661, 0.978326),
    (5, 400, 100): (-0.846328, 0.472715, -0.245496, -0.222123, -0.718748, -0.618234),
}


def rig() -> tuple[Float[Tensor, "1 6 4 4"], Float[Tensor, "1 6 4"]]:
    w2c, fxfycxcy = stack_cameras(facelift_rig())
    return torch.as_tensor(np.asarray(w2c))[None], torch.as_tensor(np.asarray(fxfycxcy))[None].float()


@pytest.fixture(scope="module")
def vectors() -> Float[Tensor, "1 6 9 512 512"]:
    w2c, fxfycxcy = rig()
    return pixel_vectors(torch.full((1, 6, 3, 512, 512), 0.25), pixel_rays(w2c, fxfycxcy, 512, 512))


@pytest.mark.parametrize("pixel", list(VECTORS), ids=str)
def test_pixel_vectors_equal_the_published_models(
    vectors: Float[Tensor, "1 6 9 512 512"], pixel: tuple[int, int, int]
) -> None:
    view, row, column = pixel
    wanted = torch.tensor((-0.5, -0.5, -0.5, *VECTORS[pixel]))
    torch.testing.assert_close(vectors[0, view, :, row, column], wanted, atol=1.5e-6, rtol=0)


def test_every_ray_projects_back_to_its_pixel() -> None:
    w2c, fxfycxcy = rig()
    fxfycxcy = fxfycxcy / 16.0 * torch.tensor([1.0, 1.2, 0.9, 1.1])
    rays = pixel_rays(w2c, fxfycxcy, 32, 24)
    points = rays.origins[..., None, None] + 3.3 * rays.directions
    in_camera = torch.einsum("bvij,bvjhw->bvihw", w2c[..., :3, :3].float(), points) + w2c[..., :3, 3, None, None]
    focal, centre = fxfycxcy[..., :2, None, None], fxfycxcy[..., 2:, None, None]
    pixels = in_camera[:, :, :2] / in_camera[:, :, 2:] * focal + centre
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    wanted = torch.stack([columns, rows]).expand_as(pixels).to(pixels)
    torch.testing.assert_close(pixels, wanted, atol=1e-4, rtol=0)


def test_nearest_points_are_perpendicular_to_their_rays() -> None:
    rays = pixel_rays(*rig(), 8, 8)
    torch.testing.assert_close(
        (rays.nearest_points * rays.directions).sum(dim=2), torch.zeros(1, 6, 8, 8), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(rays.directions.norm(dim=2), torch.ones(1, 6, 8, 8))


def test_invert_rigid_is_the_inverse_even_far_away() -> None:
    w2c = rig()[0].clone()
    w2c[..., :3, 3] *= 1000.0
    torch.testing.assert_close(invert_rigid(w2c), torch.linalg.inv(w2c).float(), atol=1e-4, rtol=1e-6)


def test_rays_ignore_autocast() -> None:
    w2c, fxfycxcy = rig()
    wanted = pixel_rays(w2c.float(), fxfycxcy, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pixel_rays(w2c.float(), fxfycxcy, 16, 16)
    assert found.directions.dtype == torch.float32
    assert torch.equal(found.directions, wanted.directions)


def test_footprint_is_the_distance_between_neighbouring_rays() -> None:
    w2c, fxfycxcy = rig()
    rays = pixel_rays(w2c, fxfycxcy, 512, 512)
    centre = rays.nearest_points[0, 0, :, 256, 256:258]
    found = pixel_footprint(rays, fxfycxcy)[0, 0, 0, 256, 256]
    torch.testing.assert_close(found, (centre[:, 1] - centre[:, 0]).norm(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("half", "worst"), [(torch.float16, 0.25), (torch.bfloat16, 1.85)])
def test_half_precision_turns_rays_as_far_as_in_the_published_code(half: torch.dtype, worst: float) -> None:
    w2c, fxfycxcy = rig()
    exact, rounded = (pixel_rays(w2c, fxfycxcy, 512, 512, each).directions for each in (None, half))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.norm(dim=2), torch.ones(1, 6, 512, 512))
    # Chord of the angle between the rays, in pixels at the focal length.
    pixels = (rounded - exact).norm(dim=2) * fxfycxcy[0, 0, 0]
    assert float(pixels.max()) == pytest.approx(worst, abs=0.006)
