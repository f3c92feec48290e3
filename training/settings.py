"""What every training run has to be told, whichever model it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError
from mouse_facelift.finetuning import FinetuneConfig
from pipelines.placement import PlacementConfig


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with linear warm-up, then a half cosine down to zero or no change (FaceLift's values for GS-LRM).

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
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does after the warm-up: fall to zero along half a cosine, or stay (with an average of the
    weights, which then settles them)."""

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
    """Samples per step, over all workers and passes together: the gradient is that of their mean loss, exactly."""
    micro_batch: int = 0
    """Samples that go through the model at once on one worker; 0 is a worker's whole share. Smaller needs less memory.
    Runs with the same micro_batch draw the same views and colours, however many workers they have."""
    num_workers: int = 1
    """Processes that train together, one GPU each where there are GPUs."""
    min_workers: int = 0
    """When above 0, the run starts with this many workers at least, and takes on or gives up some as machines come and
    go, from the newest checkpoint; num_workers is then the most. Give it a max_failures, too."""
    cpus_per_worker: float | None = None
    """Logical CPUs that Ray sets aside for one worker; by default an equal share of what Ray Data can spare."""
    threads: int = 0
    """Threads that a worker computes with on CPUs; 0 shares its machine's cores among the workers there. The last
    digits of sums depend on it, so a run is repeated bit for bit with the same number only."""
    gpus_per_worker: float = 1.0
    """GPUs that Ray sets aside for one worker where it trains on GPUs; below 1, several trainings share one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; "auto" takes GPUs when the cluster has them."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network's body; bf16 pays on GPUs."""
    seed: int = 0
    """Decides the initial weights, the order of samples and every random draw."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    ema_decay: float = 0.0
    """When above 0, the weights that are evaluated and handed on are an exponential moving average of the trained ones
    with this decay per step (0.999 is usual)."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    feed: FeedConfig = field(default_factory=FeedConfig)
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 1000
    """Steps between evaluations on held-out samples; there is always one at the end."""
    evaluate_samples: int = 16
    """Held-out samples per evaluation, spread evenly over the split."""
    panels_every: int = 1000
    """Steps between pictures of held-out samples, in RUN/panels; there are always some at the end."""
    panel_samples: int = 3
    """Held-out samples shown."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; there is always one at the end."""
    keep_checkpoints: int = 3
    """Newest checkpoints kept."""
    checkpoint_upload: Literal["sync", "async"] = "sync"
    """"async" lets training go on while a checkpoint is copied to the run's folder: worth it where that is far away.
    A crash within seconds of such a checkpoint falls back to the one before; the last one is always "sync"."""
    max_failures: int = 0
    """How often a run restarts by itself from its newest checkpoint after a worker died."""
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    init_from: Path | None = None
    """Start from the weights of this run or checkpoint; never its step or optimiser."""
    resume: bool = False
    """Continue the run in `out` exactly where its newest checkpoint left it."""
    overfit: int = 0
    """When above 0: the sanity test to pass before any long run. Trains on this many samples of the training split,
    judges the very same ones on views held out from the input, and says PASS or FAIL."""
    overfit_steps: int = 2000
    """Steps of that test."""
    overfit_bar: float = 30.0
    """What the score that decides must exceed to pass (dB for PSNR)."""
    wandb: Literal["auto", "offline", "disabled", "online"] = "auto"
    """Weights & Biases; "auto" is online where an API key is configured and disabled elsewhere."""

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "num_workers", "log_every", "evaluate_every", "evaluate_samples")
        for name in (*counts, "panels_every", "panel_samples", "checkpoint_every", "keep_checkpoints", "overfit_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"training: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("micro_batch", "min_workers", "threads", "max_failures", "overfit"):
            if getattr(self, name) < 0:
                raise InputError(f"training: {name} is {getattr(self, name)}; it must be at least 0")
        if not 0 < self.gpus_per_worker <= 1:
            raise InputError(
                f"training: gpus_per_worker is {self.gpus_per_worker}; a worker uses one GPU, or a part of one"
            )
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"training: ema_decay is {self.ema_decay}; it must be at least 0 and below 1")
        if self.min_workers > self.num_workers:
            raise InputError(
                f"training: min_workers {self.min_workers} exceeds num_workers {self.num_workers}, which is the most"
            )
        if self.batch_size < self.num_workers:
            raise InputError(
                f"training: a batch_size of {self.batch_size} leaves some of {self.num_workers} workers without a "
                "sample; use a larger batch or fewer workers"
            )
