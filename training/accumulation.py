"""One global batch, whoever computes it: shares of workers, passes through the model, and gradients that add up.

The gradient of a step is that of the mean loss over the global batch, however many workers share it, evenly or not,
and however many passes each of them needs. DDP averages over workers; a pass of n of the G samples of a batch on one
of W workers therefore counts n W / G.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.task import Tensors


@dataclass(frozen=True)
class Share:
    """A worker's samples: positions `first` to `first + count - 1` of every global batch."""

    first: int
    count: int


def share_of(batch_size: int, rank: int, world_size: int) -> Share:
    """Contiguous shares that differ by one sample at most, the larger ones first."""
    small, larger = divmod(batch_size, world_size)
    return Share(rank * small + min(rank, larger), small + (rank < larger))


@dataclass(frozen=True)
class Pass:
    """What goes through the model at once."""

    batch: Tensors
    first: int
    """Position of its first sample in the global batch: what is drawn for it depends on that, not on the worker."""
    samples: int


def split_into_passes(batch: Tensors, first: int, micro_batch: int) -> list[Pass]:
    """A worker's share of a batch, at most `micro_batch` samples at a time (0: all at once).

    Args:
        batch: the share.
        first: its position in the global batch.
        micro_batch: samples per pass.
    """
    count = len(next(iter(batch.values())))
    size = micro_batch or count
    return [
        Pass({name: tensor[at : at + size] for name, tensor in batch.items()}, first + at, min(size, count - at))
        for at in range(0, count, size)
    ]


def gradient_share(samples: int, batch_size: int, world_size: int) -> float:
    """Factor on the mean loss of a pass, so that DDP's mean over workers is the global batch's mean."""
    return samples * world_size / batch_size


def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """Keep a pass's gradients on this worker; those of a step's last pass take them along."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()


def pooled(scalars: Sequence[dict[str, Float[Tensor, ""]]], samples: Sequence[int]) -> dict[str, Float[Tensor, ""]]:
    """Means of the passes' scalars over samples; a pass that did not compute one (nan) does not count."""
    weights = torch.tensor(samples, dtype=torch.float32)
    means = {}
    for name in scalars[0]:
        values = torch.stack([scalar[name].float() for scalar in scalars])
        known = weights.to(values.device) * ~values.isnan()
        means[name] = (known * torch.where(values.isnan(), 0.0, values)).sum() / known.sum()
    return means
