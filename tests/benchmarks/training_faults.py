"""Break a training run on two workers in every way that happens, and see what is lost.

    python -m tests.benchmarks.training_faults [--kinds worker driver node disk nan] [--steps 40] [--at 21]

A small model trains on rendered samples; once in peace, then once per fault, which strikes when step `--at` is logged:

* `worker`: kill -9 of one training process; the run has to go on by itself.
* `driver`: kill -9 of the command and of all it started; the command is given again with --resume.
* `node`: kill -9 of a node that trains, on a cluster of several; the run has to go on by itself.
* `disk`: the disk with the run's folder is filled up (needs the right to mount a tmpfs); the run has to stop with one
  line, and is resumed when there is space.
* `nan`: one batch gives a loss that is not a number; its step has to be refused and counted, and the run goes on.

Prints a line per fault: steps since the last checkpoint, which are done again; seconds from the fault (or from
--resume) until a new step is logged; and whether the weights in the end are those of the run in peace (after `nan`, one
step short, whether they are finite). The status is 1 where they are not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from jaxtyping import Float
from ray.cluster_utils import Cluster
from torch import Tensor, nn

from mouse_facelift.checkpoints import read_weights
from mouse_facelift.cli import run_verb
from tests.benchmarks.reliability import descendants, raylet, title
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import TinyTask
from training.launch import launch
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.settings import OptimiserConfig, TrainingConfig
from training.task import Moment, Tensors

Kind = Literal["worker", "driver", "node", "disk", "nan"]
PATIENCE = 240
"""Seconds after which something that has to happen has not."""
CHECKPOINT_EVERY = 8
DISK = "3m"


@dataclass(frozen=True)
class Config:
    """Which faults, and when."""

    kinds: tuple[Kind, ...] = ("worker", "driver", "node", "disk", "nan")
    steps: int = 40
    at: int = 21
    """Step at which the fault strikes."""
    pause: float = 0.1
    """Seconds that every step takes at least, so that a fault meets a run at work."""


@dataclass(frozen=True)
class Driver:
    """What a command that trains is told."""

    data: Path
    out: Path
    steps: int
    pause: float
    poison: int = -1
    """Step whose loss is not a number."""
    max_failures: int = 0
    resume: bool = False


@dataclass(frozen=True)
class FaultyTask(TinyTask):
    """Takes its time, and gives one loss that is not a number."""

    pause: float = 0.0
    poison: int = -1

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        time.sleep(self.pause)
        loss, scalars = super().loss(model, batch, moment)
        return (loss * torch.nan, scalars) if moment.step == self.poison else (loss, scalars)


def drive(driver: Driver) -> int:
    """The command that is disturbed."""
    config = TrainingConfig(
        data=str(driver.data),
        out=driver.out,
        steps=driver.steps,
        batch_size=4,
        num_workers=2,
        log_every=1,
        evaluate_every=driver.steps,
        panels_every=driver.steps,
        checkpoint_every=CHECKPOINT_EVERY,
        optimiser=OptimiserConfig(lr=1e-2, warmup_steps=2),
        max_failures=driver.max_failures,
        resume=driver.resume,
        device="cpu",
        wandb="disabled",
    )
    launch(FaultyTask(pause=driver.pause, poison=driver.poison), config, "train tiny")
    return 0


class Run:
    """A command under way, and what its log says."""

    def __init__(self, driver: Driver, address: str | None = None) -> None:
        self.driver = driver
        options = [f"--{name.replace('_', '-')}={getattr(driver, name)}" for name in ("data", "out", "steps", "pause")]
        options += [f"--poison={driver.poison}", f"--max-failures={driver.max_failures}"]
        options += ["--resume"] if driver.resume else []
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        code = "from tests.benchmarks.training_faults import drive_from_command_line as run; run()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *options],
            env=environment | ({"RAY_ADDRESS": address} if address else {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def step(self) -> int:
        """The last step logged."""
        steps = [line["step"] for line in read_metrics_log(self.driver.out / METRICS_FILE, "train")]
        return max(steps, default=0)

    def wait_for_step(self, step: int) -> float:
        """Until a step is logged; returns the seconds that took."""
        began = time.monotonic()
        while self.step() < step:
            self.check(self.process.poll() is None, f"ended before step {step}")
            self.check(time.monotonic() - began < PATIENCE, f"did not reach step {step}")
            time.sleep(0.02)
        return time.monotonic() - began

    def check(self, well: bool, what: str) -> None:
        """End in words if the run did what it should not."""
        if not well:
            self.kill()
            raise RuntimeError(f"{self.driver.out.name}: the run {what}: {self.process.communicate()[1][-1500:]}")

    def finish(self, *, well: bool = True) -> str:
        """Wait until the command ends; returns the last line it wrote to stderr."""
        errors = self.process.communicate(timeout=PATIENCE)[1]
        self.check((self.process.returncode == 0) == well, f"ended with status {self.process.returncode}: {errors}")
        return (errors.strip().splitlines() or [""])[-1]

    def kill(self) -> None:
        """kill -9 of the command and all that it started."""
        family = descendants(self.process.pid)
        for pid in (self.process.pid, *family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Outcome:
    """What a fault did."""

    lost: int
    seconds: float
    said: str


def checkpoint_step(step: int) -> int:
    """Step of the newest checkpoint when `step` is reached."""
    return step // CHECKPOINT_EVERY * CHECKPOINT_EVERY


def strike(run: Run, at: int, blow: Callable[[], str]) -> Outcome:
    """Wait for the moment, strike, and see the run go on by itself."""
    run.wait_for_step(at)
    reached, said = run.step(), blow()
    seconds = run.wait_for_step(reached + 1)
    run.finish()
    return Outcome(reached - checkpoint_step(reached), seconds, said)


def kill_worker(driver: Driver, at: int) -> Outcome:
    """One training process of a run that may restart."""
    run = Run(replace(driver, max_failures=2))

    def blow() -> str:
        workers = [pid for pid in descendants(run.process.pid) if title(pid).startswith("ray::RayTrainWorker")]
        run.check(len(workers) == 2, f"has {len(workers)} training processes")
        os.kill(workers[-1], signal.SIGKILL)
        return "restarted by itself"

    return strike(run, at, blow)


def kill_driver(driver: Driver, at: int) -> Outcome:
    """The whole run; then --resume."""
    run = Run(driver)
    run.wait_for_step(at)
    reached = run.step()
    run.kill()
    again = Run(replace(driver, resume=True))
    seconds = again.wait_for_step(reached + 1)
    again.finish()
    return Outcome(reached - checkpoint_step(reached), seconds, "resumed by the same command with --resume")


def kill_node(driver: Driver, at: int) -> Outcome:
    """A node with a training process; a spare one takes over."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        run = Run(replace(driver, max_failures=2), cluster.address)

        def blow() -> str:
            titles = {node: [title(pid) for pid in descendants(raylet(node))] for node in nodes}
            training = [node for node, names in titles.items() if any(n.startswith("ray::RayTrainW") for n in names)]
            run.check(bool(training), "trains on no node that may be killed")
            # Ray Train's controller lives on a node, too: better one that only trains.
            training.sort(key=lambda node: any("TrainController" in name for name in titles[node]))
            cluster.remove_node(training[0], allow_graceful=False)
            return "restarted by itself on the other nodes"

        return strike(run, at, blow)
    finally:
        cluster.shutdown()


def fill_disk(driver: Driver, at: int) -> Outcome:
    """The disk under the run's folder; freed before --resume."""
    run = Run(driver)
    run.wait_for_step(at)
    filler = driver.out.parent / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    said = run.finish(well=False)
    reached = run.step()
    filler.unlink()
    again = Run(replace(driver, resume=True))
    seconds = again.wait_for_step(max(reached, 1) + 1) if reached < driver.steps else 0.0
    again.finish()
    return Outcome(reached - checkpoint_step(max(reached - 1, 0)), seconds, f"stopped: {said}")


def poison_batch(driver: Driver, at: int) -> Outcome:
    """One loss that is not a number."""
    run = Run(replace(driver, poison=at - 1))
    run.finish()
    lines = read_metrics_log(driver.out / METRICS_FILE, "train")
    refused = [line["refused_steps"] for line in lines][-1]
    run.check(refused == 1, f"refused {refused} steps")
    return Outcome(1, 0.0, f"refused_steps {refused} in the log, went on")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


FAULTS: dict[str, Callable[[Driver, int], Outcome]] = {
    "worker": kill_worker,
    "driver": kill_driver,
    "node": kill_node,
    "disk": fill_disk,
    "nan": poison_batch,
}


def main(config: Config) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        samples = [ring_sample(blob(seed), seed) for seed in range(6)]
        data = write_dataset(Path(scratch) / "data", {"train": samples[:5], "val": samples[5:]})
        peace = Driver(data, Path(scratch) / "peace", config.steps, 0.0)
        Run(peace).finish()
        expected = read_weights(peace.out / "checkpoint")
        print(f"{'fault':8} {'steps again':>11} {'seconds':>8}  in the end        what happened")
        for kind in config.kinds:
            with small_disk(Path(scratch) / "disk") if kind == "disk" else nullcontext(Path(scratch)) as place:
                driver = Driver(data, place / kind, config.steps, config.pause)
                outcome = FAULTS[kind](driver, config.at)
                got = read_weights(driver.out / "checkpoint")
            if kind == "nan":
                good, words = all(bool(t.isfinite().all()) for t in got.values()), "finite weights"
            else:
                good, words = all(torch.equal(expected[name], got[name]) for name in expected), "same weights"
            wrong += not good
            verdict = words if good else f"NOT {words}"
            print(f"{kind:8} {outcome.lost:11} {outcome.seconds:8.1f}  {verdict:16}  {outcome.said}", flush=True)
    return int(wrong > 0)


def drive_from_command_line() -> None:
    """Entry of the disturbed command."""
    run_verb(lambda _: drive(tyro.cli(Driver)))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
