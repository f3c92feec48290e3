"""Kill `preprocess` at random moments - driver, worker, node - and compare what is left with an undisturbed run.

    python -m tests.benchmarks.reliability [--kills 20] [--seed 0]

Moments are drawn by progress - units surveyed and written - so that every kill hits a run at work. A small recording is
preprocessed once in peace and then once per kill, each into a folder of its own:

* `driver`: kill -9 of the whole process group; the same command is given again.
* `worker`: kill -9 of a worker process that runs a task; the run itself has to finish.
* `node`: kill -9 of a node's raylet (and with it of all its workers) on a cluster of several; the run has to finish.

Every shard must have the same bytes in the end. Prints one line per kill; the status is 1 where one differs.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tyro
from ray._private.node import Node
from ray.cluster_utils import Cluster

from mouse_facelift.config import RUN_FILE
from tests.worlds import write_ball_recording

KINDS = ("driver", "worker", "node")
OPTIONS = "--image-size 128 --zoom 3.0 --unit-frames 2 --split.val-fraction 0.25 --split.gap-s 0.05".split()
FRAMES = 48
# A task's process as Ray names it while the task runs; idle workers are called "ray::IDLE".
_BUSY = "ray::"


@dataclass(frozen=True)
class Config:
    """How often, and which random moments."""

    kills: int = 20
    seed: int = 0


def words(recording: Path, out: Path) -> list[str]:
    """The options of the command that is disturbed."""
    return ["--capture", str(recording), "--out", str(out), *OPTIONS]


def shards(folder: Path) -> dict[str, bytes]:
    """A dataset's shards by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("split=*/*.parquet"))}


def begin(recording: Path, out: Path, address: str | None = None) -> subprocess.Popen[str]:
    """Start a run, on a cluster or on its own Ray."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    if address:
        environment["RAY_ADDRESS"] = address
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.preprocess", *words(recording, out)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that has to succeed."""
    _, errors = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(f"the run ended with status {process.returncode}: {errors[-2000:]}")


def progress(out: Path) -> int:
    """Files of finished units so far: surveys, then shards."""
    return len(list(out.glob("_work/survey/*.parquet"))) + len(shards(out))


def wait_for_progress(process: subprocess.Popen[str], out: Path, files: int) -> None:
    """Until the run has claimed its folder and finished that many files; by progress, so that no kill comes late."""
    while process.poll() is None and not ((out / RUN_FILE).exists() and progress(out) >= files):
        time.sleep(0.005)


def kill_driver(recording: Path, out: Path, files: int) -> str:
    """Kill the run and all it started, then give the command again."""
    process = begin(recording, out)
    wait_for_progress(process, out, files)
    family = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for orphan in family:
        with suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
    left = len(shards(out))
    finish(begin(recording, out))
    return f"driver killed with {left} shards written"


def kill_worker(recording: Path, out: Path, files: int, cluster: Cluster | None = None) -> str:
    """Kill one busy worker, of a Ray of the run's own or of a cluster that it alone uses; the run goes on."""
    process = begin(recording, out, cluster.address if cluster else None)
    wait_for_progress(process, out, files)
    parents = [raylet(node) for node in cluster.list_all_nodes()] if cluster else [process.pid]
    name = "nothing, for no worker was busy"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        family = [pid for parent in parents for pid in descendants(parent)]
        busy = {pid: name for pid in family if _is_task(name := title(pid))}
        if busy:
            pid, name = next(iter(busy.items()))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    finish(process)
    return f"worker killed in {name}"


def kill_node(recording: Path, out: Path, files: int, cluster: Cluster) -> str:
    """Kill a node of a cluster that has others; the run goes on."""
    process = begin(recording, out, cluster.address)
    wait_for_progress(process, out, files)
    victim = cluster.list_all_nodes()[-1]
    left = len(shards(out))
    cluster.remove_node(victim, allow_graceful=False)
    finish(process)
    return f"node killed with {left} shards written"


@contextmanager
def small_cluster(nodes: int = 3) -> Iterator[Cluster]:
    """A head without CPUs and nodes with one each: tasks only run on nodes that may be killed."""
    # Killed nodes refuse every question at once, so that a few suffice; by default Ray asks for a quarter of a minute.
    noticed = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": noticed}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def raylet(node: Node) -> int:
    """The process that all of a node's workers descend from."""
    return node.all_processes["raylet"][0].process.pid


def descendants(pid: int) -> list[int]:
    """Every process that this one has started, and they in turn (Linux: read from /proc)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The name in parentheses may hold anything; the parent is the second field after it.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, fresh = set(), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= fresh
    return sorted(found)


def title(pid: int) -> str:
    """A process's command line, which Ray sets to what a worker does; empty once it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def _is_task(name: str) -> bool:
    return name.startswith(_BUSY) and "Map" in name


def disturb(kind: str, recording: Path, out: Path, files: int, cluster: Cluster | None) -> str:
    """One run with one kill; says what happened."""
    if kind == "driver":
        return kill_driver(recording, out, files)
    if kind == "worker":
        return kill_worker(recording, out, files)
    if cluster is None:
        raise ValueError("a node can only be killed on a cluster")
    said = kill_node(recording, out, files, cluster)
    cluster.add_node(num_cpus=1)
    return said


def main(config: Config) -> int:
    chance, wrong = random.Random(config.seed), 0
    with tempfile.TemporaryDirectory() as scratch, small_cluster() as cluster:
        folder = Path(scratch)
        recording = write_ball_recording(folder / "ball", FRAMES)
        finish(begin(recording, folder / "peace"))
        expected = shards(folder / "peace")
        for number in range(config.kills):
            kind, files = KINDS[number % len(KINDS)], chance.randrange(2 * len(expected))
            out = folder / f"kill_{number}"
            said = disturb(kind, recording, out, files, cluster)
            same = shards(out) == expected
            wrong += not same
            print(f"{number + 1:3} after {files:2} files: {said}: {'same bytes' if same else 'DIFFERENT'}", flush=True)
    print(f"{config.kills - wrong} of {config.kills} ended with the same {len(expected)} shards")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
