"""A cluster of hosts with addresses of their own, and what is lost when one of them, or the head, goes away.

    python -m tests.benchmarks.multi_node [--jobs preprocess train reconstruct tune] [--faults none worker head]

One head and three workers (`tests/hosts.py`: network namespaces, token authentication) run each application as a job
that is sent with `submit`: first in peace, then again while

* `worker`: a node that works for the job is killed (kill -9 of its raylet and all it runs); the job itself has to end
  well on the nodes that are left;
* `head`: the head is killed, and with it the job; all nodes are started anew and the same command is given again.

Prints a line per run: exit status of the last command, what was lost or under way there, seconds from the kill
until something new was finished, and whether the result is that of the run in peace. The status is 1 where it is not.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from mouse_facelift.evaluation.trials import Search
from tests.benchmarks.reliability import OPTIONS, progress
from tests.hosts import HEAD, PATIENCE, Hosts
from tests.worlds import write_ball_recording
from training.metrics_log import METRICS_FILE, read_metrics_log
from tune.journal import JOURNAL_FILE
from tune.search import BEST_FILE

Fault = Literal["none", "worker", "head"]
JobName = Literal["preprocess", "train", "reconstruct", "tune"]
CHECKPOINT_EVERY = 8
NOTHING = "nothing"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Config:
    """What is run, and how large."""

    jobs: tuple[JobName, ...] = ("preprocess", "train", "reconstruct", "tune")
    """In this order; all need the dataset of the first, and reconstruct the model of train."""
    faults: tuple[Fault, ...] = ("none", "worker", "head")
    """In this order; "none" is what the others are compared with."""
    frames: int = 48
    steps: int = 40
    workers: int = 3
    keep: bool = False
    """Leave the folder with all results and logs."""
    place: Path | None = None
    """The folder that an earlier run left: its results in peace are not made again."""


@dataclass(frozen=True)
class Work:
    """An application: its command, how far it is, and what came out."""

    words: tuple[str, ...]
    progress: Callable[[], int]
    result: Callable[[], str]
    at: int
    """Progress at which the fault strikes."""
    again: tuple[str, ...] = ()
    """Words to add when the command is given again."""
    kept_every: int = 1
    """Progress is kept at multiples of this; what was done since is done again."""

    def lost(self, reached: int, doing: list[str]) -> str:
        """What a fault cost: progress that was not kept, and what was under way."""
        names = [name.removeprefix("ray::").split("(")[0].split(" ")[0] for name in doing]
        unsaved = reached % self.kept_every
        return ", ".join([f"{unsaved} of {reached} done"] * (self.kept_every > 1) + sorted(names)) or NOTHING


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    status: int
    lost: str
    recovered: float
    """Seconds; 0 in peace."""
    elapsed: float


def digest(folder: Path, pattern: str) -> str:
    """One number for the files of a folder: their names and bytes."""
    total = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        total.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode() + file.read_bytes())
    return total.hexdigest() if any(folder.glob(pattern)) else NOTHING


def preprocess_work(config: Config, place: Path, peace: Path, out: Path) -> Work:
    """The ball's recording to a dataset; counts surveys and shards."""
    words = ("preprocess", "--capture", str(place / "ball"), "--out", str(out), *OPTIONS)
    return Work(words, lambda: progress(out), lambda: digest(out, "split=*/*.parquet"), config.frames // 3)


def train_work(config: Config, place: Path, peace: Path, out: Path) -> Work:
    """DDP over two nodes; counts steps."""
    options = "--preset debug --num-workers 2 --cpus-per-worker 1 --max-failures 3 --log-every 1"
    options += f" --checkpoint-every {CHECKPOINT_EVERY}"
    numbers = f"--steps {config.steps} --evaluate-every {config.steps} --panels-every {config.steps}"
    words = ("train", "gslrm", "--data", str(peace / "preprocess"), "--out", str(out), *options.split())

    def step() -> int:
        return max((line["step"] for line in read_metrics_log(out / METRICS_FILE, "train")), default=0)

    words += (*numbers.split(), "--device", "cpu", "--wandb", "disabled")
    return Work(
        words, step, lambda: digest(out, "checkpoint/*.safetensors"), config.steps // 2, ("--resume",), CHECKPOINT_EVERY
    )


def reconstruct_work(config: Config, place: Path, peace: Path, out: Path) -> Work:
    """Gaussians of the held-out frames; counts samples."""
    options = "--turntable-views 0 --report-samples 1 --workers 2 --split train"
    checkpoint, data = str(peace / "train"), str(peace / "preprocess")
    words = ("reconstruct", "--checkpoint", checkpoint, "--data", data, "--out", str(out), *options.split())
    found = "samples/*/gaussians.ply"
    return Work(words, lambda: len(list(out.glob(found))), lambda: digest(out, found), 4)


def tune_work(config: Config, place: Path, peace: Path, out: Path) -> Work:
    """A search of three trials and four finals, each in a process of its own; counts those that ended."""
    options = f"--space loss-weights --preset debug --trials 3 --max-samples {8 * config.steps} --final-seeds 2"
    # What is tried and what becomes of it must not depend on who is first.
    options += " --search random --scheduler none --device cpu --wandb disabled"
    words = ("tune", "--data", str(peace / "preprocess"), "--out", str(out), *options.split())

    def found() -> str:
        if not (out / BEST_FILE).exists():
            return NOTHING
        trials = [
            (t.trial_id, t.overrides, t.seed, t.status, t.samples_seen, t.scores) for t in Search.read(out).trials
        ]
        return hashlib.sha256(repr(trials).encode()).hexdigest()

    def ended() -> int:
        file = out / JOURNAL_FILE
        return file.read_text().count('"event": "ended"') if file.exists() else 0

    return Work(words, ended, found, 1)


JOBS: dict[str, Callable[[Config, Path, Path, Path], Work]] = {
    "preprocess": preprocess_work,
    "train": train_work,
    "reconstruct": reconstruct_work,
    "tune": tune_work,
}


class Job:
    """A job that is sent to the cluster from its head, and waited for."""

    def __init__(self, hosts: Hosts, work: Work, name: str, again: bool = False) -> None:
        words = [*work.words, *(work.again if again else ())]
        command = [sys.executable, "-m", "mouse_facelift.cli", "submit", "--working-dir", str(ROOT), "--id", name]
        command += ["--address", hosts.url, "--patience-s", "5", "--"]
        self.log = hosts.scratch / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                hosts.network.inside(HEAD, [*command, *words]), env=hosts.environment, stdout=log, stderr=log
            )

    def wait_until(self, reached: Callable[[], bool], what: str) -> float:
        """Until something is so, while the job runs; returns the seconds that took."""
        began = time.monotonic()
        while not reached():
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"{what} did not happen: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def finish(self) -> int:
        return self.process.wait(2 * PATIENCE)


def in_peace(hosts: Hosts, work: Work, name: str) -> Outcome:
    began = time.monotonic()
    return Outcome(Job(hosts, work, name).finish(), "", 0.0, time.monotonic() - began)


def without_worker(hosts: Hosts, work: Work, name: str) -> Outcome:
    """The busiest worker is killed; a new one takes its place after the job."""
    began = time.monotonic()
    job = Job(hosts, work, name)
    job.wait_until(lambda: work.progress() >= work.at, f"progress {work.at}")
    victim = max(hosts.workers, key=lambda host: len(hosts.busy(host)))
    doing, reached = hosts.busy(victim), work.progress()
    hosts.kill(victim)
    recovered = job.wait_until(lambda: work.progress() > reached, "further progress")
    status, elapsed = job.finish(), time.monotonic() - began
    hosts.start(victim)
    hosts.wait_for(victim)
    return Outcome(status, work.lost(reached, doing), recovered, elapsed)


def without_head(hosts: Hosts, work: Work, name: str) -> Outcome:
    """The head is killed; without its memory (no Redis) the nodes cannot go on and are started anew."""
    began = time.monotonic()
    job = Job(hosts, work, name)
    job.wait_until(lambda: work.progress() >= work.at, f"progress {work.at}")
    doing = [task for host in hosts.workers for task in hosts.busy(host)]
    reached = work.progress()
    hosts.kill(HEAD)
    struck = time.monotonic()
    if job.finish() == 0:
        raise RuntimeError("the command did not notice that the head was gone")
    for host in hosts.workers:
        hosts.kill(host)
    hosts.start_all()
    again = Job(hosts, work, f"{name}-again", again=True)
    again.wait_until(lambda: work.progress() > reached, "further progress")
    recovered = time.monotonic() - struck
    return Outcome(again.finish(), work.lost(reached, doing), recovered, time.monotonic() - began)


FAULTS: dict[str, Callable[[Hosts, Work, str], Outcome]] = {
    "none": in_peace,
    "worker": without_worker,
    "head": without_head,
}


def main(config: Config) -> int:
    place, wrong = config.place or Path(tempfile.mkdtemp(prefix="mf")), 0
    logs = Path(tempfile.mkdtemp(prefix="mf"))
    hosts = Hosts(logs, config.workers)
    try:
        if not (place / "ball").exists():
            write_ball_recording(place / "ball", config.frames)
        began = time.monotonic()
        hosts.start_all()
        print(f"1 head and {config.workers} workers are up after {time.monotonic() - began:.0f} s")
        print(f"{'job':12} {'fault':7} {'exit':>4} {'recovery s':>10} {'all s':>6}  {'result':14} lost, or under way")
        peace: dict[str, str] = {}
        for name in config.jobs:
            earlier = JOBS[name](config, place, place / "none", place / "none" / name).result()
            if earlier != NOTHING:
                peace[name] = earlier
            for fault in config.faults:
                if fault == "none" and name in peace:
                    continue
                work = JOBS[name](config, place, place / "none", place / fault / name)
                outcome = FAULTS[fault](hosts, work, f"{name}-{fault}")
                result = work.result()
                same = outcome.status == 0 and result == peace.setdefault(name, result)
                wrong += not same
                verdict = f"{'same' if same else 'DIFFERENT'} {result[:8]}"
                times = f"{outcome.recovered:10.1f} {outcome.elapsed:6.0f}"
                print(f"{name:12} {fault:7} {outcome.status:4} {times}  {verdict:14} {outcome.lost}", flush=True)
    finally:
        hosts.close()
        if config.keep:
            print(f"left {place} and {logs}")
        else:
            shutil.rmtree(logs, ignore_errors=True)
            if config.place is None:
                shutil.rmtree(place, ignore_errors=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
