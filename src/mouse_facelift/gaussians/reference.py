"""The renderer to read: every pixel meets every Gaussian, gradients come from autograd.

Slow on purpose (pixels x Gaussians); the other engines are tested against it. Works in the dtype it is given, so
float64 shows how much of a difference is rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians, rotation_matrices

_PAIRS_AT_ONCE = 1 << 22
"""Pixel-Gaussian pairs evaluated together: bounds the memory of one step, without changing the result."""


@dataclass(frozen=True, eq=False)
class _Splats:
    """Gaussians as one camera sees them, front to back."""

    centres: Float[Tensor, "m 2"]  # pixels
    conics: Float[Tensor, "m 3"]  # inverse covariance xx, xy, yy, per square pixel
    opacities: Float[Tensor, " m"]
    colours: Float[Tensor, "m 3"]


def rasterise(
    gaussians: Gaussians, w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"], width: int, height: int
) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
    """Colour times alpha, and alpha, of every view; see `rendering.render`."""
    cameras = zip(w2c.detach().to(gaussians.means), fxfycxcy.detach().to(gaussians.means), strict=True)
    views = [_one_view(gaussians, pose, lens, width, height) for pose, lens in cameras]
    if not views:
        return gaussians.means.new_zeros(0, height, width, 3), gaussians.means.new_zeros(0, height, width)
    return torch.stack([colour for colour, _ in views]), torch.stack([alpha for _, alpha in views])


def _one_view(
    gaussians: Gaussians, pose: Float[Tensor, "4 4"], lens: Float[Tensor, " 4"], width: int, height: int
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    splats = _splats(gaussians, pose, lens, width, height)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2).to(gaussians.means) + 0.5
    chunk = max(1, _PAIRS_AT_ONCE // max(1, len(splats.opacities)))
    parts = [_composite(splats, some) for some in pixels.split(chunk)]
    colour = torch.cat([part[0] for part in parts]).reshape(height, width, 3)
    return colour, torch.cat([part[1] for part in parts]).reshape(height, width)


def _splats(
    gaussians: Gaussians, pose: Float[Tensor, "4 4"], lens: Float[Tensor, " 4"], width: int, height: int
) -> _Splats:
    """Projects, drops what cannot be drawn and sorts by depth."""
    with torch.no_grad():
        depths = gaussians.means @ pose[2, :3] + pose[2, 3]
        _, conics = _project(gaussians, pose, lens, width, height)
        good = gaussians.finite() & conics.isfinite().all(-1) & (depths >= CONVENTIONS.near_plane)
        order = torch.argsort(depths, stable=True)
        # Selecting before the differentiable projection keeps a NaN of a dropped Gaussian out of every gradient.
        order = order[good[order]]
    front_to_back = gaussians.select(order)
    centres, conics = _project(front_to_back, pose, lens, width, height)
    return _Splats(centres, conics, front_to_back.opacities, front_to_back.colours)


def _project(
    gaussians: Gaussians, pose: Float[Tensor, "4 4"], lens: Float[Tensor, " 4"], width: int, height: int
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 3"]]:
    """Centres in pixels and inverse 2-D covariances (EWA splatting with a low-pass filter)."""
    focal, principal = lens[:2], lens[2:]
    size = lens.new_tensor([width, height])
    in_camera = gaussians.means @ pose[:3, :3].T + pose[:3, 3]
    depth = in_camera[:, 2:]
    slope = in_camera[:, :2] / depth
    margin = CONVENTIONS.tangent_margin * 0.5 * size / focal
    held = slope.clamp(min=-principal / focal - margin, max=(size - principal) / focal + margin)

    # Rows of J = d(pixel)/d(camera point), then of J * (rotation * scales): the splat's two axes-by-three factors.
    zero = torch.zeros_like(depth[:, 0])
    row_x = torch.stack([focal[0] / depth[:, 0], zero, -focal[0] * held[:, 0] / depth[:, 0]], dim=-1)
    row_y = torch.stack([zero, focal[1] / depth[:, 0], -focal[1] * held[:, 1] / depth[:, 0]], dim=-1)
    axes = pose[:3, :3] @ rotation_matrices(gaussians.rotations) * gaussians.scales[:, None, :]
    factor = torch.stack([row_x, row_y], dim=1) @ axes
    across, down = factor[:, 0], factor[:, 1]

    variance_x = (across * across).sum(-1)
    variance_y = (down * down).sum(-1)
    covariance = (across * down).sum(-1)
    # det(F F^T + eps I) by Lagrange's identity: no difference of large products for long thin splats.
    area = torch.linalg.cross(across, down).square().sum(-1)
    determinant = area + CONVENTIONS.low_pass_px2 * (variance_x + variance_y) + CONVENTIONS.low_pass_px2**2
    conics = torch.stack(
        [variance_y + CONVENTIONS.low_pass_px2, -covariance, variance_x + CONVENTIONS.low_pass_px2], dim=-1
    )
    return focal * slope + principal, conics / determinant[:, None]


def _composite(splats: _Splats, pixels: Float[Tensor, "p 2"]) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"]]:
    """Front-to-back compositing of all splats at some pixel centres."""
    dx = pixels[:, None, 0] - splats.centres[None, :, 0]
    dy = pixels[:, None, 1] - splats.centres[None, :, 1]
    xx, xy, yy = splats.conics.unbind(-1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (splats.opacities * torch.exp(-sigma)).clamp(max=CONVENTIONS.max_alpha)
    alpha = torch.where((alpha >= CONVENTIONS.min_alpha) & (sigma >= 0), alpha, 0.0)
    # The product only falls, so the Gaussian that would end a pixel and all behind it are dropped by one comparison.
    alpha = torch.where(torch.cumprod(1 - alpha, dim=-1) > CONVENTIONS.min_transmittance, alpha, 0.0)
    after = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(pixels[:, :1]), after], dim=-1)
    return (alpha * before[:, :-1]) @ splats.colours, 1 - before[:, -1]
