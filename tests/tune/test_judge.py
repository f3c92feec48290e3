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


def test_a_close_up_has_all_of_the_animal_and_the_same_piece_of_everything(shown: Reconstruction) -> None:
    view = shown.choice.held_out
    assert view is not None
    masks = torch.zeros_like(shown.masks)
    masks[view, 20:26, 22:32] = 1.0
    near = close_up(dataclasses.replace(shown, masks=masks))
    side = near.masks.shape[1]
    # Room around the animal, but not beyond the picture.
    assert side == 16 and near.truth.shape[1:3] == near.rendering.alpha.shape[1:] == (side, side)
    assert near.masks[view].sum() == 60
    rows, columns = slice(15, 15 + side), slice(32 - side, 32)
    assert torch.equal(near.truth, shown.truth[:, rows, columns])
    assert torch.equal(near.rendering.rgb, shown.rendering.rgb[:, rows, columns])
    assert torch.equal(near.masks, masks[:, rows, columns])


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
