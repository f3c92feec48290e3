"""Waits until a cluster has as many machines as it should have: `python -m cluster.await_nodes --nodes 4`.

A job that starts while half the machines are still booting may plan for that half; batch scripts call this first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError

_POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class AwaitConfig:
    """Settings of `cluster.await_nodes`; the cluster is the one that RAY_ADDRESS names."""

    nodes: int
    """Machines to wait for, the head included."""
    timeout_s: float = 600
    """Give up after this time (s)."""


def await_nodes(config: AwaitConfig) -> int:
    """Wait inside a process that has joined Ray; gives the number of machines found.

    Raises:
        InputError: there are still fewer when the time is over.
    """
    import ray

    end = time.monotonic() + config.timeout_s
    while True:
        alive = sum(node["Alive"] for node in ray.nodes())
        if alive >= config.nodes:
            return alive
        if time.monotonic() >= end:
            raise InputError(
                f"only {alive} of {config.nodes} machines joined within {config.timeout_s:g} s; "
                "see the machines' Ray logs, or raise the time"
            )
        time.sleep(_POLL_S)


def main(argv: Sequence[str] | None = None) -> int:
    """The command: status 0 as soon as all machines are there, 1 when they are not in time."""
    config = parse(
        AwaitConfig, argv, prog="python -m cluster.await_nodes", description="Wait for a cluster's machines."
    )
    from pipelines.session import connect

    connect()
    print(f"{await_nodes(config)} machines are up")
    return 0


if __name__ == "__main__":
    run_verb(main)
