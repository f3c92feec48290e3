"""Scores against numbers worked out by hand, and their behaviour where nothing is to be scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.evaluation.metrics import (
    ViewMetrics,
    below_baseline,
    blank_image,
    foreground_box,
    mask_iou,
    mean_metrics,
    nearest_input_view,
    psnr,
    view_metrics,
)
from mouse_facelift.perceptual.distances import LPIPS

WHITE = torch.ones(3)


def square_mask(size: int = 32, first: int = 8, last: int = 16) -> torch.Tensor:
    mask = torch.zeros(size, size)
    mask[first:last, first:last] = 1.0
    return mask


def test_psnr_by_hand() -> None:
    target = torch.full((4, 4, 3), 0.5)
    assert float(psnr(target + 0.1, target)) == pytest.approx(20.0, abs=1e-4)
    assert float(psnr(target, target)) == pytest.approx(100.0)
    # Brighter than white is shown as white.
    assert float(psnr(torch.full((4, 4, 3), 7.0), torch.full((4, 4, 3), 0.9))) == pytest.approx(20.0, abs=1e-4)


def test_foreground_psnr_counts_foreground_pixels_alone() -> None:
    mask = square_mask()
    target = torch.ones(32, 32, 3)
    rgb = target - 0.1 * mask[..., None] - 0.5 * (1 - mask[..., None])
    scores = view_metrics(rgb, mask, target, mask)
    assert scores.psnr_foreground == pytest.approx(20.0, abs=1e-3)
    share = 64 / 1024
    assert scores.psnr == pytest.approx(-10 * math.log10(share * 0.01 + (1 - share) * 0.25), abs=1e-3)


def test_a_blank_picture_of_a_small_animal_scores_well_on_the_full_frame_alone() -> None:
    mask = square_mask()
    target = 1.0 - 0.8 * mask[..., None].expand(-1, -1, 3)
    scores = view_metrics(*blank_image(32, 32, WHITE), target, mask)
    gap = -10 * math.log10(64 / 1024)
    assert scores.psnr_foreground == pytest.approx(-20 * math.log10(0.8), abs=1e-3)
    assert scores.psnr == pytest.approx(scores.psnr_foreground + gap, abs=1e-3)
    assert scores.mask_iou == 0.0
    assert scores.ssim > scores.ssim_foreground


def test_mask_iou_by_hand() -> None:
    assert float(mask_iou(square_mask(32, 8, 16), square_mask(32, 12, 20))) == pytest.approx(16 / (64 + 64 - 16))
    assert float(mask_iou(0.6 * square_mask(), square_mask())) == 1.0
    assert float(mask_iou(0.4 * square_mask(), square_mask())) == 0.0
    assert math.isnan(float(mask_iou(torch.zeros(8, 8), torch.zeros(8, 8))))


@pytest.mark.parametrize(("first", "last"), [(0, 1), (31, 32), (15, 17), (0, 32), (3, 20)])
def test_foreground_box_holds_the_mask_and_a_window(first: int, last: int) -> None:
    mask = square_mask(32, first, last)
    box = foreground_box(mask)
    assert box is not None
    assert mask[box].sum() == mask.sum()
    assert min(mask[box].shape) >= 11


def test_empty_masks_give_nan_where_undefined_and_numbers_elsewhere() -> None:
    scores = view_metrics(*blank_image(32, 32, WHITE), torch.ones(32, 32, 3), torch.zeros(32, 32))
    assert scores.psnr == pytest.approx(100.0) and scores.ssim == pytest.approx(1.0)
    assert math.isnan(scores.psnr_foreground) and math.isnan(scores.ssim_foreground) and math.isnan(scores.mask_iou)
    floater = view_metrics(torch.ones(32, 32, 3), square_mask(), torch.ones(32, 32, 3), torch.zeros(32, 32))
    assert floater.mask_iou == 0.0


def test_lpips_stands_beside_the_others_when_there_is_a_network() -> None:
    mask, target = square_mask(40, 10, 20), torch.rand(40, 40, 3)
    rgb = torch.where(mask[..., None] > 0, 2.0, target)
    without = view_metrics(rgb, mask, target, mask)
    assert math.isnan(without.lpips) and math.isnan(without.lpips_foreground)
    torch.manual_seed(0)
    network = LPIPS()
    for tensor in (*network.net.parameters(), *(network.get_buffer(f"head{layer}") for layer in range(5))):
        tensor.data.uniform_(-0.02, 0.05)
    scores = view_metrics(rgb, mask, target, mask, network)
    white = rgb.clamp(0, 1)
    assert scores.lpips == pytest.approx(float(network(white[None], target[None])))
    box = slice(5, 25)
    assert scores.lpips_foreground == pytest.approx(float(network(white[None, box, box], target[None, box, box])))
    assert view_metrics(target, mask, target, mask, network).lpips == 0.0
    empty = view_metrics(rgb, mask, target, torch.zeros(40, 40), network)
    assert math.isnan(empty.lpips_foreground) and empty.lpips == scores.lpips
    small = view_metrics(rgb[:12, :12], mask[:12, :12], target[:12, :12], mask[:12, :12], network)
    assert math.isnan(small.lpips) and math.isfinite(small.psnr)


def test_a_model_that_does_not_beat_a_baseline_is_named() -> None:
    good = {"psnr_foreground": 21.0, "blank_psnr_foreground": 3.0, "nearest_psnr_foreground": 12.0}
    assert below_baseline(good) == []
    assert below_baseline(good | {"psnr_foreground": 11.0}) == [
        "psnr_foreground 11.000 does not beat the nearest input view (12.000)"
    ]
    # A model that draws nothing is the blank picture, and says so; less is better in LPIPS.
    assert len(below_baseline({"mask_iou": 0.0, "blank_mask_iou": 0.0, "nearest_mask_iou": 0.4})) == 2
    assert below_baseline({"lpips": 0.1, "blank_lpips": 0.3, "nearest_lpips": 0.2}) == []
    assert len(below_baseline({"lpips": 0.25, "blank_lpips": 0.3, "nearest_lpips": 0.2})) == 1
    assert below_baseline({"ssim": math.nan, "blank_ssim": 0.9, "psnr": None, "blank_psnr": 4.0, "mask_iou": 0.5}) == []


def test_means_leave_undefined_scores_out() -> None:
    one = ViewMetrics(psnr=10.0, psnr_foreground=math.nan, ssim=0.5, ssim_foreground=math.nan, mask_iou=math.nan)
    two = ViewMetrics(psnr=20.0, psnr_foreground=8.0, ssim=1.0, ssim_foreground=0.25, mask_iou=math.nan)
    mean = mean_metrics([one, two])
    assert (mean.psnr, mean.psnr_foreground, mean.ssim, mean.ssim_foreground) == (15.0, 8.0, 0.75, 0.25)
    assert math.isnan(mean.mask_iou)
    assert math.isnan(mean_metrics([]).psnr)


def test_nearest_input_view_goes_by_direction_not_by_distance() -> None:
    near = turntable(count=8, radius=1.0)
    far = turntable(count=8, radius=9.0, start_degrees=270.0 + 10.0)
    inputs = torch.as_tensor(np.asarray(stack_cameras(near)[0]))
    targets = torch.as_tensor(np.asarray(stack_cameras(far)[0]))
    assert [nearest_input_view(target, inputs) for target in targets] == list(range(8))
