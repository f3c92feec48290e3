"""Trials of two workers on a cluster of four nodes, with parts of CPUs, and a node taken away on the way.

    python -m tests.benchmarks.tune_cluster --data DATASET [--trials 16] [--steps 10] [--lose-after 4]

The nodes are on this machine (``ray.cluster_utils``), one claimed CPU each; a worker claims half of one, so that the
trials side by side are bound by the sum and not by the nodes. As soon as `--lose-after` trials have ended, a node is
removed and does not come back. Prints the trials by how they ended, and has status 1 unless every
trial ended once and completed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import ray
import tyro
from ray.cluster_utils import Cluster

from mouse_facelift.evaluation.trials import Trial
from pipelines.session import connect
from tune.book import Book
from tune.plan import make_plan
from tune.search import run_search
from tune.settings import TuneConfig

_NODES, _SHARE = 4, 0.5


@dataclass(frozen=True)
class Config:
    """What is run."""

    data: Path
    """A dataset."""
    trials: int = 16
    steps: int = 10
    lose_after: int = 4
    """Trials that end before a node is removed; 0 keeps all nodes."""


def main(config: Config) -> int:
    """Run the search, print how its trials ended."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(_NODES - 1)]
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = str(cluster.address)
    connect()

    def said(book: Book, trial: Trial) -> None:
        print(f"{trial.trial_id} {trial.status} {trial.reason} after {trial.seconds_total:.0f} s", flush=True)
        if len(book.ends) == config.lose_after:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print(f"a node of {_NODES} is gone", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(
            TuneConfig(
                data=str(config.data.absolute()),
                out=Path(scratch) / "search",
                space="loss-weights",
                preset="debug",
                trials=config.trials,
                search="random",
                scheduler="none",
                max_samples=config.steps * 2,
                workers_per_trial=2,
                cpus_per_worker=_SHARE,
                finalists=0,
                device="cpu",
            )
        )
        print(f"{plan.orders.resources.side_by_side} trials side by side on {_NODES} nodes of 1 CPU", flush=True)
        search = run_search(plan, said)
    states = Counter(trial.status for trial in search.trials)
    print(f"{dict(states)} in {search.seconds:.0f} s")
    ray.shutdown()
    cluster.shutdown()
    return int(states != Counter(completed=config.trials))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config)))
