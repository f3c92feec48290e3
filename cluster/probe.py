"""Asks every machine of a Ray cluster for its facts: `python -m cluster.probe`, inside a job; `doctor` sends it.

An actor without CPUs is pinned to each machine, so that a busy cluster answers as well as an idle one. Its last line
of output is the answer, as JSON after a marker.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.node_facts import NodeFacts, look_here
from cluster.profile import ROLE_LABEL
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.plain import from_plain

MARKER = "FACTS "
_CLOCK_ASKED = 5


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Settings of `cluster.probe`; the cluster is the one that RAY_ADDRESS names."""

    storage: str = ""
    """URI or shared folder that every machine must be able to write to and read from."""
    timeout_s: float = 120.0
    """A machine that has not answered by then counts as broken (s)."""


class Looker:
    """The actor on each machine."""

    def now(self) -> float:
        """The machine's clock (s since 1970)."""
        return time.time()

    def look(self, session_folder: str, storage: str, token: str) -> dict[str, object]:
        """`node_facts.look_here`."""
        return look_here(session_folder, storage, token)


def probe(config: ProbeConfig) -> list[NodeFacts]:
    """The facts of every machine, the head first, from inside a process that has joined Ray."""
    token = secrets.token_hex(4)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    # Zero CPUs: it must run where everything is lent already, and on a head that lends none.
    actor: Any = ray.remote(num_cpus=0, max_restarts=0)(Looker)
    lookers: list[Any] = [
        actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    session = ray.get_runtime_context().worker.node.get_session_dir_path()
    looks = [looker.look.remote(session, config.storage, token) for looker in lookers]
    end = time.monotonic() + config.timeout_s
    facts = []
    for node, looker, look in zip(nodes, lookers, looks, strict=True):
        known = _known(node)
        try:
            seen: Any = ray.get(look, timeout=max(1.0, end - time.monotonic()))
            skew, error = _clock(looker, max(1.0, end - time.monotonic()))
            facts.append(NodeFacts(**known, **seen, skew_s=skew, skew_error_s=error))
        except (RayError, TimeoutError) as failure:
            lines = str(failure).strip().splitlines()
            facts.append(NodeFacts(**known, error=f"{type(failure).__name__}: {lines[-1] if lines else ''}"))
    for looker in lookers:
        ray.kill(looker)
    return sorted(facts, key=lambda node: (not node.head, node.role, node.name))


def _clock(looker: Any, limit_s: float) -> tuple[float, float]:
    """(a machine's clock less ours, by how much that may be wrong): the quickest of a few answers says most."""
    found = []
    for _ in range(_CLOCK_ASKED):
        before = time.time()
        there: Any = ray.get(looker.now.remote(), timeout=limit_s)
        after = time.time()
        found.append(((after - before) / 2, there - (before + after) / 2))
    error, skew = min(found)
    return skew, error


def _known(node: dict[str, Any]) -> dict[str, Any]:
    """What Ray itself knows of a machine."""
    address, host = node["NodeManagerAddress"], node["NodeManagerHostname"]
    return {
        "name": address if host in ("", address) else f"{address} ({host})",
        "role": node.get("Labels", {}).get(ROLE_LABEL, ""),
        "head": "node:__internal_head__" in node["Resources"],
        "resources": {key: size for key, size in node["Resources"].items() if not key.startswith("node:")},
    }


def to_line(facts: Sequence[NodeFacts]) -> str:
    """The facts as one line of output."""
    return MARKER + json.dumps([asdict(node) for node in facts])


def from_output(text: str) -> list[NodeFacts] | None:
    """The facts in a job's output; None where it holds none."""
    lines = [line for line in text.splitlines() if line.startswith(MARKER)]
    if not lines:
        return None
    plain = json.loads(lines[-1].removeprefix(MARKER))
    return [from_plain(NodeFacts, node, source="the probe's answer") for node in plain]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    config = parse(
        ProbeConfig, argv, prog="python -m cluster.probe", description="Ask a cluster's machines for their facts."
    )
    from pipelines.session import connect

    connect()
    print(to_line(probe(config)), flush=True)
    return 0


if __name__ == "__main__":
    run_verb(main)
