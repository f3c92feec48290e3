"""Loss terms by hand, and finite gradients in every corner."""

from __future__ import annotations

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import ssim
from mouse_facelift.gslrm.losses import LossConfig, image_losses, pixel_weights

ALL = LossConfig(l2=1.0, ssim=0.5, alpha=2.0, foreground_weight=4.0)


def test_l2_weighs_the_foreground() -> None:
    target, mask = torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8)
    mask[:, :2] = 1.0
    rgb = 0.5 * mask[..., None].expand(-1, -1, -1, 3)
    config = LossConfig(l2=2.0, alpha=0.0, foreground_weight=4.0)
    loss, terms = image_losses(rgb, mask, target, mask, config)
    # 16 pixels of weight 4 with error 0.25, 48 of weight 1 without error.
    assert float(terms["l2"]) == pytest.approx(0.25 * 64 / (64 + 48))
    assert float(loss) == pytest.approx(2 * float(terms["l2"]))
    assert set(terms) == {"l2"}


def test_weights_have_mean_one_for_any_mask() -> None:
    for mask in (torch.zeros(2, 4, 4), torch.ones(2, 4, 4), torch.rand(2, 4, 4)):
        weights = pixel_weights(mask, 10.0)
        assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(pixel_weights(torch.rand(2, 4, 4), 1.0), torch.ones(2, 4, 4))


def test_alpha_and_ssim_terms_by_hand() -> None:
    torch.manual_seed(0)
    rgb, target, mask = torch.rand(1, 16, 16, 3), torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16)
    loss, terms = image_losses(rgb, 0.25 * mask, target, mask, LossConfig(l2=0.0, ssim=1.0, alpha=1.0))
    assert float(terms["alpha_loss"]) == pytest.approx(0.75**2)
    assert float(terms["ssim_loss"]) == pytest.approx(1.0 - float(ssim(rgb[0], target[0])), abs=1e-5)
    assert float(loss) == pytest.approx(float(terms["alpha_loss"] + terms["ssim_loss"]))


@pytest.mark.parametrize("mask_value", [0.0, 1.0])
@pytest.mark.parametrize("alpha_value", [0.0, 1.0])
def test_gradients_are_finite_for_empty_and_full_masks(mask_value: float, alpha_value: float) -> None:
    rgb = torch.ones(2, 16, 16, 3, requires_grad=True)
    alpha = torch.full((2, 16, 16), alpha_value, requires_grad=True)
    loss, _ = image_losses(rgb, alpha, torch.ones(2, 16, 16, 3), torch.full((2, 16, 16), mask_value), ALL)
    loss.backward()
    assert torch.isfinite(loss)
    assert rgb.grad is not None and torch.isfinite(rgb.grad).all()
    assert alpha.grad is not None and torch.isfinite(alpha.grad).all()


def test_too_bright_pixels_keep_their_gradient() -> None:
    rgb = torch.full((1, 16, 16, 3), 1.5, requires_grad=True)
    loss, _ = image_losses(rgb, torch.ones(1, 16, 16), torch.ones(1, 16, 16, 3), torch.ones(1, 16, 16), LossConfig())
    loss.backward()
    assert rgb.grad is not None and (rgb.grad > 0).all()


@pytest.mark.parametrize(
    "weights", [{"l2": -1.0}, {"ssim": float("nan")}, {"foreground_weight": 0.0}, {"l2": 0.0, "alpha": 0.0}]
)
def test_useless_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InputError, match="loss:"):
        LossConfig(**weights)
