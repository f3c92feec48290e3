"""Which terms count when, that the others cost nothing, and finite gradients in every corner."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mouse_facelift.config import UsageError, from_plain, parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm import loss_terms, losses
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.loss_config import GEOMETRY_TERMS, IMAGE_TERMS, LossConfig, Ramps
from mouse_facelift.gslrm.losses import LossNetworks, geometry_losses, image_losses, image_scalar_names
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.rays import pixel_rays
from mouse_facelift.perceptual.vgg import VGG19_BLOCKS, layer_channels

FILES: dict[str, Any] = {"perceptual_weights": Path("vgg19.safetensors"), "lpips_weights": Path("vgg16.pth")}
ALL = LossConfig(l2=1.0, ssim=0.5, perceptual=0.3, lpips=0.2, alpha=2.0, foreground_weight=4.0, **FILES)


class Mean(nn.Module):
    """A network whose distance is simple: mean absolute difference, or one per picture."""

    def __init__(self, per_picture: bool) -> None:
        super().__init__()
        self.per_picture = per_picture

    def forward(self, rgb: Tensor, target: Tensor) -> Tensor:
        distance = (rgb - target).abs()
        return distance.mean(dim=(1, 2, 3)) if self.per_picture else distance.mean()


class Forbidden(nn.Module):
    def forward(self, rgb: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("a network of weight zero was called")


NETWORKS = LossNetworks(Mean(False), Mean(True))


def random_pictures(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rgb, target = torch.rand(2, 2, 16, 16, 3, generator=generator)
    alpha, mask = torch.rand(2, 2, 16, 16, generator=generator)
    return 1.2 * rgb, alpha, target, mask


def test_l2_weighs_the_foreground() -> None:
    target, mask = torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8)
    mask[:, :2] = 1.0
    rgb = 0.5 * mask[..., None].expand(-1, -1, -1, 3)
    loss, terms = image_losses(rgb, mask, target, mask, LossConfig(l2=2.0, alpha=0.0, foreground_weight=4.0))
    # 16 pixels of weight 4 with error 0.25, 48 of weight 1 without error.
    assert float(terms["l2"]) == pytest.approx(0.25 * 64 / (64 + 48))
    assert float(loss) == pytest.approx(2 * float(terms["l2"]))
    assert set(terms) == {"l2"}


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    rgb, alpha, target, mask = random_pictures()
    loss, terms = image_losses(rgb, alpha, target, mask, ALL, networks=NETWORKS)
    weights = loss_terms.pixel_weights(mask, 4.0)
    expected = {
        "l2": loss_terms.colour_error(rgb, target, weights),
        "ssim_loss": loss_terms.structure_error(rgb, target, weights),
        "perceptual_loss": (rgb - target).abs().mean(),
        "lpips_loss": (rgb - target).abs().mean(),
        "alpha_loss": (alpha - mask).square().mean(),
    }
    assert list(terms) == list(expected) == image_scalar_names(ALL)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-5)
    total = sum(w * float(v) for w, v in zip((1.0, 0.5, 0.3, 0.2, 2.0), expected.values(), strict=True))
    assert float(loss) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("config", [ALL, LossConfig(ssim=1.0, ssim_masked=True, photometric="affine")])
@pytest.mark.parametrize("mask_value", [0.0, 1.0])
@pytest.mark.parametrize("drawn", [0.0, 1.0])
def test_gradients_are_finite_for_empty_and_full_masks(config: LossConfig, mask_value: float, drawn: float) -> None:
    rgb = torch.full((2, 16, 16, 3), drawn, requires_grad=True)
    alpha = torch.full((2, 16, 16), drawn, requires_grad=True)
    target, mask = torch.ones(2, 16, 16, 3), torch.full((2, 16, 16), mask_value)
    loss, _ = image_losses(rgb, alpha, target, mask, config, networks=NETWORKS)
    loss.backward()
    assert torch.isfinite(loss)
    assert rgb.grad is not None and torch.isfinite(rgb.grad).all()
    assert alpha.grad is not None and torch.isfinite(alpha.grad).all()


def test_too_bright_pixels_keep_their_gradient() -> None:
    rgb = torch.full((1, 16, 16, 3), 1.5, requires_grad=True)
    loss, _ = image_losses(rgb, torch.ones(1, 16, 16), torch.ones(1, 16, 16, 3), torch.ones(1, 16, 16), LossConfig())
    loss.backward()
    assert rgb.grad is not None and (rgb.grad > 0).all()


def test_haze_and_exposure_of_a_view_are_not_charged_for_when_affine() -> None:
    torch.manual_seed(0)
    truth, mask = 0.2 + 0.3 * torch.rand(2, 16, 16, 3), torch.zeros(2, 16, 16)
    mask[:, 3:13, 3:13] = 1.0
    target = torch.where(mask[..., None] > 0, 1.3 * truth + 0.1, truth)
    plain, affine = (
        image_losses(truth, mask, target, mask, LossConfig(photometric=kind))[1]["l2"] for kind in ("none", "affine")
    )
    assert float(affine) < 0.01 * float(plain)


@pytest.mark.parametrize("name", [*IMAGE_TERMS, *GEOMETRY_TERMS])
def test_terms_of_weight_zero_are_not_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was computed")

    formulas = {
        "l2": "colour_error",
        "ssim": "structure_error",
        "alpha": "silhouette_error",
        "pixelalign": "pixel_misalignment",
        "pointsdist": "distance_spread",
    }
    if name in formulas:
        monkeypatch.setattr(loss_terms, formulas[name], fail)
    weights: dict[str, Any] = {other: 0.5 for other in (*IMAGE_TERMS, *GEOMETRY_TERMS) if other != name} | {name: 0.0}
    networks = LossNetworks(*(Forbidden() if name == kind else Mean(False) for kind in ("perceptual", "lpips")))
    config = LossConfig(**weights, **FILES)
    _, terms = image_losses(*random_pictures(), config, networks=networks)
    _, more = geometry_losses(*small_scene(), config)
    assert not {name, f"{name}_loss"} & set(terms | more)


def test_a_term_that_is_off_at_a_step_is_not_computed_and_reports_nan() -> None:
    config = LossConfig(perceptual=1.0, ramps=Ramps(perceptual=(10, 20)), **FILES)
    for step in (0, 10):
        loss, terms = image_losses(*random_pictures(), config, step=step, networks=LossNetworks(Forbidden()))
        assert torch.isfinite(loss) and math.isnan(float(terms["perceptual_loss"]))
    with pytest.raises(AssertionError, match="weight zero"):
        image_losses(*random_pictures(), config, step=11, networks=LossNetworks(Forbidden()))
    with pytest.raises(ValueError, match="LossNetworks.load"):
        image_losses(*random_pictures(), config, step=11)


@pytest.mark.parametrize(
    ("ramp", "shares"),
    [
        ((0, 0), {0: 1.0, 7: 1.0}),
        ((500, 500), {499: 0.0, 500: 1.0}),
        ((100, 300), {0: 0.0, 100: 0.0, 101: 0.005, 200: 0.5, 299: 0.995, 300: 1.0, 301: 1.0}),
    ],
)
def test_ramps_at_their_corners(ramp: tuple[int, int], shares: dict[int, float]) -> None:
    config = LossConfig(ssim=2.0, ramps=Ramps(ssim=ramp))
    for step, share in shares.items():
        assert config.weight("ssim", step) == pytest.approx(2.0 * share)


def test_facelifts_first_stage() -> None:
    """L2 1, perceptual 0.5 from step 5000 on, and 1000 steps of the points' distances alone."""
    config = LossConfig(perceptual=0.5, alpha=0.0, pointsdist_steps=1000, ramps=Ramps(perceptual=(5000, 5000)), **FILES)
    names = ("l2", "perceptual", "pointsdist")
    weights = {step: [config.weight(name, step) for name in names] for step in (0, 999, 1000, 4999, 5000)}
    assert weights == {0: [0, 0, 0.1], 999: [0, 0, 0.1], 1000: [1, 0, 0], 4999: [1, 0, 0], 5000: [1, 0.5, 0]}
    assert not config.renders(999) and config.renders(1000)


def small_scene() -> tuple[Any, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    w2c = torch.eye(4).repeat(2, 3, 1, 1)
    w2c[..., 2, 3] = 2.7
    w2c[:, :, 0, 3] = 0.2 * torch.rand(2, 3)
    fxfycxcy = torch.tensor([10.0, 10.0, 4.0, 4.0]).repeat(2, 3, 1)
    images = torch.rand(2, 3, 4, 8, 8)
    model = GSLRM(GSLRMConfig(image_size=8, patch_size=4, width=64, layers=1, hard_pixelalign=False))
    return model(images[:, :, :3], w2c, fxfycxcy), images, w2c, fxfycxcy


@pytest.mark.parametrize("masked", [False, True])
def test_geometry_terms_meet_every_gaussian_with_its_own_pixel(masked: bool) -> None:
    gaussians, images, w2c, fxfycxcy = small_scene()
    config = LossConfig(pixelalign=0.5, opacity=0.25, scale=2.0, pixelalign_masked=masked)
    loss, terms = geometry_losses(gaussians, images, w2c, fxfycxcy, config)
    rays = pixel_rays(w2c, fxfycxcy, 8, 8)
    # Pixels in image order, found through the Gaussians' own order of pixels.
    numbers = gaussians.per_pixel(torch.arange(3 * 64.0).reshape(1, 3, 1, 8, 8).expand(2, -1, -1, -1, -1))
    points = torch.zeros(2, 3 * 64, 3).scatter(1, numbers.long().expand(-1, -1, 3), gaussians.pixel_means.detach())
    points = points.reshape(2, 3, 64, 3)
    aligned = loss_terms.pixel_misalignment(
        points,
        rays.origins,
        rays.directions.permute(0, 1, 3, 4, 2).flatten(2, 3),
        images[:, :, 3].flatten(2) if masked else None,
    )
    assert float(terms["pixelalign_loss"]) == pytest.approx(float(aligned), rel=1e-5)
    assert float(terms["opacity_loss"]) == pytest.approx(float(gaussians.opacity_logits.detach().sigmoid().mean()))
    assert float(terms["scale_loss"]) == pytest.approx(float(gaussians.log_scales.detach().exp().mean()))
    total = 0.5 * terms["pixelalign_loss"] + 0.25 * terms["opacity_loss"] + 2.0 * terms["scale_loss"]
    assert float(loss.detach()) == pytest.approx(float(total), rel=1e-5)
    warm = LossConfig(pointsdist=0.1, pointsdist_steps=3)
    loss, terms = geometry_losses(gaussians, images, w2c, fxfycxcy, warm, step=2)
    expected = loss_terms.distance_spread(points, rays.origins)
    assert float(terms["pointsdist_loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(0.1 * float(expected), rel=1e-5)
    loss, terms = geometry_losses(gaussians, images, w2c, fxfycxcy, warm, step=3)
    assert float(loss) == 0.0 and math.isnan(float(terms["pointsdist_loss"]))


@pytest.mark.parametrize(
    "values",
    [
        {"l2": -1.0},
        {"ssim": float("nan")},
        {"foreground_weight": 0.0},
        {"l2": 0.0, "alpha": 0.0},
        {"l2": 0.0, "alpha": 0.0, "opacity": 1.0},
        {"alpha": 0.0, "ramps": Ramps(l2=(0, 10))},
        {"pointsdist_steps": -1},
        {"pointsdist_steps": 5, "pointsdist": 0.0},
        {"perceptual": 1.0},
        {"lpips": 1.0},
    ],
)
def test_useless_weights_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="loss:"):
        LossConfig(**values)


@pytest.mark.parametrize("ramp", [(5, 4), (-1, 4)])
def test_impossible_ramps_are_refused(ramp: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="ramps.l2"):
        Ramps(l2=ramp)


def test_a_command_line_and_a_file_say_the_same() -> None:
    words = ["--perceptual", "0.5", "--perceptual-weights", "vgg19.safetensors", "--ramps.perceptual", "500", "1500"]
    config = parse(LossConfig, words, prog="p", description="d")
    weights = FILES["perceptual_weights"]
    assert config == LossConfig(perceptual=0.5, perceptual_weights=weights, ramps=Ramps(perceptual=(500, 1500)))
    assert from_plain(LossConfig, to_plain(config)) == config
    with pytest.raises(UsageError):
        parse(LossConfig, ["--ramps.perceptual", "500"], prog="p", description="d")


def test_networks_are_read_for_the_terms_that_count_alone(tmp_path: Path) -> None:
    assert LossNetworks.load(LossConfig(perceptual_weights=tmp_path / "absent.pt")) == LossNetworks()
    with pytest.raises(InputError, match="absent.pt"):
        LossNetworks.load(LossConfig(perceptual=1.0, perceptual_weights=tmp_path / "absent.pt"))
    path = tmp_path / "vgg19.safetensors"
    layers = enumerate(layer_channels(VGG19_BLOCKS), start=1)
    tensors = {f"conv{k}.weight": torch.full((o, i, 3, 3), 0.01) for k, (i, o) in layers}
    save_file(tensors | {f"{name[:-6]}bias": torch.zeros(len(value)) for name, value in tensors.items()}, path)
    networks = LossNetworks.load(LossConfig(perceptual=1.0, perceptual_weights=path))
    assert isinstance(networks.perceptual, losses.PerceptualDistance) and networks.lpips is None
    rgb = torch.zeros(1, 16, 16, 3, requires_grad=True)
    networks.perceptual(rgb, torch.ones(1, 16, 16, 3)).backward()
    assert rgb.grad is not None and (rgb.grad < 0).all()
