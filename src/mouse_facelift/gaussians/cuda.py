"""gsplat behind the common interface: the engine for tensors on a CUDA device."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians


def rasterise(
    gaussians: Gaussians, w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"], width: int, height: int
) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
    """Colour times alpha, and alpha, of every view; see `rendering.render`.

    gsplat has the rest of `conventions` compiled in. Raises ValueError for tensors that are not on a CUDA device.
    """
    if gaussians.device.type != "cuda":
        raise ValueError(f"the gsplat back end renders on CUDA, the Gaussians are on {gaussians.device}")
    from gsplat import rasterization

    safe = _without_degenerate(gaussians.to(dtype=torch.float32))
    views, dtype = w2c.shape[0], gaussians.means.dtype
    if len(safe) == 0 or views == 0:
        # The sum of nothing is 0 and keeps the graph, so that an empty scene can still be differentiated.
        blank = safe.colours.new_zeros(views, height, width, 3) + (safe.colours.sum() if len(safe) == 0 else 0)
        return blank.to(dtype), blank[..., 0].to(dtype)
    lens = fxfycxcy.detach().float()
    intrinsics = torch.zeros(views, 3, 3, device=lens.device)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = lens[:, 0], lens[:, 1], 1.0
    intrinsics[:, :2, 2] = lens[:, 2:]
    colour, alpha, _ = rasterization(
        means=safe.means,
        quats=safe.rotations,
        scales=safe.scales,
        opacities=safe.opacities,
        colors=safe.colours,
        viewmats=w2c.detach().float().contiguous(),
        Ks=intrinsics,
        width=width,
        height=height,
        near_plane=CONVENTIONS.near_plane,
        eps2d=CONVENTIONS.low_pass_px2,
        packed=False,
        render_mode="RGB",
    )
    return colour.to(dtype), alpha[..., 0].to(dtype)


def _without_degenerate(gaussians: Gaussians) -> Gaussians:
    """Gaussians that are not finite become invisible ones without gradient, zero quaternions the identity.

    Replaced rather than dropped: a boolean selection would make the CPU wait for the GPU.
    """
    good = gaussians.finite()
    turned = gaussians.rotations.detach().norm(dim=-1) > 0
    identity = gaussians.rotations.new_tensor([1.0, 0.0, 0.0, 0.0])
    return Gaussians(
        means=torch.where(good[:, None], gaussians.means, 0.0),
        scales=torch.where(good[:, None], gaussians.scales, 1.0),
        rotations=torch.where((good & turned)[:, None], gaussians.rotations, identity),
        opacities=torch.where(good, gaussians.opacities, 0.0),
        colours=torch.where(good[:, None], gaussians.colours, 0.0),
    )
