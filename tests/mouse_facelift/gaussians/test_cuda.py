from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gsplat renders on CUDA, and there is no CUDA device"),
]


@pytest.mark.parametrize("kind", ["mixed", "translucent", "opaque"])
def test_gsplat_draws_what_the_reference_draws(scene: Callable, kind: str) -> None:
    s = scene(kind)
    results = []
    cases: list[tuple[Backend, str]] = [("reference", "cpu"), ("auto", "cuda")]
    for backend, device in cases:
        gaussians = s.gaussians.map(lambda tensor, device=device: tensor.clone().to(device).requires_grad_())
        image = render(gaussians, s.w2c.to(device), s.fxfycxcy.to(device), s.width, s.height, backend=backend)
        (image.rgb.square().mean() + image.alpha.mean()).backward()
        gradients: list[Tensor] = [tensor.grad.cpu() for tensor in gaussians.tensors() if tensor.grad is not None]
        results.append((image.rgb.detach().cpu(), image.alpha.detach().cpu(), gradients))
    (rgb, alpha, gradients), (gpu_rgb, gpu_alpha, gpu_gradients) = results
    # gsplat's fast exponential moves a few contributions across the threshold of 1/255.
    assert ((rgb - gpu_rgb).abs() < 1e-3).float().mean() > 0.99
    torch.testing.assert_close(gpu_alpha, alpha, rtol=0, atol=1e-2)
    for ours, theirs in zip(gpu_gradients, gradients, strict=True):
        assert ours.isfinite().all() and (ours - theirs).norm() < 0.02 * theirs.norm()


def test_no_gaussians_draw_the_background(scene: Callable) -> None:
    s = scene("opaque")
    image = render(Gaussians.empty("cuda"), s.w2c.cuda(), s.fxfycxcy.cuda(), 9, 7)
    assert torch.equal(image.rgb.cpu(), torch.ones(2, 7, 9, 3)) and not image.alpha.any()
