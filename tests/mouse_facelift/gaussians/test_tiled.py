from __future__ import annotations

from collections.abc import Callable, Iterator

import numba
import pytest
import torch
from torch import Tensor

from mouse_facelift.gaussians import tiled_binning
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, Rendering, render

NAMES = ("means", "scales", "rotations", "opacities", "colours")


def draw(s, backend: Backend, background: Tensor | None = None) -> tuple[Rendering, list[Tensor]]:
    """The picture, and the gradients of a random linear function of its colours and alphas."""
    gaussians = s.gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    image = render(gaussians, s.w2c, s.fxfycxcy, s.width, s.height, background=background, backend=backend)
    generator = torch.Generator().manual_seed(9)
    loss = (image.rgb * torch.randn(image.rgb.shape, generator=generator)).sum()
    loss = loss + (image.alpha * torch.randn(image.alpha.shape, generator=generator)).sum()
    loss.backward()
    return image, [tensor.grad for tensor in gaussians.tensors() if tensor.grad is not None]


@pytest.fixture(autouse=True)
def same_thread_counts_afterwards() -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.mark.parametrize("kind", ["mixed", "translucent", "opaque"])
@pytest.mark.parametrize("background", [None, torch.zeros(3), torch.tensor([[0.2, 0.5, 1.0], [1.0, 0.3, 0.0]])])
def test_image_and_gradients_equal_the_reference(scene: Callable, kind: str, background: Tensor | None) -> None:
    s = scene(kind)
    expected, expected_gradients = draw(s, "reference", background)
    found, found_gradients = draw(s, "tiled", background)
    torch.testing.assert_close(found.rgb, expected.rgb, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.alpha, expected.alpha, rtol=0, atol=1e-5)
    for name, ours, theirs in zip(NAMES, found_gradients, expected_gradients, strict=True):
        assert theirs.norm() > 0
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 1e-3, f"{name}: relative error {error:.2e}"
        # Gaussian by Gaussian too, down to a thousandth of the typical gradient: no small one hides behind a large.
        rows, wanted = (ours - theirs).reshape(len(theirs), -1).norm(dim=1), theirs.reshape(len(theirs), -1).norm(dim=1)
        assert (rows <= 1e-3 * (wanted + wanted.median())).all(), name


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 70), (64, 48)])
def test_any_image_size(scene: Callable, size: tuple[int, int]) -> None:
    s = scene("translucent", n=60, views=1, width=size[0], height=size[1])
    expected, expected_gradients = draw(s, "reference")
    found, found_gradients = draw(s, "tiled")
    torch.testing.assert_close(found.rgb, expected.rgb, rtol=0, atol=1e-5)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_result_does_not_depend_on_the_size_of_tiles(scene: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    s = scene("mixed", width=70, height=50)
    small, small_gradients = draw(s, "tiled")
    monkeypatch.setattr(tiled_binning, "_MOST_ENTRIES", 1)
    large, large_gradients = draw(s, "tiled")
    assert torch.equal(small.rgb, large.rgb) and torch.equal(small.alpha, large.alpha)
    for few, many in zip(large_gradients, small_gradients, strict=True):
        torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-4 * float(many.abs().max()))


def test_same_bits_in_every_run_and_on_any_number_of_threads(scene: Callable) -> None:
    s = scene("mixed", n=2000, width=90, height=60)
    runs = []
    for threads in (1, numba.get_num_threads(), 1):
        torch.set_num_threads(threads)
        runs.append(draw(s, "tiled"))
    for image, gradients in runs[1:]:
        assert torch.equal(image.rgb, runs[0][0].rgb) and torch.equal(image.alpha, runs[0][0].alpha)
        assert all(torch.equal(a, b) for a, b in zip(gradients, runs[0][1], strict=True))


def test_gaussians_that_cannot_be_seen_get_zero_gradients_and_change_nothing(scene: Callable) -> None:
    s = scene("opaque", n=40, views=1)
    image, gradients = draw(s, "tiled")
    toward_camera = s.w2c[0, :3, :3].T @ torch.tensor([0.0, 0.0, -1.0])
    behind = s.gaussians.select(torch.arange(8))
    behind = Gaussians(toward_camera * 5 + behind.means, *behind.tensors()[1:])
    broken = s.gaussians.select(torch.arange(8)).map(lambda tensor: tensor * torch.nan)
    more = Gaussians.concatenate([broken, s.gaussians, behind])
    image_of_more, more_gradients = draw(type(s)(more, s.w2c, s.fxfycxcy, s.width, s.height), "tiled")
    assert torch.equal(image_of_more.rgb, image.rgb)
    for padded, plain in zip(more_gradients, gradients, strict=True):
        assert torch.equal(padded[8:-8], plain)
        assert not padded[:8].any() and not padded[-8:].any()


def test_order_of_the_list_does_not_matter(scene: Callable) -> None:
    s = scene("translucent", views=1)
    shuffle = torch.randperm(len(s.gaussians))
    shuffled = type(s)(s.gaussians.select(shuffle), s.w2c, s.fxfycxcy, s.width, s.height)
    (image, gradients), (same_image, same_gradients) = draw(s, "tiled"), draw(shuffled, "tiled")
    assert torch.equal(image.rgb, same_image.rgb)
    assert all(torch.equal(a[shuffle], b) for a, b in zip(gradients, same_gradients, strict=True))


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_degenerate_quaternions_and_scales_stay_finite(scene: Callable, backend: Backend) -> None:
    s = scene("opaque", n=30)
    rotations, scales = s.gaussians.rotations.clone(), s.gaussians.scales.clone()
    rotations[:10] = 0.0
    rotations[10:20] *= 1e-15
    scales[20:] = 0.0
    gaussians = Gaussians(s.gaussians.means, scales, rotations, s.gaussians.opacities, s.gaussians.colours)
    image, gradients = draw(type(s)(gaussians, s.w2c, s.fxfycxcy, s.width, s.height), backend)
    assert image.rgb.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[2][:10].any()


def test_other_dtypes_and_strides_come_back_as_they_were_given(scene: Callable) -> None:
    s = scene("translucent")
    double = s.gaussians.map(lambda tensor: tensor.double().mT.contiguous().mT if tensor.ndim > 1 else tensor.double())
    double = double.map(torch.Tensor.requires_grad_)
    image = render(double, s.w2c, s.fxfycxcy, s.width, s.height, backend="tiled")
    image.alpha.mean().backward()
    plain = render(s.gaussians, s.w2c, s.fxfycxcy, s.width, s.height, backend="tiled")
    assert image.rgb.dtype == torch.float64 and double.means.grad is not None
    assert double.means.grad.dtype == torch.float64
    torch.testing.assert_close(image.rgb.float(), plain.rgb)
