"""Which machine does what: decoding where there are CPUs for it, training where there are GPUs, each out of the way.

The machines of a cluster say what they are for by a Ray label (`cluster.profile.ROLE_LABEL`). An application asks for a
role; where no machine has it - a laptop, a cluster of somebody else's - the work goes anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cluster.profile import role_labels
from mouse_facelift.errors import InputError

Role = Literal["decode", "train"]
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """Where work runs and what is kept free. The defaults fit one laptop and every cluster of `cluster/`.

    Raises:
        InputError: a share or a time that cannot be.
    """

    roles: Literal["auto", "always", "never"] = "auto"
    """"auto": decoding goes to machines of the role decode and models to those of train, where the cluster has such
    now; "always": wait for the autoscaler to start one where it has not; "never": anything goes anywhere."""
    task_cpus: float = 1.0
    """CPUs that Ray sets aside for a task that decodes; less than 1 where recordings come from far away."""
    spare_cpus: float = 1.0
    """CPUs that models leave to Ray Data and to validation where they share machines; Ray Data's smallest task asks
    for one."""
    start_minutes: float = 15.0
    """How long "always" waits for a machine."""
    spill_folder: str = ""
    """Where a local Ray puts objects that no longer fit its memory; its temporary folder when empty. A cluster's is in
    its profile."""

    def __post_init__(self) -> None:
        if not self.task_cpus > 0 or not self.spare_cpus >= 0 or not self.start_minutes >= 0:
            raise InputError(
                f"placement: task_cpus ({self.task_cpus}) must be above 0, spare_cpus ({self.spare_cpus}) and "
                f"start_minutes ({self.start_minutes}) at least 0"
            )


def selector(config: PlacementConfig, role: Role) -> dict[str, str]:
    """The labels that a role's machines must have; empty where the work may run anywhere. Needs a connection.

    Raises:
        InputError: "always", and no such machine came.
    """
    wanted = role_labels(role)
    if config.roles == "never" or (config.roles == "auto" and not resources_of(wanted)):
        return {}
    if not resources_of(wanted):
        _await_machine(wanted, role, config.start_minutes)
    return wanted


def resources_of(labels: Mapping[str, str]) -> dict[str, float]:
    """What all living machines with these labels offer together, by kind of resource; empty if there are none."""
    import ray

    total: dict[str, float] = {}
    for node in ray.nodes():
        if node["Alive"] and all(node["Labels"].get(key) == value for key, value in labels.items()):
            for kind, amount in node["Resources"].items():
                total[kind] = total.get(kind, 0.0) + amount
    return total


def model_options(config: PlacementConfig, workers: int) -> dict[str, Any]:
    """Ray Data's options for an operator with a model in each of its `workers` actors, beside which reading goes on.

    An actor takes a GPU where there is one for each, and one CPU at most: more would be bookkeeping only.
    """
    where, apart = selector(config, "train"), bool(selector(config, "decode"))
    offered = resources_of(where)
    spare = 0.0 if apart else config.spare_cpus
    share = min(1.0, max(offered.get("CPU", 1.0) - spare, 0.0) / workers)
    return {
        "num_cpus": share,
        "num_gpus": 1 if offered.get("GPU", 0.0) >= workers else 0,
        "label_selector": where or None,
    }


def place_data(config: PlacementConfig) -> None:
    """From now on this process's Ray Data runs on machines that decode; an operator's own selector goes before."""
    from ray.data import DataContext

    DataContext.get_current().execution_options.label_selector = selector(config, "decode") or None


def _await_machine(labels: dict[str, str], role: Role, minutes: float) -> None:
    """Ask the autoscaler for one machine and wait until it is there."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{"CPU": 1}], bundle_label_selectors=[labels])
    try:
        deadline = time.monotonic() + 60 * minutes
        while not resources_of(labels):
            if time.monotonic() > deadline:
                raise InputError(
                    f"placement: no machine of the role {role} came within {minutes:g} minutes; look at `ray status`, "
                    "or use --placement.roles auto"
                )
            time.sleep(_LOOK_SECONDS)
    finally:
        # The request would keep the machine after the work.
        request_resources(bundles=[])
