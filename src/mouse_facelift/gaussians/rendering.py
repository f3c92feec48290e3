"""One way to draw Gaussians, three engines behind it.

`reference` is a page of plain PyTorch that states the mathematics; `tiled` is the compiled CPU renderer with analytic
gradients that training and previews use; `gsplat` is the CUDA one. They share `conventions` and are tested against
each other. None gives gradients to the cameras.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.deferred import Deferred
from mouse_facelift.gaussians.gaussians import Gaussians

Backend = Literal["auto", "reference", "tiled", "gsplat"]


@dataclass(frozen=True, eq=False)
class Rendering:
    """Images of every view; alpha is 1 where nothing of the background shows."""

    rgb: Float[Tensor, "v h w 3"]
    alpha: Float[Tensor, "v h w"]


class Rasteriser(Protocol):
    """What a back end does: colour already multiplied by alpha, and alpha, without any background."""

    def __call__(
        self,
        gaussians: Gaussians,
        w2c: Float[Tensor, "v 4 4"],
        fxfycxcy: Float[Tensor, "v 4"],
        width: int,
        height: int,
    ) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]: ...


def render(
    gaussians: Gaussians,
    w2c: Float[Tensor, "v 4 4"],
    fxfycxcy: Float[Tensor, "v 4"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " 3"] | Float[Tensor, "v 3"] | None = None,
    backend: Backend = "auto",
    deferred: bool = False,
) -> Rendering:
    """Draws the Gaussians through each camera.

    Args:
        gaussians: float tensors, all on one device; the tiled and CUDA engines compute in float32.
        w2c: world to camera, OpenCV axes. No gradient.
        fxfycxcy: in pixels; the first pixel's centre is at (0.5, 0.5). No gradient.
        width, height: image size in pixels.
        background: RGB behind the Gaussians, one for all views or one per view; white when None.
        backend: "auto" takes gsplat for tensors on a CUDA device and tiled otherwise.
        deferred: draw again, view by view, for the gradient instead of keeping what it needs; see `deferred`.

    Returns:
        `rgb = colour + (1 - alpha) * background` and `alpha`, differentiable in all five tensors (and the
        background). Gaussians that are not finite, not in front of the near plane or off the image add nothing and
        receive zero gradients.

    Raises:
        ValueError: shapes that do not fit together, or tensors on different devices.
    """
    views = w2c.shape[0]
    if tuple(w2c.shape) != (views, 4, 4) or tuple(fxfycxcy.shape) != (views, 4):
        raise ValueError(f"w2c {tuple(w2c.shape)} and fxfycxcy {tuple(fxfycxcy.shape)} must be (v, 4, 4) and (v, 4)")
    if width < 1 or height < 1:
        raise ValueError(f"the image must have at least one pixel, not {width} x {height}")
    if w2c.device != gaussians.device or fxfycxcy.device != gaussians.device:
        raise ValueError(f"cameras on {w2c.device}/{fxfycxcy.device}, Gaussians on {gaussians.device}")
    engine = rasteriser(backend, gaussians.device)
    if deferred:
        engine = Deferred(engine)
    colour, alpha = engine(gaussians, w2c, fxfycxcy, width, height)
    behind = (torch.ones(3) if background is None else background).to(colour)
    if tuple(behind.shape) not in ((3,), (views, 3)):
        raise ValueError(f"background {tuple(behind.shape)} must be (3,) or ({views}, 3)")
    return Rendering(rgb=colour + (1 - alpha)[..., None] * behind.reshape(-1, 1, 1, 3), alpha=alpha)


def rasteriser(backend: Backend, device: torch.device) -> Rasteriser:
    """The engine a name stands for on a device. Raises ValueError for an unknown name."""
    if backend == "auto":
        backend = "gsplat" if device.type == "cuda" else "tiled"
    # Imported on demand: numba and gsplat each take seconds, and neither is needed for the other.
    if backend == "tiled":
        from mouse_facelift.gaussians.tiled import rasterise
    elif backend == "gsplat":
        from mouse_facelift.gaussians.cuda import rasterise
    elif backend == "reference":
        from mouse_facelift.gaussians.reference import rasterise
    else:
        raise ValueError(f"unknown rendering back end {backend!r}")
    return rasterise
