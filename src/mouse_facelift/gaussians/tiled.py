"""The CPU renderer: project, sort into tiles, composite; and the same way back with analytic gradients.

Draws what `reference` draws, to rounding, in float32, on as many threads as PyTorch uses, with the same bits on any
number of them. The first call of an installation compiles (some seconds); later processes load the machine code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32
from numpy import ndarray
from torch import Tensor
from torch.autograd.function import once_differentiable

from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.tiled_binning import Bins, bin_splats
from mouse_facelift.gaussians.tiled_compile import as_many_threads_as_torch
from mouse_facelift.gaussians.tiled_compositing import composite, composite_backward
from mouse_facelift.gaussians.tiled_gradient import project_backward
from mouse_facelift.gaussians.tiled_projection import project


class _View(NamedTuple):
    """What one view's forward pass leaves for its backward pass."""

    pose: Float32[ndarray, "3 4"]
    lens: Float32[ndarray, " 4"]
    records: Float32[ndarray, "n 12"]
    bins: Bins
    transmittance: Float32[ndarray, "h w"]
    ends: Int32[ndarray, "h w"]


def rasterise(
    gaussians: Gaussians, w2c: Float[Tensor, "v 4 4"], fxfycxcy: Float[Tensor, "v 4"], width: int, height: int
) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
    """Colour times alpha, and alpha, of every view; see `rendering.render`. Raises ValueError off the CPU."""
    if gaussians.device.type != "cpu":
        raise ValueError(f"the tiled back end renders on the CPU, the Gaussians are on {gaussians.device}")
    tensors = gaussians.to(dtype=torch.float32).tensors()
    colour, alpha = _Tiled.apply(*tensors, w2c, fxfycxcy, width, height)
    return colour.to(gaussians.means.dtype), alpha.to(gaussians.means.dtype)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Float32[Tensor, "n 3"],
        scales: Float32[Tensor, "n 3"],
        rotations: Float32[Tensor, "n 4"],
        opacities: Float32[Tensor, " n"],
        colours: Float32[Tensor, "n 3"],
        w2c: Float[Tensor, "v 4 4"],
        fxfycxcy: Float[Tensor, "v 4"],
        width: int,
        height: int,
    ) -> tuple[Float32[Tensor, "v h w 3"], Float32[Tensor, "v h w"]]:
        arrays = [_array(tensor) for tensor in (means, scales, rotations, opacities, colours)]
        colour = np.empty((len(w2c), height, width, 3), np.float32)
        alpha = np.empty((len(w2c), height, width), np.float32)
        views = []
        with as_many_threads_as_torch() as threads:
            for v, (pose, lens) in enumerate(zip(_array(w2c[:, :3]), _array(fxfycxcy), strict=True)):
                records = project(*arrays, pose, lens, width, height, CONVENTIONS)
                bins = bin_splats(records, width, height)
                colour[v], transmittance, ends = composite(
                    records, bins, _turns(bins, threads), width, height, CONVENTIONS
                )
                np.subtract(1, transmittance, out=alpha[v])
                if any(ctx.needs_input_grad):
                    views.append(_View(pose, lens, records, bins, transmittance, ends))
        ctx.save_for_backward(means, scales, rotations)
        ctx.views = views
        return torch.from_numpy(colour), torch.from_numpy(alpha)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the name of ctx)
        ctx: Any, *d_outputs: Float32[Tensor, " *shape"]
    ) -> tuple[Tensor | None, ...]:
        means, scales, rotations = (_array(tensor) for tensor in ctx.saved_tensors)
        d_colour, d_alpha = (_array(gradient) for gradient in d_outputs)
        shapes = (means.shape, scales.shape, rotations.shape, means.shape[:1], means.shape)
        gradients = [np.zeros(shape, np.float32) for shape in shapes]
        height, width = d_alpha.shape[1:]
        with as_many_threads_as_torch() as threads:
            for v, view in enumerate(ctx.views):
                turns = _turns(view.bins, threads)
                sums = composite_backward(
                    view.records, view.bins, turns, CONVENTIONS, view.transmittance, view.ends, d_colour[v], d_alpha[v]
                )
                camera = (view.pose, view.lens, width, height, CONVENTIONS)
                first = view.bins.first_entries
                project_backward(means, scales, rotations, *camera, view.records, first, sums, *gradients)
        return *(torch.from_numpy(gradient) for gradient in gradients), None, None, None, None


def _array(tensor: Tensor) -> Float32[ndarray, " *shape"]:
    return np.ascontiguousarray(tensor.detach().to(torch.float32).numpy())


def _turns(bins: Bins, threads: int) -> Int32[ndarray, " t"]:
    """Tiles dealt to the threads like cards: numba gives each thread one run, and neighbouring tiles cost alike."""
    tiles = np.arange(bins.tiles_x * bins.tiles_y, dtype=np.int32)
    return np.concatenate([tiles[thread::threads] for thread in range(threads)])
