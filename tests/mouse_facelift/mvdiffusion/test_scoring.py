"""Scores of generated views: exact for the truth, low for what is elsewhere, and baselines beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mouse_facelift.mvdiffusion.scoring import Generated, TrueViews, model_scores, rival_scores, view_sheet
from tests.synthetic import blob, ring_sample

NAMES = tuple(f"v{i}" for i in range(6))


def truth(background: float = 1.0, seed: int = 0) -> TrueViews:
    sample = ring_sample(blob(seed), 0, views=6, size=32)
    rgba = torch.from_numpy(sample.images).float().movedim(-1, 1) / 255
    images = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * background
    return TrueViews(images, rgba[:, 3], sample.cameras, background, NAMES)


@pytest.mark.parametrize("background", [1.0, 0.0])
def test_the_true_views_score_best_on_any_background(background: float) -> None:
    true = truth(background)
    scores = model_scores(Generated.of(true.images, true), true)
    assert scores["psnr_foreground"] == 100.0 and scores["ssim_foreground"] == pytest.approx(1.0)
    # Silhouettes come from the pictures alone.
    assert scores["mask_iou"] > 0.8 and scores["hull_iou"] > 0.8
    blank = model_scores(Generated.of(torch.full_like(true.images, background), true), true)
    assert blank["mask_iou"] == 0 and blank["hull_iou"] == 0


def test_a_mask_that_comes_with_the_picture_is_taken_as_it_is() -> None:
    true = truth()
    scores = model_scores(Generated.of(torch.cat([true.images, true.masks[:, None]], dim=1), true), true)
    assert scores["mask_iou"] > 0.99 and scores["psnr_foreground"] == 100.0


def test_views_of_one_animal_agree_and_shuffled_ones_do_not() -> None:
    true, other = truth(), truth(seed=3)
    consistent = model_scores(Generated.of(other.images, replace(true)), true)
    shuffled = model_scores(Generated.of(other.images[[2, 4, 0, 5, 1, 3]], true), true)
    assert shuffled["hull_iou"] < consistent["hull_iou"]


def test_the_mean_over_views_leaves_the_reference_out() -> None:
    true = truth()
    images = true.images.clone()
    images[0] = 0
    scores = model_scores(Generated.of(images, true), true)
    assert scores["psnr_foreground"] == 100.0 > scores["psnr_foreground_v0"]


def test_rivals_are_the_reference_and_the_mean() -> None:
    true = truth()
    rivals = rival_scores(true, true.images)
    assert rivals["nearest_psnr_foreground_v0"] == 100.0 > rivals["nearest_psnr_foreground_v1"]
    assert rivals["mean_psnr_foreground"] == 100.0 and 0.8 < rivals["true_hull_iou"] <= 1
    without = rival_scores(true, None)
    assert without.keys() == rivals.keys() and without["mean_mask_iou"] != without["mean_mask_iou"]


def test_a_sheet_has_a_row_per_guidance_and_a_column_per_view() -> None:
    true = truth()
    one, two = (view_sheet(true, {f"g{i}": true.images for i in range(n)}) for n in (1, 2))
    assert one.shape[1] == two.shape[1] > 6 * 128 and two.shape[0] > one.shape[0] > 2 * 128
