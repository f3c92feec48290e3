"""More samples from the same ones: the world turned or mirrored, pictures and cameras alike.

Both leave every sample exactly consistent. They teach that where an animal stands and faces in the world means nothing,
which a rig of fixed cameras in one arena cannot.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mouse_facelift.gslrm.batch import Batch


def turned(batch: Batch, angles: Float[Tensor, " b"]) -> Batch:
    """The world of each sample turned about its z axis by an angle (radians); the pictures stay what they are.

    A point X of the old world is Rz(angle) X in the new one, so the cameras go along: w2c Rz(-angle).
    """
    turn = torch.eye(4, device=angles.device).repeat(len(angles), 1, 1, 1)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    turn[..., 0, 0], turn[..., 0, 1], turn[..., 1, 0], turn[..., 1, 1] = cosine, sine, -sine, cosine
    return Batch(batch.images, batch.w2c @ turn, batch.fxfycxcy)


def mirrored(batch: Batch, which: Bool[Tensor, " b"]) -> Batch:
    """The chosen samples seen in a mirror: the world's x is negated, and so is every camera's.

    A camera of the mirrored world sees the picture flipped left to right: with F = diag(-1, 1, 1, 1) it is F w2c F,
    again a rotation, and its principal point is as far from the other border.
    """
    flip = torch.diag(batch.w2c.new_tensor([-1.0, 1.0, 1.0, 1.0]))
    width = batch.images.shape[-1]
    fx, fy, cx, cy = batch.fxfycxcy.unbind(-1)
    flipped = torch.stack([fx, fy, width - cx, cy], dim=-1)
    return Batch(
        torch.where(which[:, None, None, None, None], batch.images.flip(-1), batch.images),
        torch.where(which[:, None, None, None], flip @ batch.w2c @ flip, batch.w2c),
        torch.where(which[:, None, None], flipped, batch.fxfycxcy),
    )


def augmented(batch: Batch, *, turn: bool, mirror: bool, generator: torch.Generator) -> Batch:
    """Turn every sample by an angle of its own, mirror every other one, or neither; `generator` (CPU) decides."""
    samples, device = batch.images.shape[0], batch.w2c.device
    if turn:
        batch = turned(batch, (2 * math.pi * torch.rand(samples, generator=generator)).to(device))
    if mirror:
        batch = mirrored(batch, (torch.rand(samples, generator=generator) < 0.5).to(device))
    return batch
