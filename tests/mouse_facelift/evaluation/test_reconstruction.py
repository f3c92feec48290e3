from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import ViewMetrics, below_baseline
from mouse_facelift.evaluation.reconstruction import (
    Scores,
    ViewChoice,
    choose_views,
    judge,
    predict,
    reconstruct_sample,
    show,
)
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gslrm.batched_gaussians import SH_C0, BatchedGaussians
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from tests.synthetic import blob, ring_sample


class Oracle(GSLRM):
    """A GS-LRM that knows the object, to separate the way in and out of the model from the model."""

    def __init__(self, truth: Gaussians) -> None:
        super().__init__(GSLRMConfig(image_size=32, width=32, head_width=32, layers=1))
        self.truth = truth
        self.seen: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, images: Tensor, w2c: Tensor, fxfycxcy: Tensor) -> BatchedGaussians:
        self.seen = images, w2c, fxfycxcy
        t = self.truth
        stored = (t.means, (t.colours - 0.5) / SH_C0, t.scales.log(), t.rotations, t.opacities.logit()[:, None])
        means, colours, scales, rotations, opacities = (tensor[None] for tensor in stored)
        return BatchedGaussians(means, colours, scales, rotations, opacities, len(t), self.config.patch_size)


@pytest.fixture(scope="module")
def model() -> GSLRM:
    torch.manual_seed(0)
    return GSLRM(GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)).eval()


def test_rotation_holds_out_every_view_in_turn() -> None:
    cameras = ring_sample(blob()).cameras
    choices = [choose_views(cameras, "rotate", None, index) for index in range(8)]
    assert [choice.held_out for choice in choices] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert all(set(choice.inputs) | {choice.held_out} == {0, 1, 2, 3} for choice in choices)
    assert all(choice.held_out not in choice.inputs for choice in choices)


def test_a_view_can_be_named_or_none_held_out() -> None:
    cameras = ring_sample(blob()).cameras
    assert choose_views(cameras, cameras[2].name, None, 0) == ViewChoice((0, 1, 3), 2)
    assert choose_views(cameras, "none", None, 1) == ViewChoice((0, 1, 2, 3), None)


def test_fewer_inputs_are_spread_around() -> None:
    cameras = ring_sample(blob(), views=8).cameras
    inputs = choose_views(cameras, "none", 4, 0).inputs
    assert len(inputs) == 4
    assert {(b - a) % 8 for a, b in zip(inputs, [*inputs[1:], inputs[0]], strict=True)} == {2}


@pytest.mark.parametrize(("hold_out", "inputs", "word"), [("left", None, "left"), ("rotate", 4, "4"), ("none", 5, "5")])
def test_what_a_sample_does_not_have_is_refused(hold_out: str, inputs: int | None, word: str) -> None:
    with pytest.raises(InputError, match=word):
        choose_views(ring_sample(blob()).cameras, hold_out, inputs, 0)


def test_the_true_gaussians_score_almost_perfectly() -> None:
    truth = blob()
    sample = ring_sample(truth)
    result = reconstruct_sample(Oracle(truth), sample, ViewChoice((0, 1, 3), 2), backend="reference")
    assert result.scores is not None
    # What is left is the rounding of the stored pictures to 8 bits.
    assert result.scores.model.psnr_foreground > 45
    assert result.scores.model.mask_iou > 0.99
    assert result.scores.model.psnr_foreground > result.scores.nearest.psnr_foreground > 0
    assert result.scores.blank.mask_iou == 0
    assert result.nearest in (1, 3)


def test_the_model_gets_the_inputs_on_white_with_their_cameras() -> None:
    truth = blob()
    sample = ring_sample(truth)
    oracle = Oracle(truth)
    reconstruct_sample(oracle, sample, ViewChoice((1, 3), None), backend="reference")
    assert oracle.seen is not None
    images, w2c, fxfycxcy = oracle.seen
    assert images.shape == (1, 2, 4, 32, 32)
    assert torch.equal(images[0, :, :, 0, 0], torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2)), "the corner is background"
    for place, view in enumerate((1, 3)):
        np.testing.assert_allclose(w2c[0, place].numpy(), sample.cameras[view].w2c, atol=1e-6)
        np.testing.assert_allclose(fxfycxcy[0, place].numpy(), sample.cameras[view].fxfycxcy, rtol=1e-6)


def test_the_background_is_the_one_the_model_was_trained_on() -> None:
    truth = blob()
    oracle = Oracle(truth)
    result = reconstruct_sample(
        oracle, ring_sample(truth), ViewChoice((0, 1), 2), background="black", backend="reference"
    )
    assert oracle.seen is not None and oracle.seen[0][..., 0, 0].max() == 0
    assert result.scores is not None and result.scores.model.psnr_foreground > 45
    # Black is nearer to a dark animal than white is: the blank picture is blank in the same colour.
    assert result.truth[2, 0, 0].tolist() == [0, 0, 0]
    white = reconstruct_sample(
        oracle, ring_sample(truth), ViewChoice((0, 1), 2), background="random", backend="reference"
    )
    assert white.truth[2, 0, 0].tolist() == [1, 1, 1]


def test_the_held_out_picture_never_reaches_the_model(model: GSLRM) -> None:
    sample = ring_sample(blob())
    images = sample.images.copy()
    images[2] = 255 - images[2]
    choice = ViewChoice((0, 1, 3), 2)
    first, second = (
        reconstruct_sample(model, s, choice, backend="reference") for s in (sample, replace(sample, images=images))
    )
    assert all(torch.equal(a, b) for a, b in zip(first.gaussians.tensors(), second.gaussians.tensors(), strict=True))
    assert first.scores != second.scores


def test_without_a_held_out_view_nothing_is_scored(model: GSLRM) -> None:
    result = reconstruct_sample(model, ring_sample(blob()), ViewChoice((0, 1, 2, 3), None), backend="reference")
    assert result.scores is None and result.nearest is None
    assert result.rendering.rgb.shape == (4, 32, 32, 3)
    assert isinstance(model, nn.Module) and not result.gaussians.means.requires_grad


def test_scores_have_one_name_each() -> None:
    model, blank, nearest = (ViewMetrics(value, value, value, value, value) for value in (3.0, 1.0, 2.0))
    named = Scores(model, blank, nearest).named()
    assert (named["psnr"], named["blank_mask_iou"], named["nearest_ssim"]) == (3.0, 1.0, 2.0)
    assert len(named) == 3 * len(fields(ViewMetrics))
    assert below_baseline(named) == []
    assert len(below_baseline(Scores(blank, model, nearest).named())) == 10


def test_a_batch_gives_what_its_samples_give_alone(model: GSLRM) -> None:
    samples = [ring_sample(blob(number), number) for number in range(3)]
    choices = [choose_views(sample.cameras, "rotate", None, number) for number, sample in enumerate(samples)]
    together = predict(model, samples, choices, background="black")
    for sample, choice, found in zip(samples, choices, together, strict=True):
        alone = reconstruct_sample(model, sample, choice, background="black")
        for a, b in zip(found.tensors(), alone.gaussians.tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_judging_alone_scores_as_showing_everything_does(model: GSLRM) -> None:
    sample = ring_sample(blob())
    choice = ViewChoice((0, 1, 3), 2)
    gaussians = predict(model, [sample], [choice])[0]
    assert judge(gaussians, sample, choice) == show(gaussians, sample, choice).scores
    assert judge(gaussians, sample, ViewChoice((0, 1, 3), None)) is None
