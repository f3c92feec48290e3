"""Any engine with the memory of one view: draw without a graph, and draw again, view by view, on the way back.

What a rendering keeps for its gradient grows with views times Gaussians: at 512 px a training step has a million and
a half Gaussians in eight views of every sample. Deferred, the forward pass keeps only the Gaussians and the cameras,
and the backward pass repeats one view at a time, whose gradient is added before the next begins (the scheme GS-LRM
and FaceLift train with). Pictures are the same to the bit; gradients differ by the order of a sum. The price is one
more forward pass.

A view is the smallest part. A band of rows would be another picture: where the slope of perspective is bounded
depends on the image's extent (`Conventions.tangent_margin`). Nor would it save much, since the engines that train
have analytic gradients and keep little per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mouse_facelift.gaussians.gaussians import Gaussians

if TYPE_CHECKING:
    from mouse_facelift.gaussians.rendering import Rasteriser


@dataclass(frozen=True)
class Deferred:
    """An engine (`rendering.Rasteriser`) that calls another one, twice where a gradient is wanted."""

    engine: Rasteriser

    def __call__(
        self,
        gaussians: Gaussians,
        w2c: Float[Tensor, "v 4 4"],
        fxfycxcy: Float[Tensor, "v 4"],
        width: int,
        height: int,
    ) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
        """Colour times alpha, and alpha, of every view; see `rendering.render`."""
        return _Deferred.apply(*gaussians.tensors(), w2c, fxfycxcy, width, height, self.engine)


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Float[Tensor, "n 3"],
        scales: Float[Tensor, "n 3"],
        rotations: Float[Tensor, "n 4"],
        opacities: Float[Tensor, " n"],
        colours: Float[Tensor, "n 3"],
        w2c: Float[Tensor, "v 4 4"],
        fxfycxcy: Float[Tensor, "v 4"],
        width: int,
        height: int,
        engine: Rasteriser,
    ) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
        # A custom function runs without a graph, so the engine keeps nothing here.
        ctx.save_for_backward(means, scales, rotations, opacities, colours, w2c, fxfycxcy)
        ctx.size, ctx.engine = (width, height), engine
        return engine(Gaussians(means, scales, rotations, opacities, colours), w2c, fxfycxcy, width, height)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the name of ctx)
        ctx: Any, d_colour: Float[Tensor, "v h w 3"], d_alpha: Float[Tensor, "v h w"]
    ) -> tuple[Tensor | None, ...]:
        *tensors, w2c, fxfycxcy = ctx.saved_tensors
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        for view in range(len(w2c)):
            this = slice(view, view + 1)
            # Backward runs without a graph as well, and under whatever autocast the caller is in.
            with torch.enable_grad(), torch.autocast(w2c.device.type, enabled=False):
                drawn = ctx.engine(Gaussians(*leaves), w2c[this], fxfycxcy[this], *ctx.size)
            torch.autograd.backward(drawn, (d_colour[this], d_alpha[this]))
        return *(leaf.grad for leaf in leaves), None, None, None, None, None
