"""The batch script for Slurm: a job that is a Ray cluster of its own and ends with its command's status.

The script's logic is `slurm_body.sh`, the same for everyone; this module writes what differs in front of it. Kinds of
nodes become the components of one heterogeneous job, so that the head's CPU nodes and the GPU nodes start together.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from cluster.profile import ROLE_LABEL, NodeGroup, Profile
from cluster.providers import SlurmConfig

_BODY = Path(__file__).with_name("slurm_body.sh")

# How long before the time limit Slurm warns the script (s).
_WARNING_S = 120


def sbatch_script(profile: Profile, site: SlurmConfig) -> str:
    """The whole script, for `sbatch slurm.sbatch [COMMAND ...]`."""
    partitions = {"decode": site.decode_partition, "train": site.train_partition}
    components = [_component(group, partitions[role], site) for role, group in profile.groups.items()]
    lines = ["#!/bin/bash", *_once(profile)]
    for index, component in enumerate(components):
        lines += ["#SBATCH hetjob"] if index else []
        lines += component
    return "\n".join([*lines, "", *_variables(profile, site), "", _BODY.read_text(encoding="utf-8")])


def _once(profile: Profile) -> list[str]:
    options = (f"--job-name={profile.name}", "--output=%x-%j.log", f"--signal=B:TERM@{_WARNING_S}")
    return [f"#SBATCH {option}" for option in options]


def _component(group: NodeGroup, partition: str, site: SlurmConfig) -> list[str]:
    options = [
        f"--nodes={group.max_nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={group.cpus}",
        f"--mem={group.memory_gib}G",
        "--exclusive",
        # A node that fails is Ray's to do without.
        "--no-kill",
        f"--time={site.time_limit}",
    ]
    if group.gpus:
        options.append(f"--gres=gpu:{group.gpus}")
    if partition:
        options.append(f"--partition={partition}")
    if site.account:
        options.append(f"--account={site.account}")
    return [f"#SBATCH {option}" for option in options]


def _variables(profile: Profile, site: SlurmConfig) -> list[str]:
    groups = list(profile.groups.values())
    arrays: dict[str, Sequence[object]] = {
        "job": profile.command,
        "roles": list(profile.groups),
        "nodes": [group.max_nodes for group in groups],
        "cpus": [group.cpus for group in groups],
        "gpus": [group.gpus for group in groups],
        "required": profile.environment,
    }
    words = {
        "label": ROLE_LABEL,
        "spill_folder": profile.spill_folder,
        "wait_s": str(site.wait_s),
    }
    prepare = [f"module load {shlex.quote(module)}" for module in site.modules]
    if site.venv:
        prepare.append(f"export PATH={shlex.quote(site.venv)}/bin:$PATH")
    return [
        *(f"{name}=({shlex.join(map(str, values))})" for name, values in arrays.items()),
        *(f"{name}={shlex.quote(value)}" for name, value in words.items()),
        *prepare,
    ]
