"""Which camera is which view: references by rig, orders by slot, pictures and cameras of one size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET
from mouse_facelift.mvdiffusion.views import (
    ViewRule,
    ViewsConfig,
    cameras_of,
    choose_references,
    composited,
    decode_reduced,
    drawn_orders,
    in_order,
    mirrored_slots,
    some_mirrored,
    straightened,
    view_orders,
)
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample

SLOTS = ViewRule(FACELIFT_SLOTS, "none")
RAYS = ViewRule(REFERENCE_AND_TARGET, "rays")
ROW = row_from_sample(ring_sample(blob(0), 0, views=6, size=32))


def _facelift_row(order: list[int], shift: tuple[float, float] = (0, 0)) -> dict[str, Any]:
    """A row whose cameras are FaceLift's, shuffled, with the world's origin elsewhere."""
    moved = np.eye(4)
    moved[:2, 3] = shift
    w2c, fxfycxcy = stack_cameras([facelift_rig()[i] for i in order])
    names = [f"cam{i}" for i in range(6)]
    return {"sample_id": "s", "camera": names, "w2c": (w2c @ moved).reshape(-1, 16), "fxfycxcy": fxfycxcy}


def test_facelifts_own_cameras_are_found_in_any_order_and_wherever_the_animal_is() -> None:
    order = [3, 0, 5, 1, 4, 2]
    front = order.index(0)
    for shift in ((0.0, 0.0), (0.8, -0.6)):
        row = _facelift_row(order, shift)
        (found,) = view_orders(row, (f"cam{front}",), SLOTS)
        assert [order[i] for i in found] == list(range(6))
        assert choose_references([row], ViewsConfig(), SLOTS)[0] == f"cam{front}"


def test_a_symmetric_rig_has_all_its_cameras_as_references() -> None:
    names = choose_references([ROW, ROW], ViewsConfig(), SLOTS)
    assert set(names) == set(ROW["camera"])
    orders = view_orders(ROW, names, SLOTS)
    assert [ROW["camera"][order[0]] for order in orders] == list(names)
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert choose_references([ROW], ViewsConfig(references=(names[2],)), SLOTS) == (names[2],)


def test_with_rays_every_camera_is_a_reference_and_the_rest_are_targets() -> None:
    assert choose_references([ROW], ViewsConfig(), RAYS) == tuple(ROW["camera"])
    assert view_orders(ROW, ROW["camera"][4:5], RAYS).tolist() == [[4, 0, 1, 2, 3, 5]]
    with pytest.raises(InputError, match="do not say where a view stands"):
        ViewRule(REFERENCE_AND_TARGET, "none")


def test_draws_keep_the_reference_and_take_targets_without_repeating() -> None:
    orders = torch.from_numpy(view_orders(ROW, ROW["camera"], RAYS))[None].repeat(400, 1, 1)
    counts = torch.tensor([2] * 200 + [6] * 200)
    drawn = drawn_orders(orders, counts, 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (400, 4) and all(len(set(row)) == 4 for row in drawn.tolist())
    assert set(drawn[:200, 0].tolist()) == {0, 1} and set(drawn[200:, 0].tolist()) == set(range(6))
    assert set(drawn[:, 1:].flatten().tolist()) == set(range(6))
    whole = drawn_orders(orders, counts, 0, torch.Generator().manual_seed(0))
    assert torch.equal(whole[:, 0], drawn[:, 0]) and whole.shape == (400, 6)
    parts = torch.arange(12).reshape(2, 6)
    assert in_order(parts, torch.tensor([[5, 0], [1, 2]])).tolist() == [[5, 0], [7, 8]]


def test_views_of_one_size_keep_their_cameras_exactly() -> None:
    views = decode_reduced(ROW, 16)
    sample = ring_sample(blob(0), 0, views=6, size=32)
    assert views.images.shape == (6, 16, 16, 4)
    for intrinsics, camera in zip(views.fxfycxcy, sample.cameras, strict=True):
        np.testing.assert_allclose(intrinsics, camera.resized(16, 16).fxfycxcy, rtol=1e-6)
    for found, camera in zip(cameras_of(ROW), sample.cameras, strict=True):
        np.testing.assert_allclose(found.centre, camera.centre, atol=1e-5)
    tall = dict(ROW, images=row_from_sample(replace(sample, images=sample.images[:, :24]))["images"])
    with pytest.raises(InputError, match="ring-000000, camera turntable_000: an image of 32x24 px"):
        decode_reduced(tall, 16)
    damaged = dict(ROW, images=[{"bytes": b"not an image", "path": ""}] * 6)
    with pytest.raises(InputError, match="ring-000000, camera turntable_000: an image .* is damaged; restore the data"):
        decode_reduced(damaged, 16)


def test_pictures_lie_over_their_samples_own_level() -> None:
    images = torch.zeros(2, 1, 1, 2, 4, dtype=torch.uint8)
    images[..., 0, :] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
    laid = composited(images, torch.tensor([0.5, 1.0]))
    assert laid[:, 0, :, 0, 0].tolist() == [[1, 0, 0]] * 2
    assert laid[:, 0, :, 0, 1].tolist() == [[0.5] * 3, [1.0] * 3]


def test_pictures_come_back_from_any_level() -> None:
    images = torch.randint(0, 256, (1, 2, 4, 4, 4), dtype=torch.uint8)
    images[..., 3] = images[..., 3].clamp_min(32)
    laid = composited(images, torch.tensor([0.5]), channels=4)
    assert laid.shape == (1, 2, 4, 4, 4) and torch.equal(laid[:, :, :3], composited(images, torch.tensor([0.5])))
    back = straightened(laid[0], 0.5)
    assert (back.movedim(1, -1) * 255 - images[0].float()).abs().max() < 1e-2


def test_a_mirrored_object_is_one_a_mirrored_rig_sees() -> None:
    """Points of the mirrored world project to the flipped pictures' pixels, in the slot on the other side."""
    sample = ring_sample(blob(0), 0, views=6, size=32)
    order = view_orders(ROW, ROW["camera"][:1], SLOTS)[0]
    w2c, fxfycxcy = (torch.from_numpy(part[order]).float()[None] for part in stack_cameras(sample.cameras))
    images = composited(torch.from_numpy(sample.images[order])[None], torch.ones(1), 4)
    batch = Batch(*(part.repeat(40, *[1] * (part.ndim - 1)) for part in (images, w2c, fxfycxcy)))
    found = some_mirrored(batch, FACELIFT_SLOTS, torch.Generator().manual_seed(0))
    changed = (found.images != batch.images).flatten(1).any(dim=1)
    assert 10 < int(changed.sum()) < 30 and torch.equal(found.w2c[~changed], batch.w2c[~changed])
    mirror, swap = found.images[changed][0], [0, 5, 4, 3, 2, 1]
    assert mirrored_slots(FACELIFT_SLOTS) == tuple(swap)
    assert torch.equal(mirror, images[0][swap].flip(-1))
    point = torch.tensor([0.2, -0.1, 0.3, 1.0])
    seen = _projected(w2c[0], fxfycxcy[0], point)[swap]
    mirrored_point = point * torch.tensor([-1.0, 1, 1, 1])
    again = _projected(found.w2c[changed][0], found.fxfycxcy[changed][0], mirrored_point)
    assert torch.allclose(again[:, 0], 32 - seen[:, 0], atol=1e-4) and torch.allclose(
        again[:, 1], seen[:, 1], atol=1e-4
    )


def _projected(w2c: torch.Tensor, fxfycxcy: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    seen = (w2c @ point)[:, :3]
    return seen[:, :2] / seen[:, 2:] * fxfycxcy[:, :2] + fxfycxcy[:, 2:]


def test_slots_without_a_mirror_image_are_refused() -> None:
    with pytest.raises(InputError, match="slot left has no right"):
        mirrored_slots(("front", "left"))


@pytest.mark.parametrize("fields", [{"image_size": 0}, {"num_targets": -1}])
def test_impossible_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="views:"):
        ViewsConfig(**fields)
