"""All trials are judged alike, whatever they were trained with, and their pictures show the same piece of the truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from mouse_facelift.evaluation.reconstruction import Reconstruction, choose_views, reconstruct_sample
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.schema import Sample, row_from_sample
from tests.synthetic import blob, ring_sample
from training.gslrm_settings import PRESETS
from tune.judge import ViewJudge, close_up

BASE = dataclasses.replace(PRESETS["debug"], data="unused", out=Path("unused"))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return ring_sample(blob(3), 3, views=5, size=32)


@pytest.fixture(scope="module")
def model() -> GSLRM:
    torch.manual_seed(0)
    return GSLRM(BASE.model).eval()


@pytest.fixture(scope="module")
def shown(sample: Sample, model: GSLRM) -> Reconstruction:
    with torch.no_grad():
        return reconstruct_sample(model, sample, choose_views(sample.cameras, "rotate", 4, 1, ()), background="white")


def test_a_close_up_has_all_of_the_animal_and_less_around_it(shown: Reconstruction) -> None:
    near = close_up(shown)
    assert near.choice.held_out is not None
    assert near.masks.shape[1] == near.masks.shape[2] == near.truth.shape[1] < shown.masks.shape[1]
    assert near.rendering.rgb.shape == near.truth.shape and near.rendering.alpha.shape == near.masks.shape
    view = near.choice.held_out
    assert near.masks[view].sum() == shown.masks[view].sum() > 0
    # The same piece of everything.
    truth = (shown.truth[view] - shown.rendering.rgb[view]).abs()
    piece = (near.truth[view] - near.rendering.rgb[view]).abs()
    assert truth.unfold(0, len(piece), 1).unfold(1, len(piece), 1).movedim(2, -1).eq(piece).flatten(2).all(-1).any()


def test_nothing_to_come_close_to_is_shown_whole(shown: Reconstruction) -> None:
    empty = dataclasses.replace(shown, masks=torch.zeros_like(shown.masks))
    assert close_up(empty) is empty


def test_scores_are_means_over_the_numbers_of_input_views(sample: Sample, model: GSLRM) -> None:
    rows = [(4, row_from_sample(sample))]
    with torch.no_grad():
        ones, fours, both = (ViewJudge(BASE, inputs).evaluate(model, rows, None)[0] for inputs in ((1,), (4,), (1, 4)))
        table = ViewJudge(BASE, (4,)).by_views(model, rows, 4)
    name = "psnr_foreground"
    assert both[name] == pytest.approx((ones[name] + fours[name]) / 2)
    assert list(table) == [1, 2, 3, 4] and table[1][name] == ones[name] and table[4][name] == fours[name]
    assert all(row["seconds"] > 0 for row in table.values())
