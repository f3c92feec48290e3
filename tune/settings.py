"""What a search has to be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """A search over training settings. The same command goes on where a search was interrupted.

    Raises:
        InputError: a count that cannot be searched with.
    """

    data: str
    """Dataset folder or URI, as `preprocess` writes it."""
    out: Path
    """The search's folder: on this machine, or on storage that all machines share."""
    space: str = "loss-weights"
    """A named space (loss-weights, views, gslrm, mvdiffusion) or a YAML file of one's own."""
    preset: str = "demo"
    """Training settings that the search starts from, the first trial: a preset of the space's training verb."""
    base: Path | None = None
    """A training run's config.yaml to start from instead of a preset."""
    trials: int = 0
    """Trials, the default among them; 0 takes the space's own number, and for a grid all of its points."""
    max_samples: int = 0
    """Samples a trial sees (steps x batch) unless it is stopped early; 0 takes the space's share of what
    the preset trains for, half of it for most."""
    grace_samples: int = 0
    """Samples before a trial may be stopped, and between evaluations; 0 takes a quarter of max_samples."""
    reduction: int = 2
    """At every rung one in so many trials goes on, and rungs lie so many times further apart."""
    scheduler: Literal["auto", "asha", "none", "pbt"] = "auto"
    """Early stopping: asha (asynchronous successive halving), none, or population-based training, whose trials copy
    each other and change settings on the way; "auto" is the space's own."""
    search: Literal["auto", "tpe", "random", "grid"] = "auto"
    """How values are chosen; "auto" is the space's own."""
    objectives: tuple[str, ...] = ()
    """What decides, the first one ranking: scores on held-out views (psnr_foreground, mask_iou ...), sums of them
    ("psnr_foreground + 10 * mask_iou"), costs (seconds_train, memory_mib). By default psnr_foreground."""
    evaluate_samples: int = 0
    """Held-out samples that every trial is judged on; 0 takes the preset's number."""
    finalists: int = 1
    """Best configurations that are repeated with other seeds, beside the default; 0 repeats nothing."""
    final_seeds: int = 3
    """Repetitions of each."""
    workers_per_trial: int = 1
    """Processes that train one trial together. One needs no process group: such trials start in a second."""
    cpus_per_worker: float | None = None
    """Logical CPUs of one worker; 1 by default."""
    gpus_per_worker: float = 1.0
    """GPUs of one worker where there are GPUs; below 1, trials share one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; "auto" takes GPUs when the cluster has them."""
    side_by_side: int = 0
    """Trials at a time, at most; 0 takes as many as fit."""
    max_failures: int = 2
    """How often a trial whose process was lost (a machine, its memory) goes on from its newest checkpoint."""
    keep: Literal["finalists", "all"] = "finalists"
    """Whose models stay on disk; the best trials' and the default's always do."""
    seed: int = 0
    """Decides what is suggested; every trial of the search trains with this seed, so that settings alone differ."""
    wandb: Literal["auto", "offline", "disabled", "online"] = "auto"
    """Weights & Biases: one run per trial in a group per search; "auto" is online where an API key is configured."""

    def __post_init__(self) -> None:
        for name in ("trials", "max_samples", "grace_samples", "evaluate_samples", "finalists", "side_by_side"):
            if getattr(self, name) < 0:
                raise InputError(f"search: {name} is {getattr(self, name)}; it must be at least 0")
        for name in ("final_seeds", "workers_per_trial"):
            if getattr(self, name) < 1:
                raise InputError(f"search: {name} is {getattr(self, name)}; it must be at least 1")
        if self.max_failures < 0:
            raise InputError(f"search: max_failures is {self.max_failures}; it must be at least 0")
        if self.reduction < 2:
            raise InputError(f"search: reduction is {self.reduction}; it must be at least 2")
        if self.cpus_per_worker is not None and not self.cpus_per_worker > 0:
            raise InputError(f"search: cpus_per_worker is {self.cpus_per_worker}; it must be positive")
        if not 0 < self.gpus_per_worker <= 1:
            raise InputError(f"search: gpus_per_worker is {self.gpus_per_worker}; use one GPU, or a part of one")
        if self.scheduler == "pbt" and self.workers_per_trial > 1:
            raise InputError(
                "search: --scheduler pbt hands models from trial to trial inside one process each; "
                "use --workers-per-trial 1, or --scheduler asha"
            )


FREE_ON_RESUME = frozenset({"side_by_side", "cpus_per_worker", "gpus_per_worker", "device", "max_failures", "wandb"})
"""Settings that may differ when a search goes on; all others decide what its trials are."""
