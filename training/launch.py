"""Start a training run: check that it can run, hand it to Ray Train, show it, and leave its model where others look.

RUN/config.yaml, run.json   what was asked for, and with which versions
RUN/metrics.jsonl           one line per event
RUN/report.html, panels/    curves and pictures of it, kept up while it runs
RUN/checkpoint/             the finished model
RUN/ray/                    Ray Train's checkpoints, for --resume
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import ray
import ray.data
from ray.data import ExecutionOptions
from ray.data.dataset import MaterializedDataset
from ray.train import CheckpointConfig, DataConfig, FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from mouse_facelift.checkpoints import export_checkpoint, find_checkpoint
from mouse_facelift.config import CONFIG_FILE, read_yaml, to_plain, write_run_record
from mouse_facelift.errors import InputError
from mouse_facelift.plain import from_plain
from mouse_facelift.storage import Store
from pipelines.placement import PlacementConfig, resources_of, selector
from pipelines.session import connect
from pipelines.telemetry import exposed_wait, keep_account
from training.dataset import Split, read_split
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.overfit import as_overfit_test
from training.progress import shown
from training.refusals import RefusalsAreFinal, input_error_of
from training.settings import TrainingConfig
from training.task import Row, Task
from training.worker import Assignment, work

RAY_FOLDER = "ray"
DATA_CPUS = PlacementConfig.spare_cpus
"""CPUs that Ray Data needs beside the workers, unless told otherwise."""
SMALLEST_SHARE = 0.05
CONTROLLER_RETRIES = 3
"""Ray Train's own default is to retry a start that cannot succeed for ever."""
FREE_ON_RESUME = frozenset(
    {
        *(
            "data",
            "out",
            "num_workers",
            "min_workers",
            "cpus_per_worker",
            "gpus_per_worker",
            "device",
            "resume",
            "init_from",
            "wandb",
        ),
        *("log_every", "evaluate_every", "evaluate_samples", "checkpoint_every", "keep_checkpoints", "overfit_bar"),
        *("panels_every", "panel_samples", "checkpoint_upload", "max_failures", "micro_batch", "placement"),
    }
)
"""Settings that a resumed run may change; all others decide what is learned."""


class LaunchedTask(Task, Protocol):
    """A task as the launcher needs it: it also knows its columns and what samples it can learn from."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the dataset that `collate` reads, `sample_id` among them."""
        ...

    def check_sample(self, row: Row) -> None:
        """Raise `InputError` if the model cannot be trained on samples like this one."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """A finished run."""

    checkpoint: Path
    """Folder of the trained model."""
    metrics: dict[str, float]
    """Held-out scores of the trained model."""
    steps: int
    seconds: float
    """Wall time of this launch."""


@dataclass(frozen=True)
class Resources:
    """What Ray is asked for."""

    cpus_per_worker: float
    use_gpu: bool
    gpus_per_worker: float = 1.0

    def per_worker(self) -> dict[str, float]:
        """One worker's part, in Ray's names."""
        return {"CPU": self.cpus_per_worker} | ({"GPU": self.gpus_per_worker} if self.use_gpu else {})


def launch(
    task: LaunchedTask,
    config: TrainingConfig,
    verb: str,
    learned_from: Split | None = None,
    watched: Callable[[TrainingConfig, tuple[str, str]], AbstractContextManager[None]] = shown,
) -> TrainingResult:
    """Run a training from preflight to the exported model.

    Args:
        task: what to train.
        config: how.
        verb: as typed, for the run's record.
        learned_from: the training samples where they are not the dataset's own rows, such as what frozen networks
            made of them; they have the same ids.
        watched: shows the run while it lasts, by its metrics log; told the settings and the deciding scores' names.

    Raises:
        InputError: anything in the configuration, the dataset or the cluster that cannot work, before work starts;
            or a run that diverged.
    """
    began = time.monotonic()
    # Ray changes the workers' current folder.
    config = dataclasses.replace(
        as_overfit_test(config),
        data=config.data if "://" in config.data else str(Path(config.data).absolute()),
        out=config.out.absolute(),
        init_from=None if config.init_from is None else find_checkpoint(config.init_from.absolute()),
    )
    check_run_folder(config)
    train_split = learned_from or Split.find(config.data, "train")
    held_out = Split.find(config.data, "train" if config.overfit else "val")
    if train_split.rows < config.overfit:
        raise InputError(
            f"{config.data}: split=train has {train_split.rows} samples, fewer than --overfit {config.overfit}"
        )
    task.check_sample(train_split.first_row())
    feed = choose_feed(config, train_split)
    connect(config.placement)
    decode_on, train_on = selector(config.placement, "decode"), selector(config.placement, "train")
    resources = plan_resources(config, feed, resources_of(train_on), apart=bool(decode_on))
    config.out.mkdir(parents=True, exist_ok=True)
    if not config.resume:
        write_run_record(config.out, verb, config)
    datasets = _datasets(task, config, feed, train_split, held_out)
    trainer = TorchTrainer(
        work,
        train_loop_config={"assignment": Assignment(task, config, feed, held_out.rows > 0)},
        torch_config=TorchConfig(backend="nccl" if resources.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(config.min_workers, config.num_workers) if config.min_workers else config.num_workers,
            use_gpu=resources.use_gpu,
            resources_per_worker=resources.per_worker(),
            label_selector=train_on or None,
        ),
        run_config=RunConfig(
            name=RAY_FOLDER,
            storage_path=str(config.out),
            failure_config=FailureConfig(max_failures=config.max_failures, controller_failure_limit=CONTROLLER_RETRIES),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
            callbacks=[RefusalsAreFinal()],
        ),
        datasets=datasets,
        # In memory every worker sees all rows and takes its share of each batch; only a stream is split.
        dataset_config=DataConfig(
            datasets_to_split=["train"] if feed == "stream" else [],
            # Ray Train would take over all of this process's options but the machines.
            execution_options=ExecutionOptions(label_selector=decode_on or None),
        ),
    )
    with watched(config, task.verdict):
        result = _fit(trainer)
    _keep_accounts(config, datasets)
    if result.checkpoint is None:
        raise RuntimeError(f"{config.out}: the run ended without a checkpoint")
    with result.checkpoint.as_directory() as folder:
        exported = export_checkpoint(Path(folder), config.out)
    metrics = {name: float(value) for name, value in (result.metrics or {}).items() if name != "step"}
    return TrainingResult(exported, metrics, config.steps, time.monotonic() - began)


def check_run_folder(config: TrainingConfig) -> None:
    """Refuse to mix runs: a new run needs a new folder, a resumed one the folder of the same run.

    Raises:
        InputError: a folder that holds a run (without `resume`), none to resume, or settings that differ from its own.
    """
    file = config.out / CONFIG_FILE
    if not config.resume:
        if file.exists() or (config.out / RAY_FOLDER).exists():
            raise InputError(
                f"{config.out} already holds a training run; continue it with --resume or choose another --out"
            )
        return
    if not file.exists():
        raise InputError(f"{config.out}: there is no run to resume ({CONFIG_FILE} is missing); start without --resume")
    stored = to_plain(from_plain(type(config), read_yaml(file), source=str(file)))
    for key, value in to_plain(config).items():
        if key not in FREE_ON_RESUME and stored[key] != value:
            raise InputError(
                f"{file}: the run was started with another '{key}' than is given now; "
                f"resume it with --config {file} --resume, or start a new run with --init-from"
            )


def choose_feed(config: TrainingConfig, split: Split) -> Literal["memory", "stream"]:
    """Keep the training split in memory where it fits.

    Raises:
        InputError: a stream without a full batch for every worker, or one that cannot be split evenly.
    """
    small = config.overfit > 0 or split.bytes <= config.feed.memory_gib * 2**30
    if config.feed.mode != "stream" and (config.feed.mode == "memory" or small):
        return "memory"
    for workers in range(config.min_workers or config.num_workers, config.num_workers + 1):
        if config.batch_size % workers:
            # Ray Data splits a stream evenly: workers with unequal shares would wait for each other at different steps.
            raise InputError(
                f"training: a streamed batch of {config.batch_size} cannot be split evenly over {workers} workers; "
                f"use a multiple of {workers}, or --feed.mode memory"
            )
    if split.rows < config.batch_size:
        raise InputError(
            f"{config.data}: split=train has {split.rows} samples, a streamed batch needs {config.batch_size}; "
            "use --feed.mode memory or a smaller --batch-size"
        )
    return "stream"


def plan_resources(config: TrainingConfig, feed: str, cluster: Mapping[str, float], apart: bool = False) -> Resources:
    """What each worker gets, so that Ray Data can still run.

    Workers that hold every CPU leave none to Ray Data's tasks, and Ray then waits for ever without an error. Samples
    kept in memory are read before the workers start and need no task afterwards.

    Args:
        config: workers, and what was asked for each. An elastic run must fit with its fewest workers; more join as
            the cluster has room.
        feed: "memory" or "stream".
        cluster: what the machines that may train offer together, by kind of resource.
        apart: Ray Data has machines of its own.

    Raises:
        InputError: the cluster cannot hold the workers and Ray Data; the message shows the sum.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    fewest, most = config.min_workers or config.num_workers, config.num_workers
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus > 0)
    if use_gpu and gpus < fewest * config.gpus_per_worker:
        fitting = max(int(gpus / config.gpus_per_worker), 1)
        raise InputError(
            f"{fewest} workers need {fewest * config.gpus_per_worker:g} GPUs, Ray has {gpus:g}; "
            f"use --num-workers {fitting}"
        )
    spare_cpus = 0.0 if apart else config.placement.spare_cpus
    reserved = spare_cpus if feed == "stream" else 0.0
    share = config.cpus_per_worker
    if share is None:
        # A whole CPU at most: more would be bookkeeping only, and keep other jobs out.
        spare = max(cpus - max(reserved, spare_cpus if cpus > spare_cpus else 0.0), 0.0)
        share = min(1.0, int(spare / most * 100) / 100)
    # Ray starts as many workers of an elastic run as it finds room for.
    workers = max(fewest, min(most, int(cpus / share))) if share > 0 else fewest
    if share < SMALLEST_SHARE or share * workers + reserved > cpus:
        raise InputError(
            f"{workers} workers x {share:g} CPU + {reserved:g} CPU for Ray Data = {share * workers + reserved:g} CPU, "
            f"Ray has {cpus:g}; use fewer --num-workers or a smaller --cpus-per-worker"
            + (" (or --feed.mode memory, which needs none for Ray Data)" if reserved else "")
        )
    return Resources(share, use_gpu, config.gpus_per_worker)


def _datasets(
    task: LaunchedTask, config: TrainingConfig, feed: str, train_split: Split, held_out: Split
) -> dict[str, Any]:
    """Ray Data over both splits. What is small enough is read now, once, into Ray's object store."""
    ids = held_out.spread_ids(config.evaluate_samples)
    val = read_split(held_out, None, ids=ids).materialize()
    if feed == "memory":
        learned = ids if config.overfit else None
        return {"train": read_split(train_split, task.columns, ids=learned).materialize(), "val": val}
    stream = read_split(train_split, task.columns, shuffle_seed=config.seed, shuffle_rows=config.feed.shuffle_rows)
    return {"train": stream, "val": val}


def _keep_accounts(config: TrainingConfig, datasets: Mapping[str, ray.data.Dataset]) -> None:
    """What feeding the run came to, beside its model. A stream is accounted for by the worker that drew from it."""
    store = Store.at(config.out)
    for name, dataset in datasets.items():
        if isinstance(dataset, MaterializedDataset):
            keep_account(store, {"stage": f"read {name}"}, dataset.stats())
    keep_account(store, {"stage": "train", **exposed_wait(read_metrics_log(config.out / METRICS_FILE, "train"))})


def _fit(trainer: TorchTrainer) -> Result:
    with _interruptible():
        try:
            return trainer.fit()
        except TrainingFailedError as error:
            original = input_error_of(error)
            if original is None:
                raise
            raise original from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C during a fit stops the workers cleanly and then is Ctrl-C again.

    Ray Train installs its own handler, aborts the run and leaves with status 0, which a script would take for success.
    """
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as leave:
        raise KeyboardInterrupt from leave
    finally:
        # Only the main thread may, and only there has Ray Train installed its handler.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, previous)
