"""The training loop that every worker runs, for every model: a table of contents of one run.

It knows neither Ray nor a particular model. What to train comes as a `Task` of a few plain functions, samples come as
an iterator, and lines and checkpoints leave through a `Reporter`; so the loop runs and is tested in one process.

A step's random draws depend on (seed, step, rank) alone. With the weights, the optimiser and the step number, that is
everything a resumed run needs to continue as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mouse_facelift.checkpoints import load_weights, read_state, write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from training.optimiser import apply_gradients, learning_rate, make_optimiser
from training.settings import TrainingConfig

MAX_REFUSED_STEPS = 25
"""Steps in a row without finite gradients after which a run is given up: it will not recover by itself."""

EARLY_LOGS = (1, 5)
"""Steps that are logged besides the regular ones, so that a person soon sees life and an expected time."""

Tensors = dict[str, Shaped[Tensor, "..."]]
Row = Mapping[str, Any]


class Task(Protocol):
    """What is trained. Instances travel to workers, so they hold configuration only."""

    @property
    def kind(self) -> str:
        """Name of the model in checkpoints."""
        ...

    @property
    def verdict(self) -> tuple[str, str]:
        """Two of `evaluate`'s names: the score that decides, and the baseline it must beat (more is better)."""
        ...

    def build_model(self) -> nn.Module:
        """A new model on the CPU; torch's global seed decides its weights."""
        ...

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        """What a person wants to know before the first step."""
        ...

    def collate(self, rows: Sequence[Row]) -> Tensors:
        """Decode sample rows into CPU tensors, as small as they can travel."""
        ...

    def loss(
        self, model: nn.Module, batch: Tensors, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss of a batch on the model's device, and detached scalars to log."""
        ...

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]]) -> list[dict[str, float]]:
        """Scores of each of the held-out rows, which come with their number in the held-out set."""
        ...


class Reporter(Protocol):
    """Where a run's news goes."""

    def log(self, entry: dict[str, Any]) -> None:
        """Take one line; called on rank 0."""
        ...

    def checkpoint(self, metrics: dict[str, float], write: Callable[[Path], None]) -> None:
        """Keep a checkpoint. Called on every rank together; `write` fills a folder and is used on rank 0."""
        ...


def _alone(items: list[Any]) -> list[Any]:
    return items


def _unwrapped(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class World:
    """This process among those that train together; the default is a single process."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    gather: Callable[[list[Any]], list[Any]] = _alone
    """All processes' lists, joined, on every process."""
    wrap: Callable[[nn.Module], nn.Module] = _unwrapped
    """Make a model's gradients those of the whole world (DDP)."""


@dataclass
class _Run:
    """The moving parts of a run."""

    task: Task
    config: TrainingConfig
    world: World
    reporter: Reporter
    held_out: Sequence[Row]
    model: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    refused: int = 0
    refused_in_a_row: int = 0
    window: list[dict[str, Tensor]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0


def train(
    task: Task,
    config: TrainingConfig,
    batches: Callable[[int], Iterator[Tensors]],
    held_out: Sequence[Row],
    reporter: Reporter,
    world: World | None = None,
    resume_from: Path | None = None,
) -> dict[str, float]:
    """Train from the start, from other weights, or from a checkpoint, to `config.steps`.

    Args:
        task: what to train.
        config: how.
        batches: called once with the first step's number; yields this rank's batches from that step on.
        held_out: all held-out rows; each rank evaluates its share.
        reporter: takes log lines and checkpoints.
        world: this process among the others.
        resume_from: a checkpoint with training state; goes before `config.init_from`.

    Returns:
        The scores of the last evaluation.

    Raises:
        InputError: a checkpoint that does not fit, or a run that diverges.
    """
    run = _start(task, config, held_out, reporter, world or World(), resume_from)
    feed = batches(run.step)
    wrapped = run.world.wrap(run.model)
    metrics: dict[str, float] = {}
    while run.step < config.steps:
        began = time.perf_counter()
        batch = {name: tensor.to(run.world.device, non_blocking=True) for name, tensor in next(feed).items()}
        run.waited += time.perf_counter() - began
        if run.step == 0:
            _log(run, "start", task.describe(run.model, batch) | {"steps": config.steps, "workers": run.world.size})
        norm = _step(run, wrapped, batch)
        run.seconds += time.perf_counter() - began
        last = run.step == config.steps
        if run.step in EARLY_LOGS or run.step % config.log_every == 0 or last:
            _log_training(run, norm)
        if run.step % config.evaluate_every == 0 or last:
            metrics = _evaluate(run)
        if run.step % config.checkpoint_every == 0 or last:
            _save(run, metrics)
    return metrics


def _start(
    task: Task,
    config: TrainingConfig,
    held_out: Sequence[Row],
    reporter: Reporter,
    world: World,
    resume_from: Path | None,
) -> _Run:
    torch.manual_seed(config.seed)
    model = task.build_model().to(world.device)
    optimiser = make_optimiser(model, config.optimiser)
    run = _Run(task, config, world, reporter, held_out, model, optimiser)
    if resume_from is not None:
        state = read_state(resume_from)
        load_weights(model, resume_from)
        optimiser.load_state_dict(state["optimiser"])
        run.step, run.refused = state["step"], state["refused"]
    elif config.init_from is not None:
        load_weights(model, config.init_from)
    return run


def _step(run: _Run, wrapped: nn.Module, batch: Tensors) -> float:
    """One optimiser step; returns the gradients' norm."""
    config, world = run.config, run.world
    generator = torch.Generator().manual_seed(step_seed(config.seed, run.step, world.rank))
    with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss, scalars = run.task.loss(wrapped, batch, generator)
    loss.backward()
    lr = learning_rate(run.step, config.steps, config.optimiser)
    norm, applied = apply_gradients(run.optimiser, run.model.parameters(), lr, config.optimiser.clip_norm)
    run.window.append(scalars)
    run.step += 1
    run.refused += not applied
    run.refused_in_a_row = 0 if applied else run.refused_in_a_row + 1
    if run.refused_in_a_row >= MAX_REFUSED_STEPS:
        raise InputError(
            f"training diverged: the gradients of {MAX_REFUSED_STEPS} steps up to step {run.step} were not finite; "
            "lower --optimiser.lr or resume from an earlier checkpoint"
        )
    return norm


def step_seed(seed: int, step: int, rank: int) -> int:
    """One number from three, far apart for neighbouring ones (63 bits, what a torch generator takes)."""
    mixed = 0
    for part in (seed, step, rank):
        # The multiplier and shift of the splitmix64 finaliser (Steele, Lea and Flood 2014).
        mixed = ((mixed ^ part) + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 % 2**64
        mixed ^= mixed >> 27
    return mixed >> 1


def _log(run: _Run, event: str, values: Mapping[str, Any]) -> None:
    if run.world.rank == 0:
        entry = {"event": event, "step": run.step, **values}
        # JSON has no nan: an undefined number is null.
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
        run.reporter.log(finite)


def _log_training(run: _Run, norm: float) -> None:
    """Means over the steps since the last line, as this rank saw them, and where the time went."""
    steps = len(run.window)
    means = {
        name: float(torch.stack([scalars[name].float() for scalars in run.window]).nanmean()) for name in run.window[0]
    }
    pace = {
        "lr": learning_rate(run.step - 1, run.config.steps, run.config.optimiser),
        "grad_norm": norm,
        "refused_steps": run.refused,
        "step_seconds": run.seconds / steps,
        "data_wait": run.waited / run.seconds,
        "samples_per_second": steps * run.config.batch_size / run.seconds,
    }
    _log(run, "train", means | pace)
    run.window, run.seconds, run.waited = [], 0.0, 0.0


def _evaluate(run: _Run) -> dict[str, float]:
    """Mean scores over the held-out set, each rank doing its share; empty when there is no held-out set."""
    began = time.perf_counter()
    mine = list(enumerate(run.held_out))[run.world.rank :: run.world.size]
    run.model.eval()
    with torch.no_grad():
        scores = run.world.gather(run.task.evaluate(run.model, mine))
    run.model.train()
    if not scores:
        return {}
    metrics = {name: float(torch.tensor([score[name] for score in scores]).double().nanmean()) for name in scores[0]}
    score, baseline = run.task.verdict
    facts = {
        "samples": len(scores),
        "seconds": time.perf_counter() - began,
        "beats_baseline": metrics[score] > metrics[baseline],
    }
    _log(run, "evaluate", metrics | facts)
    return metrics


def _save(run: _Run, metrics: Mapping[str, float]) -> None:
    def write(folder: Path) -> None:
        write_checkpoint(
            folder,
            kind=run.task.kind,
            weights=run.model.state_dict(),
            config=to_plain(run.config),
            metrics={"step": run.step, **metrics},
            state={
                "step": run.step,
                "refused": run.refused,
                "seed": run.config.seed,
                "optimiser": run.optimiser.state_dict(),
            },
        )

    run.reporter.checkpoint({"step": run.step, **metrics}, write)
    _log(run, "checkpoint", {})
