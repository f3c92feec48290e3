"""The training loop that every worker runs, for every model: a table of contents of one run.

It knows neither Ray nor a particular model. What to train comes as a `Task` of a few plain functions, samples come as
an iterator, and lines, pictures and checkpoints leave through a `Reporter`; so the loop runs and is tested in one
process.

What is drawn for a pass depends on (seed, step, position of its first sample in the global batch) alone. With the
weights, their average, the optimiser and the step number, that is everything a resumed run needs to continue as if it
had never stopped, and why workers can come and go: passes of the same size draw the same, whoever computes them.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mouse_facelift.checkpoints import load_weights, read_state, write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.finetuning import learning_rate_scales, load_lora_state, lora_state, merged_state_dict, prepare
from training.accumulation import gradient_share, pooled, share_of, split_into_passes, without_exchange
from training.ema import Average
from training.optimiser import apply_gradients, learning_rate, make_optimiser
from training.settings import TrainingConfig
from training.task import Moment, Reporter, Row, Task, Tensors, World

MAX_REFUSED_STEPS = 25
"""Steps in a row without finite gradients after which a run is given up: it will not recover by itself."""

EARLY_LOGS = (1, 5)
"""Steps that are logged besides the regular ones, so that a person soon sees life and an expected time."""


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
    average: Average | None
    companions: Any
    step: int = 0
    refused: int = 0
    refused_in_a_row: int = 0
    window: list[dict[str, Tensor]] = field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0

    def best_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are evaluated and handed on."""
        return contextlib.nullcontext() if self.average is None else self.average.shown(self.model)


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
        batches: called once with the first step's number; yields this rank's share of the batches from that step on.
        held_out: all held-out rows; each rank evaluates its share.
        reporter: takes log lines, pictures and checkpoints.
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
        batch = next(feed)
        run.waited += time.perf_counter() - began
        if run.step == 0:
            _log_start(run, batch)
        norm = _step(run, wrapped, batch)
        run.seconds += time.perf_counter() - began
        last = run.step == config.steps
        if run.step in EARLY_LOGS or run.step % config.log_every == 0 or last:
            _log_training(run, norm)
        if run.step % config.evaluate_every == 0 or last:
            metrics = _evaluate(run)
        if run.step % config.panels_every == 0 or last:
            _show_panels(run)
        if run.step % config.checkpoint_every == 0 or last:
            _save(run, metrics, last)
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
    model = task.build_model()
    start = resume_from or config.init_from
    if start is not None:
        load_weights(model, start)
    prepare(model, config.finetune)
    model = model.to(world.device)
    optimiser = make_optimiser(model, config.optimiser, learning_rate_scales(model, config.finetune))
    average = Average(model) if config.ema_decay else None
    companions = task.companions(world.device)
    run = _Run(task, config, world, reporter, held_out, model, optimiser, average, companions)
    if resume_from is not None:
        _restore(run, read_state(resume_from))
    return run


def _restore(run: _Run, state: Mapping[str, Any]) -> None:
    """Everything that the weights handed on do not say."""
    load_lora_state(run.model, state["lora"])
    if run.average is not None:
        # The checkpoint's weights are the average; the run's own go on from where they were.
        run.average.load(state["average"])
        run.model.load_state_dict(state["weights"], strict=False)
    run.optimiser.load_state_dict(state["optimiser"])
    run.step, run.refused = state["step"], state["refused"]
    # Absent from older checkpoints.
    run.refused_in_a_row = state.get("refused_in_a_row", 0)


def _step(run: _Run, wrapped: nn.Module, batch: Tensors) -> float:
    """One optimiser step on this rank's share of a global batch; returns the gradients' norm."""
    config, world = run.config, run.world
    share = share_of(config.batch_size, world.rank, world.size)
    passes = split_into_passes(batch, share.first, config.micro_batch)
    seen = []
    for number, part in enumerate(passes, start=1):
        tensors = {name: tensor.to(world.device, non_blocking=True) for name, tensor in part.batch.items()}
        generator = torch.Generator().manual_seed(step_seed(config.seed, run.step, part.first))
        with contextlib.nullcontext() if number == len(passes) else without_exchange(wrapped):
            with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                loss, scalars = run.task.loss(wrapped, tensors, Moment(run.step, generator, run.companions))
            (loss * gradient_share(part.samples, config.batch_size, world.size)).backward()
        seen.append(scalars)
    run.window.append(pooled(seen, [part.samples for part in passes]))
    lr = learning_rate(run.step, config.steps, config.optimiser)
    norm, applied = apply_gradients(run.optimiser, run.model.parameters(), lr, config.optimiser.clip_norm)
    if applied and run.average is not None:
        run.average.update(run.model, run.step - run.refused, config.ema_decay)
    run.step += 1
    run.refused += not applied
    run.refused_in_a_row = 0 if applied else run.refused_in_a_row + 1
    if run.refused_in_a_row >= MAX_REFUSED_STEPS:
        raise InputError(
            f"training diverged: the gradients of {MAX_REFUSED_STEPS} steps up to step {run.step} were not finite; "
            "lower --optimiser.lr or resume from an earlier checkpoint"
        )
    return norm


def step_seed(seed: int, step: int, position: int) -> int:
    """One number from three, far apart for neighbouring ones (63 bits, what a torch generator takes)."""
    mixed = 0
    for part in (seed, step, position):
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


def _log_start(run: _Run, batch: Tensors) -> None:
    at_once = split_into_passes(batch, 0, run.config.micro_batch)[0]
    trained = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    facts = {"trained_parameters": trained, "steps": run.config.steps, "workers": run.world.size}
    facts |= {"samples_per_pass": at_once.samples}
    _log(run, "start", run.task.describe(run.model, at_once.batch) | facts)


def _log_training(run: _Run, norm: float) -> None:
    """Means over the steps since the last line, as this rank saw them, and where the time went."""
    steps = len(run.window)
    means = {name: float(torch.stack([scalars[name] for scalars in run.window]).nanmean()) for name in run.window[0]}
    pace = {
        "lr": learning_rate(run.step - 1, run.config.steps, run.config.optimiser),
        "grad_norm": norm,
        "refused_steps": run.refused,
        "step_seconds": run.seconds / steps,
        "data_wait": run.waited / run.seconds,
        "samples_per_second": steps * run.config.batch_size / run.seconds,
    }
    if run.world.device.type == "cuda":
        pace["gpu_memory_gib"] = torch.cuda.max_memory_allocated(run.world.device) / 2**30
    _log(run, "train", means | pace)
    run.window, run.seconds, run.waited = [], 0.0, 0.0


def _evaluate(run: _Run) -> dict[str, float]:
    """Mean scores over the held-out set, each rank doing its share; empty when there is no held-out set."""
    began = time.perf_counter()
    mine = list(enumerate(run.held_out))[run.world.rank :: run.world.size]
    with _looking(run):
        scores = run.world.gather(run.task.evaluate(run.model, mine, run.companions))
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


def _show_panels(run: _Run) -> None:
    rows = list(enumerate(run.held_out))[: run.config.panel_samples]
    if run.world.rank != 0 or not rows:
        return
    with _looking(run):
        images = run.task.panels(run.model, rows, run.companions)
    _log(run, "panels", {"files": run.reporter.panels(run.step, images)})


@contextlib.contextmanager
def _looking(run: _Run) -> Iterator[None]:
    """The model as others will use it: the weights that are handed on, no gradients, evaluation mode."""
    run.model.eval()
    with torch.no_grad(), run.best_weights():
        yield
    run.model.train()


def _save(run: _Run, metrics: Mapping[str, float], last: bool) -> None:
    state: dict[str, Any] = {
        "step": run.step,
        "refused": run.refused,
        "refused_in_a_row": run.refused_in_a_row,
        "seed": run.config.seed,
        "optimiser": run.optimiser.state_dict(),
        "lora": lora_state(run.model),
    }
    if run.average is not None:
        own = {name: p.detach() for name, p in run.model.named_parameters() if p.requires_grad}
        state |= {"weights": own, "average": run.average.state()}

    def write(folder: Path) -> None:
        with run.best_weights():
            write_checkpoint(
                folder,
                kind=run.task.kind,
                weights=merged_state_dict(run.model),
                config=to_plain(run.config),
                metrics={"step": run.step, **metrics},
                state=state,
            )

    began = time.perf_counter()
    run.reporter.checkpoint({"step": run.step, **metrics}, write, last)
    _log(run, "checkpoint", {"seconds": time.perf_counter() - began})
