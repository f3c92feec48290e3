"""Patches that show nothing need no token: what that must not change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.patches import shown_patches, to_patches

SIZE, PATCH = 32, 8
CONFIG = GSLRMConfig(image_size=SIZE, width=64, layers=2, opacity_base="alpha", tokens="foreground")
Inputs = tuple[Float[Tensor, "2 3 4 h w"], Float[Tensor, "2 3 4 4"], Float[Tensor, "2 3 4"]]


@pytest.fixture
def inputs() -> Inputs:
    """Two samples of three views; the first shows the animal in one patch per view, the second in four."""
    cameras = stack_cameras(turntable(3, SIZE))
    w2c, fxfycxcy = (torch.tensor(x, dtype=torch.float32).expand(2, -1, *x.shape[1:]) for x in cameras)
    images = torch.rand(2, 3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images[:, :, 3] = 0.0
    images[0, :, 3, 9:15, 9:15] = 1.0
    images[1, :, 3, 9:20, 9:20] = 1.0
    return images, w2c, fxfycxcy


@pytest.fixture
def model() -> GSLRM:
    torch.manual_seed(1)
    return GSLRM(CONFIG).eval()


def test_taking_and_putting_back_keeps_shown_patches_and_clears_the_others(inputs: Inputs) -> None:
    images = inputs[0]
    shown = shown_patches(images[:, :, 3:], PATCH)
    assert shown.indices.shape == (2, 12) and shown.real.sum(dim=1).tolist() == [3, 12]
    values = to_patches(images, PATCH).flatten(3).flatten(1, 2)
    back = shown.put_back(shown.take(values))
    visible = to_patches(images[:, :, 3:], PATCH).flatten(3).flatten(1, 2).any(dim=-1)
    assert torch.equal(back[visible], values[visible]) and not back[~visible].any()


def test_a_sample_is_the_same_alone_and_beside_a_larger_one(model: GSLRM, inputs: Inputs) -> None:
    with torch.no_grad():
        both, alone = model(*inputs), model(*(x[:1] for x in inputs))
    for name in ("means", "sh_dc", "log_scales", "rotations", "opacity_logits"):
        torch.testing.assert_close(getattr(both, name)[:1], getattr(alone, name), atol=1e-5, rtol=1e-5)


def test_what_lies_in_hidden_patches_does_not_matter_and_is_not_seen(model: GSLRM, inputs: Inputs) -> None:
    images, w2c, fxfycxcy = inputs
    other = images.clone()
    other[..., 24:, 24:] *= torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None, None]
    with torch.no_grad():
        one, two = model(images, w2c, fxfycxcy), model(other, w2c, fxfycxcy)
    seen = one.per_pixel(images[:, :, 3:])[..., 0] > 0
    assert torch.equal(one.means[:, 2:][seen], two.means[:, 2:][seen])
    assert one.opacity_logits[:, 2:, 0][~seen].sigmoid().max() < 1 / 255


def test_an_empty_sample_gives_nothing_visible_and_finite_gradients(model: GSLRM, inputs: Inputs) -> None:
    images, w2c, fxfycxcy = inputs
    images = images.clone()
    images[0, :, 3] = 0.0
    gaussians = model(images, w2c, fxfycxcy)
    assert gaussians.opacity_logits[0, 2:].sigmoid().max() < 1 / 255
    (gaussians.means.sum() + gaussians.opacity_logits.sigmoid().sum() + gaussians.log_scales.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients and all(bool(g.isfinite().all()) for g in gradients)


def test_hiding_patches_needs_opacities_that_follow_the_mask() -> None:
    with pytest.raises(InputError, match="opacity_base"):
        dataclasses.replace(CONFIG, opacity_base="constant")
