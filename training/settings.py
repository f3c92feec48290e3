"""What every training run has to be told, whichever model it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with linear warm-up and a half cosine down to zero (the values FaceLift trains with).

    Raises:
        InputError: a value that cannot train.
    """

    lr: float = 1e-4
    """Highest learning rate, reached at the end of the warm-up."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises linearly from zero."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's running moments."""
    weight_decay: float = 0.05
    """Decoupled weight decay, on parameters with two dimensions or more."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm over all parameters."""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise InputError(f"optimiser: lr is {self.lr}; it must be positive")
        if self.warmup_steps < 0 or not self.clip_norm > 0:
            raise InputError("optimiser: warmup_steps must be at least 0 and clip_norm positive")


@dataclass(frozen=True)
class FeedConfig:
    """How samples reach the model."""

    mode: Literal["auto", "memory", "stream"] = "auto"
    """"memory" reads the encoded samples once and draws every batch from them: no pause between epochs, and a resumed
    run sees the very same batches. "stream" reads the shards anew every epoch, for datasets larger than memory."""
    memory_gib: float = 2.0
    """"auto" keeps the training split in memory up to this size (encoded, GiB; once per machine)."""
    prefetch: int = 2
    """Batches decoded ahead of the step that uses them."""
    shuffle_rows: int = 256
    """Streamed rows are shuffled among this many, after the files (samples)."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A run's settings, apart from the model's own.

    Raises:
        InputError: a count that cannot train.
    """

    data: str
    """Dataset folder or URI, as `preprocess` writes it."""
    out: Path
    """The run's folder: on this machine, or on storage that all machines share."""
    steps: int = 20_000
    """Optimiser steps in all."""
    batch_size: int = 8
    """Samples per step, over all workers together."""
    num_workers: int = 1
    """Processes that train together, one GPU each where there are GPUs."""
    cpus_per_worker: float | None = None
    """Logical CPUs that Ray sets aside for one worker; by default an equal share of what Ray Data can spare."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; "auto" takes GPUs when the cluster has them."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network's body; bf16 pays on GPUs."""
    seed: int = 0
    """Decides the initial weights, the order of samples and every random draw."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    feed: FeedConfig = field(default_factory=FeedConfig)
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 1000
    """Steps between evaluations on held-out samples; there is always one at the end."""
    evaluate_samples: int = 16
    """Held-out samples per evaluation, spread evenly over the split."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; there is always one at the end."""
    keep_checkpoints: int = 3
    """Newest checkpoints kept."""
    max_failures: int = 0
    """How often a run restarts by itself from its newest checkpoint after a worker died."""
    init_from: Path | None = None
    """Start from the weights of this run or checkpoint; never its step or optimiser."""
    resume: bool = False
    """Continue the run in `out` exactly where its newest checkpoint left it."""
    wandb: Literal["auto", "offline", "disabled", "online"] = "auto"
    """Weights & Biases; "auto" is online where an API key is configured and disabled elsewhere."""

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "num_workers", "log_every", "evaluate_every", "evaluate_samples")
        for name in (*counts, "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise InputError(f"training: {name} is {getattr(self, name)}; it must be at least 1")
        if self.batch_size % self.num_workers:
            raise InputError(
                f"training: batch_size {self.batch_size} cannot be split evenly over {self.num_workers} workers; "
                f"use a multiple of {self.num_workers}"
            )
