from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import psnr
from mouse_facelift.evaluation.rivals import Views
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining import RefineConfig, gaussians_from_hull, refine
from mouse_facelift.gaussians.refining.exposure import as_clear_views_show
from mouse_facelift.gaussians.refining.neighbours import Neighbours
from mouse_facelift.gaussians.refining.objective import spikes
from mouse_facelift.gaussians.refining.window import window
from mouse_facelift.gaussians.rendering import render
from tests.mouse_facelift.gaussians.refining.ball import ball_views

SIZE = 48
HELD_OUT = 2
SHORT = RefineConfig(steps=30)


@pytest.fixture(scope="module")
def ball() -> Views:
    return ball_views(views=6, size=SIZE)


@pytest.fixture(scope="module")
def given(ball: Views) -> Views:
    """All views but the held-out one."""
    keep = [view for view in range(6) if view != HELD_OUT]
    return Views(ball.images[keep], ball.w2c[keep], ball.fxfycxcy[keep])


@pytest.fixture(scope="module")
def start(given: Views) -> Gaussians:
    return gaussians_from_hull(given.images, given.w2c, given.fxfycxcy)


def held_out_psnr(gaussians: Gaussians, ball: Views) -> float:
    drawn = render(gaussians, ball.w2c[[HELD_OUT]], ball.fxfycxcy[[HELD_OUT]], SIZE, SIZE)
    rgba = ball.images[HELD_OUT]
    truth = (rgba[:3] * rgba[3:] + 1 - rgba[3:]).permute(1, 2, 0)
    return float(psnr(drawn.rgb[0], truth))


def test_a_view_that_was_not_given_is_shown_better_than_before(ball: Views, given: Views, start: Gaussians) -> None:
    found = refine(start, given.images, given.w2c, given.fxfycxcy, SHORT)
    assert held_out_psnr(found.gaussians, ball) > held_out_psnr(start, ball) + 1.0
    assert [step.step for step in found.history] == list(range(30))
    assert found.history[-1].terms["total"] < 0.85 * found.history[0].terms["total"]


def test_the_same_call_gives_the_same_gaussians_and_leaves_its_input_alone(given: Views, start: Gaussians) -> None:
    before = start.map(torch.clone)
    few = replace(SHORT, steps=3)
    first, second = (refine(start, given.images, given.w2c, given.fxfycxcy, few).gaussians for _ in range(2))
    for a, b in zip(first.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(start.tensors(), before.tensors(), strict=True):
        assert torch.equal(a, b)
    assert not any(tensor.requires_grad for tensor in first.tensors())


def test_no_steps_change_nothing(given: Views, start: Gaussians) -> None:
    found = refine(start, given.images, given.w2c, given.fxfycxcy, replace(SHORT, steps=0))
    assert found.gaussians is start and found.history == ()


def test_what_faded_away_is_left_out(given: Views, start: Gaussians) -> None:
    everything = replace(SHORT, steps=1, prune_below=0.0)
    nothing_much = replace(start, opacities=torch.where(torch.arange(len(start)) % 2 == 0, 0.9, 0.001))
    views = given.images, given.w2c, given.fxfycxcy
    assert len(refine(nothing_much, *views, everything).gaussians) == len(start)
    assert len(refine(nothing_much, *views, replace(everything, prune_below=0.05)).gaussians) == (len(start) + 1) // 2


def test_a_cut_window_draws_the_same_pixels(given: Views, start: Gaussians) -> None:
    seen = window(given.images, given.fxfycxcy)
    height, width = seen.masks.shape[1:]
    assert height < SIZE and float(seen.masks.sum()) == float(given.images[:, 3].sum())
    cut = render(start, given.w2c, seen.fxfycxcy, width, height).alpha
    whole = render(start, given.w2c, given.fxfycxcy, SIZE, SIZE).alpha
    for view in range(len(cut)):
        left, top = (given.fxfycxcy - seen.fxfycxcy)[view, 2:].int().tolist()
        torch.testing.assert_close(cut[view], whole[view, top : top + height, left : left + width], atol=1e-4, rtol=0)


def test_colours_end_as_the_views_without_haze_show_them(given: Views, start: Gaussians) -> None:
    grey = replace(start, colours=0.2 + 0.3 * (start.means[:, :1] > 0).float().expand(-1, 3))
    drawn = render(grey, given.w2c, given.fxfycxcy, SIZE, SIZE, background=torch.zeros(3))
    images = torch.cat([drawn.rgb / drawn.alpha[..., None].clamp_min(1e-3), drawn.alpha[..., None]], dim=-1)
    images = images.permute(0, 3, 1, 2).clamp(0, 1)
    hazy = images.clone()
    # Haze whose removal is within the limits of a view's gain and bias.
    hazy[1:, :3] = 0.8 * hazy[1:, :3] + 0.15
    found = as_clear_views_show(
        replace(grey, colours=0.8 * grey.colours + 0.15), window(hazy, given.fxfycxcy), given.w2c
    )
    torch.testing.assert_close(found.colours, grey.colours, atol=0.03, rtol=0)


def test_a_surface_that_moves_as_a_whole_has_not_drifted() -> None:
    means = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    surface = Neighbours.of(means, 6)
    assert surface.roughness(torch.ones(40, 3)) < 1e-5
    alone = torch.zeros(40, 3)
    alone[7] = 1.0
    assert surface.roughness(alone) > 0.05
    assert Neighbours.of(means[:1], 6).roughness(torch.ones(1, 3)) < 1e-5


def test_only_wide_and_long_gaussians_are_spikes(start: Gaussians) -> None:
    scales = torch.tensor([[1.0, 1.0, 0.1], [2.0, 1.0, 1.0], [9.0, 9.0, 9.0], [4.0, 0.5, 0.5]])
    few = replace(start.select(torch.arange(4)), scales=scales)
    each = [float(spikes(few.select(torch.tensor([i])), widest=5.0, longest=4.0)) for i in range(4)]
    assert each == pytest.approx([0.0, 0.0, 0.8, 1.0])


def test_what_cannot_be_fitted_is_refused(given: Views, start: Gaussians) -> None:
    views = given.images, given.w2c, given.fxfycxcy
    with pytest.raises(InputError, match="no Gaussians to start from"):
        refine(Gaussians.empty(), *views)
    broken = replace(start, opacities=start.opacities * math.nan)
    with pytest.raises(InputError, match="not finite"):
        refine(broken, *views)
    with pytest.raises(InputError, match="no view shows the animal"):
        refine(start, given.images * 0, *views[1:])


@pytest.mark.parametrize("change", [{"views_per_step": 0}, {"longest": 0.5}, {"colour": -1.0}, {"prune_below": 1.0}])
def test_impossible_settings_are_refused_by_name(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(RefineConfig(), **change)
