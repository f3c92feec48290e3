"""Turning and mirroring by projection: a point of the new world falls on the pixel that shows it."""

from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.gslrm.augment import augmented, mirrored, turned
from mouse_facelift.gslrm.batch import Batch

SIZE, VIEWS = 24, 3
POINTS = torch.tensor([[0.3, -0.2, 0.1], [-0.4, 0.1, 0.25], [0.05, 0.5, -0.3]])


@pytest.fixture
def batch() -> Batch:
    cameras = stack_cameras(turntable(VIEWS, SIZE, elevation_degrees=15))
    w2c, fxfycxcy = (torch.tensor(x, dtype=torch.float32).expand(2, -1, *x.shape[1:]) for x in cameras)
    off_centre = fxfycxcy + torch.tensor([0.0, 3.0, 1.5, -2.0])
    return Batch(torch.rand(2, VIEWS, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0)), w2c, off_centre)


def pixels(batch: Batch, points: Float[Tensor, "n 3"]) -> Float[Tensor, "b v n 2"]:
    """Where every camera sees the points."""
    seen = torch.einsum("bvij,nj->bvni", batch.w2c[..., :3, :3], points) + batch.w2c[..., None, :3, 3]
    focal, principal = batch.fxfycxcy[..., None, :2], batch.fxfycxcy[..., None, 2:]
    return focal * seen[..., :2] / seen[..., 2:] + principal


def test_a_turned_point_is_seen_where_it_was(batch: Batch) -> None:
    angles = torch.tensor([0.7, -2.0])
    after = turned(batch, angles)
    for sample, angle in enumerate(angles.tolist()):
        c, s = math.cos(angle), math.sin(angle)
        moved = POINTS @ torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]).T
        torch.testing.assert_close(pixels(after, moved)[sample], pixels(batch, POINTS)[sample], atol=1e-4, rtol=1e-5)
    assert torch.equal(after.images, batch.images)
    torch.testing.assert_close(torch.linalg.det(after.w2c[..., :3, :3]), torch.ones(2, VIEWS))


def test_a_mirrored_point_is_seen_on_the_flipped_pixel(batch: Batch) -> None:
    after = mirrored(batch, torch.tensor([True, False]))
    seen, before = pixels(after, POINTS * torch.tensor([-1.0, 1.0, 1.0])), pixels(batch, POINTS)
    flipped = torch.stack([SIZE - before[0, ..., 0], before[0, ..., 1]], dim=-1)
    torch.testing.assert_close(seen[0], flipped, atol=1e-4, rtol=1e-5)
    assert torch.equal(after.images[0], batch.images[0].flip(-1))
    torch.testing.assert_close(torch.linalg.det(after.w2c[..., :3, :3]), torch.ones(2, VIEWS))
    for name in ("images", "w2c", "fxfycxcy"):
        assert torch.equal(getattr(after, name)[1], getattr(batch, name)[1])


def test_the_generator_alone_decides_and_nothing_happens_unasked(batch: Batch) -> None:
    def draw(seed: int) -> Batch:
        return augmented(batch, turn=True, mirror=True, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1).w2c, draw(1).w2c) and not torch.equal(draw(1).w2c, draw(2).w2c)
    before = (generator := torch.Generator().manual_seed(3)).get_state()
    assert augmented(batch, turn=False, mirror=False, generator=generator) is batch
    assert torch.equal(generator.get_state(), before)
