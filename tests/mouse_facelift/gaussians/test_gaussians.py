from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices
from mouse_facelift.gaussians.rendering import render


def test_similarity_and_its_inverse_round_trip(scene: Callable) -> None:
    gaussians = scene("opaque").gaussians
    centre = torch.tensor([12.0, -30.0, 7.0])
    back = gaussians.restored(0.02, centre).transformed(0.02, centre)
    for found, expected in zip(back.tensors(), gaussians.tensors(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_image_does_not_change_when_world_and_cameras_are_scaled_together(scene: Callable) -> None:
    s = scene("translucent")
    scale, centre = 3.0, torch.tensor([0.2, -0.1, 0.3])
    w2c = s.w2c.clone()
    w2c[:, :3, 3] = scale * (s.w2c[:, :3, :3] @ centre + s.w2c[:, :3, 3])
    before = render(s.gaussians, s.w2c, s.fxfycxcy, s.width, s.height, backend="reference")
    after = render(s.gaussians.transformed(scale, centre), w2c, s.fxfycxcy, s.width, s.height, backend="reference")
    assert before.alpha.max() > 0.5
    # Rounding may carry single contributions across the alpha threshold of 1/255.
    assert ((before.rgb - after.rgb).abs() < 1e-4).float().mean() > 0.999
    torch.testing.assert_close(before.rgb, after.rgb, rtol=0, atol=5e-3)


def test_select_and_concatenate_restore_the_whole(scene: Callable) -> None:
    gaussians = scene("opaque").gaussians
    first = torch.arange(len(gaussians)) < 40
    whole = Gaussians.concatenate([gaussians.select(first), Gaussians.empty(), gaussians.select(~first)])
    assert len(gaussians.select(first)) == 40
    for found, expected in zip(whole.tensors(), gaussians.tensors(), strict=True):
        assert torch.equal(found, expected)


def test_finite_names_exactly_the_broken_ones(scene: Callable) -> None:
    gaussians = scene("mixed", n=50).gaussians
    assert (~gaussians.finite()).nonzero().flatten().tolist() == [46, 47, 48, 49]


def test_rotation_matrices_are_rotations_and_turn_as_the_quaternion_says() -> None:
    turns = rotation_matrices(torch.randn(20, 4, dtype=torch.float64) * 5)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(20, dtype=torch.float64))
    quarter_about_z = rotation_matrices(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))[0]
    torch.testing.assert_close(quarter_about_z @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(rotation_matrices(torch.zeros(1, 4))[0], torch.eye(3))


def test_tensors_that_do_not_fit_together_are_refused() -> None:
    empty = Gaussians.empty()
    with pytest.raises(ValueError, match="opacities has shape"):
        Gaussians(empty.means, empty.scales, empty.rotations, torch.zeros(0, 1), empty.colours)
    with pytest.raises(ValueError, match="above 0"):
        empty.transformed(0.0, torch.zeros(3))
