"""What decides is what was asked for, and never the loss."""

from __future__ import annotations

import math

import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.search_numbers import score_value
from mouse_facelift.evaluation.trials import Trial
from tune.objective import parse_objectives, rank


def test_scores_costs_and_sums() -> None:
    quality, cost, perceived, total = parse_objectives(
        ("psnr_foreground", "seconds_train", "lpips", "psnr_foreground + 10 * mask_iou - 2*lpips")
    )
    assert [o.direction for o in (quality, cost, perceived, total)] == ["max", "min", "min", "max"]
    scores = {"psnr_foreground": 20.0, "mask_iou": 0.5, "lpips": 0.25}
    assert score_value(total, scores) == pytest.approx(24.5)
    assert score_value(cost, {**scores, "seconds_train": 3.0}) == 3.0
    assert math.isnan(score_value(total, {"mask_iou": 0.5}))


@pytest.mark.parametrize("text", ["loss", "psnr_foregroun", "2 * ", "", "psnr_foreground *"])
def test_what_is_no_score_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--objectives"):
        parse_objectives((text,))


def test_ranking_leaves_out_what_has_no_value() -> None:
    trials = [
        Trial(f"t{i}", i, {}, 0, "search", "completed", scores={} if s is None else {"psnr_foreground": s})
        for i, s in enumerate([1.0, None, 3.0, 3.0])
    ]
    assert [t.trial_id for t in rank(parse_objectives(("psnr_foreground",))[0], trials)] == ["t2", "t3", "t0"]
