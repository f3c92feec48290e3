"""The training step: what is drawn, what is compared, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.loss_config import LossConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.step import (
    Background,
    ViewConfig,
    background_colours,
    composite,
    split_views,
    training_loss,
)

SIZE = 16
TINY = GSLRMConfig(
    image_size=SIZE,
    width=64,
    layers=2,
    scale_unit="pixel",
    scale_bias=math.log(0.7),
    scale_max=math.log(4.0),
    depth_range=0.8,
)


def object_batch(samples: int = 1, views: int = 6) -> Batch:
    """Some coloured Gaussians per sample on a ring of cameras, drawn by the reference renderer."""
    generator = torch.Generator().manual_seed(3)
    w2c, fxfycxcy = (
        torch.as_tensor(np.asarray(array)).float()
        for array in stack_cameras(turntable(count=views, size=SIZE, elevation_degrees=20.0))
    )
    images = []
    for _ in range(samples):
        n = 6
        blobs = Gaussians(
            means=0.35 * torch.randn(n, 3, generator=generator),
            scales=torch.full((n, 3), 0.2),
            rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(n, 4),
            opacities=torch.full((n,), 0.95),
            colours=torch.rand(n, 3, generator=generator).round(),
        )
        drawn = render(blobs, w2c, fxfycxcy, SIZE, SIZE, background=torch.zeros(3), backend="reference")
        straight = (drawn.rgb / drawn.alpha.clamp_min(1e-3)[..., None]).clamp(0, 1)
        images.append(torch.cat([straight, drawn.alpha[..., None]], dim=-1).permute(0, 3, 1, 2))
    return Batch(torch.stack(images), w2c.expand(samples, -1, -1, -1).clone(), fxfycxcy.expand(samples, -1, -1).clone())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("inputs", "targets"), [(5, 4), (4, 1), (2, 4), (6, 6), (1, 6)])
def test_targets_take_held_out_views_first(inputs: int, targets: int) -> None:
    split = split_views(object_batch(3), inputs, targets, seeded())
    for chosen, compared in zip(split.input_indices.tolist(), split.target_indices.tolist(), strict=True):
        held_out = set(range(6)) - set(chosen)
        assert len(set(chosen)) == inputs and len(set(compared)) == targets
        assert set(compared[: len(held_out)]) <= held_out
        assert len(set(compared) & held_out) == min(targets, len(held_out))


def test_views_travel_with_their_cameras() -> None:
    batch = object_batch(2)
    batch = replace(batch, fxfycxcy=torch.arange(12.0).reshape(2, 6, 1).expand(2, 6, 4))
    split = split_views(batch, 3, 5, seeded())
    for part, indices in ((split.inputs, split.input_indices), (split.targets, split.target_indices)):
        for sample in range(2):
            for place, view in enumerate(indices[sample].tolist()):
                assert torch.equal(part.images[sample, place], batch.images[sample, view])
                assert torch.equal(part.w2c[sample, place], batch.w2c[sample, view])
                assert torch.equal(part.fxfycxcy[sample, place], batch.fxfycxcy[sample, view])


def test_the_draw_differs_by_sample_and_step_and_repeats_with_the_seed() -> None:
    batch, generator = object_batch(8), seeded()
    first, second = (split_views(batch, 3, 2, generator).input_indices for _ in range(2))
    assert len({tuple(row) for row in first.tolist()}) > 1
    assert not torch.equal(first, second)
    assert torch.equal(split_views(batch, 3, 2, seeded()).input_indices, first)


def test_every_view_is_held_out_equally_often() -> None:
    batch = object_batch()
    many = Batch(*(x.expand(600, *x.shape[1:]) for x in (batch.images, batch.w2c, batch.fxfycxcy)))
    counts = split_views(many, 5, 1, seeded()).target_indices.flatten().bincount(minlength=6)
    assert counts.min() > 70 and counts.max() < 130


@pytest.mark.parametrize(("inputs", "targets"), [(7, 1), (1, 7)])
def test_more_views_than_there_are_is_refused(inputs: int, targets: int) -> None:
    with pytest.raises(InputError, match="at most 6"):
        split_views(object_batch(), inputs, targets, seeded())


@pytest.mark.parametrize("kind", ["white", "black", "grey", "random"])
def test_backgrounds_show_where_alpha_is_zero_and_nowhere_else(kind: Background) -> None:
    colours = background_colours(kind, 2, seeded(), torch.device("cpu"))
    images = torch.rand(2, 3, 4, 8, 8)
    images[:, :, 3] = (images[:, :, 3] > 0.5).float()
    laid = composite(images, colours)
    solid = images[:, :, 3:] > 0.5
    wanted = torch.where(solid, images[:, :, :3], colours[:, None, :, None, None].expand(2, 3, 3, 8, 8))
    torch.testing.assert_close(laid, wanted)
    if kind == "random":
        assert not torch.equal(colours[0], colours[1])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("background", ["white", "random"])
def test_loss_and_gradients_are_finite_with_empty_and_full_masks(alpha: float, background: Background) -> None:
    batch = object_batch(2)
    batch.images[:, :, 3] = alpha
    torch.manual_seed(0)
    model = GSLRM(TINY)
    weights = LossConfig(l2=1.0, ssim=0.2, alpha=1.0, foreground_weight=5.0)
    loss, scalars = training_loss(model, batch, weights, ViewConfig(3, 0, 2, background), seeded())
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert math.isnan(float(scalars["psnr_foreground"])) == (alpha == 0.0)
    assert not any(value.requires_grad for value in scalars.values())


def test_number_of_inputs_may_vary_per_step() -> None:
    seen: set[int] = set()

    class Watched(GSLRM):
        def forward(self, images, w2c, fxfycxcy):  # type: ignore[no-untyped-def]
            seen.add(images.shape[1])
            return super().forward(images, w2c, fxfycxcy)

    model, batch, generator = Watched(TINY), object_batch(), seeded()
    views = ViewConfig(num_inputs=4, min_inputs=2, num_targets=1)
    with torch.no_grad():
        for _ in range(12):
            training_loss(model, batch, LossConfig(), views, generator)
    assert seen == {2, 3, 4}


@pytest.mark.parametrize("fields", [{"num_inputs": 0}, {"num_targets": 0}, {"min_inputs": 6}, {"min_inputs": -1}])
def test_impossible_view_counts_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="views:"):
        ViewConfig(**fields)


def test_same_seed_same_loss() -> None:
    torch.manual_seed(0)
    model, batch = GSLRM(TINY), object_batch(2)
    one, other = (
        training_loss(model, batch, LossConfig(), ViewConfig(3, 0, 2, "random"), seeded(5))[0] for _ in range(2)
    )
    assert torch.equal(one, other)


def test_deferred_rendering_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    model, batch = GSLRM(TINY), object_batch(2)
    gradients = []
    for deferred in (False, True):
        model.zero_grad()
        views = ViewConfig(3, 0, 4, "random", deferred=deferred)
        loss, _ = training_loss(model, batch, LossConfig(ssim=0.5), views, seeded(5))
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    direct, deferred_ones = gradients
    assert len(direct) == sum(p.numel() for p in model.parameters())
    assert (direct - deferred_ones).norm() < 1e-5 * direct.norm()


def test_the_warm_up_draws_nothing_moves_every_parameter_and_reports_the_same_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model, batch = GSLRM(TINY), object_batch(2)
    weights = LossConfig(ssim=0.5, opacity=0.1, pointsdist_steps=2)
    _, after = training_loss(model, batch, weights, ViewConfig(3, 0, 2), seeded(), step=2)
    monkeypatch.setattr("mouse_facelift.gslrm.step.render", None)
    loss, warming = training_loss(model, batch, weights, ViewConfig(3, 0, 2), seeded(), step=1)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert float(loss.detach()) == pytest.approx(0.1 * float(warming["pointsdist_loss"]))
    assert set(warming) == set(after)
    measured = {name for name, value in warming.items() if torch.isfinite(value)}
    assert measured == {"loss", "pointsdist_loss", "gaussians_usage"}
    assert not torch.isfinite(after["pointsdist_loss"]) and torch.isfinite(after["opacity_loss"])


def test_geometry_terms_and_images_add_up_in_one_loss() -> None:
    torch.manual_seed(0)
    model, batch = GSLRM(TINY), object_batch()
    weights = LossConfig(l2=2.0, alpha=0.5, opacity=0.25, scale=4.0)
    loss, scalars = training_loss(model, batch, weights, ViewConfig(3, 0, 2), seeded())
    expected = 2 * scalars["l2"] + 0.5 * scalars["alpha_loss"] + 0.25 * scalars["opacity_loss"]
    assert float(loss.detach()) == pytest.approx(float(expected + 4 * scalars["scale_loss"]), rel=1e-5)
    assert torch.equal(scalars["loss"], loss.detach())


@pytest.mark.slow
def test_a_tiny_model_learns_one_sample() -> None:
    torch.manual_seed(0)
    model, batch, generator = GSLRM(TINY), object_batch(), seeded()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    losses, scores = [], []
    for _ in range(80):
        loss, scalars = training_loss(model, batch, LossConfig(), ViewConfig(4, 0, 4, "white"), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(scalars["loss"]))
        scores.append(float(scalars["psnr_foreground"]))
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
    assert np.mean(scores[-10:]) > np.mean(scores[:5]) + 4.0
