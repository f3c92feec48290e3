"""Everything a search decides before its first trial, and what it then tells every trial."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ray

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.trials import Objective, Value
from mouse_facelift.plain import did_you_mean
from mouse_facelift.storage import is_uri
from pipelines.session import connect
from training.dataset import Split
from training.launch import choose_feed
from training.settings import TrainingConfig
from tune.catalogue import SPACES
from tune.objective import parse_objectives
from tune.recipes import Prepared, Recipe, recipe
from tune.resources import TrialResources, plan_trials
from tune.settings import TuneConfig
from tune.spaces import Overrides, Space, apply, default_value, read_space

DEFAULT_OBJECTIVE = "psnr_foreground"
TRIALS_FOLDER = "trials"


@dataclass(frozen=True)
class Orders:
    """What every trial of a search is told; travels to other machines, so it holds settings only."""

    kind: Literal["gslrm", "mvdiffusion"]
    base: TrainingConfig
    folder: Path
    """The search's."""
    max_samples: int
    grace_samples: int
    inputs: tuple[int, ...]
    """Numbers of input views that scores are means over; empty where the training's own evaluation judges."""
    most_inputs: int
    """Finished models are shown 1 to this many views; 0 for not."""
    by_views: bool
    """Show them so in every trial, not only in finals."""
    resources: TrialResources
    in_process: bool
    """Trials train in their own process rather than through Ray Train."""
    hands_over: bool
    """Trials give their checkpoints to Ray Tune, for others to copy (population-based training)."""
    max_failures: int

    def trial_config(self, trial_id: str, overrides: Overrides, seed: int) -> TrainingConfig:
        """A trial's complete training settings.

        Raises:
            InputError: values that contradict each other.
        """
        config = apply(self.base, overrides)
        steps = max(1, round(self.max_samples / config.batch_size))
        every = min(steps, max(1, round(self.grace_samples / config.batch_size)))
        return dataclasses.replace(
            config,
            out=self.folder / TRIALS_FOLDER / trial_id,
            seed=seed,
            steps=steps,
            evaluate_every=every,
            checkpoint_every=every,
            panels_every=steps,
            # Lines at the evaluated steps too: they carry the training time.
            log_every=max(d for d in range(1, min(config.log_every, every) + 1) if every % d == 0),
            keep_checkpoints=1,
            num_workers=self.resources.workers,
            cpus_per_worker=self.resources.cpus_per_worker,
            # No more than it was given: other trials run beside it.
            threads=max(1, int(self.resources.cpus_per_worker)),
            gpus_per_worker=self.resources.gpus_per_worker or 1.0,
            device="cuda" if self.resources.gpus_per_worker else "cpu",
            max_failures=self.max_failures,
            wandb="disabled",
        )


@dataclass(frozen=True)
class Plan:
    """A search that can be run."""

    settings: TuneConfig
    space_name: str
    space: Space
    objectives: tuple[Objective, ...]
    scheduler: Literal["asha", "none", "pbt"]
    search: Literal["tpe", "random", "grid"]
    trials: int
    """Of the search, the default among them."""
    grid: tuple[Overrides, ...]
    """Points after the default; empty unless it is a grid."""
    orders: Orders
    train_split: Split
    held_out: Split
    columns: tuple[str, ...] | None
    held_out_ids: tuple[str, ...]

    @property
    def finals(self) -> int:
        """Repetitions at the end, at most."""
        return (self.settings.finalists + 1) * self.settings.final_seeds if self.settings.finalists else 0

    @property
    def rungs(self) -> tuple[int, ...]:
        """Samples seen at which trials are compared; none so late that stopping would save less than a grace."""
        if self.scheduler != "asha":
            return ()
        orders, factor = self.orders, self.settings.reduction
        count = int(math.log(orders.max_samples / orders.grace_samples, factor) + 1e-9) + 1
        rungs = (orders.grace_samples * factor**k for k in range(count))
        return tuple(rung for rung in rungs if rung + orders.grace_samples <= orders.max_samples)

    def default_overrides(self) -> Overrides:
        """The preset's own values of the settings that apply to it."""
        chosen: dict[str, Value] = {}
        for path in self.space.axes:
            value = default_value(self.orders.base, path)
            if self.space.active(path, chosen):
                chosen[path] = value
        return chosen


def make_plan(settings: TuneConfig) -> Plan:
    """Check everything that a search needs, and join Ray.

    Raises:
        InputError: anything about the space, the settings, the dataset or the cluster that cannot work.
    """
    settings = dataclasses.replace(
        settings,
        data=settings.data if is_uri(settings.data) else str(Path(settings.data).absolute()),
        out=settings.out.absolute(),
        base=None if settings.base is None else settings.base.absolute(),
    )
    name, space = _space(settings.space)
    made = recipe(space.kind)
    base = made.base(settings.preset, settings.base, settings.data, settings.out)
    base = dataclasses.replace(base, num_workers=settings.workers_per_trial, min_workers=0, overfit=0)
    if settings.evaluate_samples:
        base = dataclasses.replace(base, evaluate_samples=settings.evaluate_samples)
    space = space.applicable(base)
    space.check(base, name)
    search = space.search if settings.search == "auto" else settings.search
    scheduler = space.scheduler if settings.scheduler == "auto" else settings.scheduler
    objectives = parse_objectives(settings.objectives or (DEFAULT_OBJECTIVE,))
    if scheduler == "pbt":
        _check_population(space, name)
    train_split, held_out = Split.find(settings.data, "train"), Split.find(settings.data, "val")
    task, learned_from = made.prepare(base)
    split = learned_from or train_split
    task.check_sample(split.first_row())
    _check_samples(made, space, base, train_split, name)
    stream = choose_feed(base, split) == "stream"
    grid = _grid(space, base) if search == "grid" else ()
    trials = settings.trials or (1 + len(grid) if search == "grid" else space.trials)
    trials = min(trials, 1 + len(grid)) if search == "grid" else trials
    resources = _resources(settings, stream, max(trials, (settings.finalists + 1) * settings.final_seeds))
    orders = _orders(settings, space, base, train_split, resources, stream, scheduler)
    return Plan(
        settings=settings,
        space_name=name,
        space=space,
        objectives=objectives,
        scheduler=scheduler,
        search=search,
        trials=trials,
        grid=grid[: trials - 1],
        orders=orders,
        train_split=split,
        held_out=held_out,
        columns=task.columns,
        held_out_ids=tuple(held_out.spread_ids(base.evaluate_samples)),
    )


def _space(name: str) -> tuple[str, Space]:
    """A named space, or one from a file."""
    if name in SPACES:
        return name, SPACES[name]
    if name.endswith((".yaml", ".yml")) or Path(name).exists():
        return name, read_space(Path(name).absolute())
    raise InputError(f"--space {name}: no such space{did_you_mean(name, SPACES)}; or give a YAML file")


def _grid(space: Space, base: TrainingConfig) -> tuple[Overrides, ...]:
    """The grid's points that are not the default."""
    points = [point for point in space.grid() if apply(base, point) != base]
    return tuple(points)


def _check_population(space: Space, name: str) -> None:
    """Population-based training changes settings of models that exist, so only those of the loss and the optimiser."""
    for path, axis in space.axes.items():
        if not path.startswith(("losses.", "optimiser.")) or axis.when:
            raise InputError(
                f"{name}: --scheduler pbt changes '{path}' while a model is trained, which cannot be; it takes "
                "settings under losses and optimiser without conditions"
            )


def _check_samples(made: Recipe, space: Space, base: TrainingConfig, split: Split, name: str) -> None:
    """Every value at an end must fit the dataset's samples, such as a number of input views."""
    if space.kind != "gslrm":
        return
    row = split.first_row()
    for path, overrides in space.probes():
        if not path.startswith(("views.", "model.")):
            continue
        try:
            task, _ = made.prepare(apply(base, overrides, name))
            task.check_sample(row)
        except InputError as error:
            raise InputError(f"{name}: '{path}' = {overrides[path]}: {error}") from error


def _resources(settings: TuneConfig, stream: bool, most: int) -> TrialResources:
    connect()
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(machine.get("GPU", 0.0) for machine in machines)
    if settings.device == "cuda" and not gpus:
        raise InputError("--device cuda: Ray's machines have no GPU; use --device cpu")
    return plan_trials(
        machines,
        workers=settings.workers_per_trial,
        cpus_per_worker=settings.cpus_per_worker,
        gpus_per_worker=settings.gpus_per_worker,
        use_gpu=settings.device == "cuda" or (settings.device == "auto" and gpus > 0),
        stream=stream,
        most=min(most, settings.side_by_side or most),
    )


def _orders(
    settings: TuneConfig,
    space: Space,
    base: TrainingConfig,
    split: Split,
    resources: TrialResources,
    stream: bool,
    scheduler: str,
) -> Orders:
    batch = base.batch_size
    most = settings.max_samples or max(1, round(base.steps * space.share)) * batch
    # Rounded up, so that the fourth evaluation is the last one.
    grace = settings.grace_samples or math.ceil(most / 4 / batch) * batch
    if grace > most:
        raise InputError(f"--grace-samples {grace} exceeds --max-samples {most}; trials would never be compared")
    views = 0
    if space.kind == "gslrm":
        hold_out = base.views.hold_out  # type: ignore[attr-defined]
        cameras = split.first_row()["camera"]
        views = len(cameras) - (len(hold_out) or 1)
    # As training itself evaluates: all views but the one held out.
    inputs = () if not views else tuple(range(1, views + 1)) if space.by_views else (views,)
    return Orders(
        kind=space.kind,
        base=base,
        folder=settings.out,
        max_samples=most,
        grace_samples=grace,
        inputs=inputs,
        most_inputs=views,
        by_views=space.by_views,
        resources=resources,
        in_process=resources.workers == 1 and not stream,
        hands_over=scheduler == "pbt",
        max_failures=settings.max_failures,
    )


def prepared(orders: Orders, config: TrainingConfig) -> Prepared:
    """The task of a trial's settings, judged as all are."""
    from tune.judge import JudgedTask, ViewJudge

    made = recipe(orders.kind)
    task, learned_from = made.prepare(config)
    if orders.inputs:
        return JudgedTask(task, ViewJudge(orders.base, orders.inputs)), learned_from  # type: ignore[arg-type]
    judge, _ = made.prepare(orders.base)
    return JudgedTask(task, judge), learned_from
