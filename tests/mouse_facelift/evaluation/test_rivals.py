from __future__ import annotations

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import mask_iou, psnr
from mouse_facelift.evaluation.reconstruction import ViewChoice
from mouse_facelift.evaluation.rivals import FromHull, FromModel, draw, nearest, on_white, views_of
from mouse_facelift.gaussians.refining import HullConfig, RefineConfig
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.schema import Sample
from tests.synthetic import blob, ring_sample

CHOICE = ViewChoice((0, 1, 3, 4, 5), 2)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return ring_sample(blob(), views=6, size=48)


def test_the_truth_drawn_again_is_the_held_out_view(sample: Sample) -> None:
    rgba = views_of(sample, [2]).images[0]
    shown = draw(blob(), sample, CHOICE)
    assert psnr(shown.rgb, on_white(rgba)) > 35 and mask_iou(shown.alpha, rgba[3]) > 0.97
    with pytest.raises(ValueError, match="no view was held out"):
        draw(blob(), sample, ViewChoice((0,), None))


def test_fitting_the_hull_shows_an_unseen_view_better_than_the_hull_and_the_nearest_view(sample: Sample) -> None:
    rgba = views_of(sample, [2]).images[0]
    hull, fitted = FromHull(HullConfig()), FromHull(HullConfig(), RefineConfig(steps=40))
    near, carved, shown = (float(psnr(way(sample, CHOICE).rgb, on_white(rgba))) for way in (nearest, hull, fitted))
    assert shown > carved > near


def test_a_way_never_looks_at_the_held_out_view(sample: Sample) -> None:
    hidden = sample.images.copy()
    hidden[2] = 0
    blind = Sample(**{**vars(sample), "images": hidden})
    for way in (nearest, FromHull(HullConfig(), RefineConfig(steps=2))):
        assert torch.equal(way(sample, CHOICE).rgb, way(blind, CHOICE).rgb)


def test_a_model_of_smaller_pictures_is_drawn_at_the_size_that_is_scored(sample: Sample) -> None:
    torch.manual_seed(0)
    model = GSLRM(GSLRMConfig(image_size=16, width=32, head_width=32, layers=1)).eval()
    shown = FromModel(model, "white")(sample, CHOICE)
    assert tuple(shown.rgb.shape) == (48, 48, 3) and shown.alpha.max() > 0


def test_an_empty_silhouette_is_refused_with_its_view(sample: Sample) -> None:
    images = sample.images.copy()
    images[1] = 0
    with pytest.raises(InputError, match="view 1 has an empty silhouette"):
        FromHull(HullConfig())(Sample(**{**vars(sample), "images": images}), CHOICE)
