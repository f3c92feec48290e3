"""From the facts of a cluster's machines to what would fail there, and the cure. Nothing is asked here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.node_facts import PACKAGES, NodeFacts

Verdict = Literal["ok", "warn", "FAIL"]

# Ray refuses to write to a disk that is fuller (local_fs_capacity_threshold); spilling then fails.
_DISK_FULL, _DISK_FILLING = 0.95, 0.85
# Signed requests to object stores are refused from 15 minutes; logs and resumed runs are confusing long before.
_SKEW_WARN_S, _SKEW_FAIL_S = 2.0, 300.0
# Blocks of 128 MiB in flight, several per task: with less, Ray Data waits for itself or writes to disk.
_SMALL_STORE = 1 << 30
_DATA_CPUS = 1.0
"""CPUs that the smallest task of Ray Data asks for."""


@dataclass(frozen=True)
class Check:
    """One finding."""

    verdict: Verdict
    what: str
    """What was looked at."""
    found: str
    cure: str = ""
    """What to do about it."""

    def line(self) -> str:
        """For people."""
        return f"{self.verdict:<5}{self.what:<16}{self.found}" + (f"\n{'':<21}-> {self.cure}" if self.cure else "")


def check_nodes(facts: Sequence[NodeFacts], *, storage: str) -> list[Check]:
    """All that the machines' facts say.

    Args:
        facts: every machine of the cluster.
        storage: what they were asked to write to; "" for none.
    """
    answered = [node for node in facts if not node.error]
    checks = [_answers(facts)]
    if answered:
        checks += [
            *_versions(answered),
            _packages(answered),
            *_machines(answered),
            training_room(answered),
            _object_store(answered),
            _disks(answered),
            _clocks(answered),
            _storage(answered, storage),
            _auth(answered),
            *_gpus(answered),
            *_ports(answered),
        ]
    return checks


def _answers(facts: Sequence[NodeFacts]) -> Check:
    silent = [node for node in facts if node.error]
    if silent:
        return Check(
            "FAIL",
            "machines",
            f"{len(silent)} of {len(facts)} do not answer: " + _listed(silent, lambda node: node.error),
            "look at their Ray logs (/tmp/ray/session_latest/logs, or the pod's); replace them if they are stuck",
        )
    return Check("ok", "machines", f"{len(facts)}, all answer")


def _versions(nodes: Sequence[NodeFacts]) -> list[Check]:
    """Ray demands its own version and Python's to be the same everywhere; torch's may differ in its build."""
    checks = []
    for name, fatal in (("python", True), ("ray", True), ("torch", False)):
        found = {node.name: _version(node, name) for node in nodes}
        said = {version.partition("+")[0] if not fatal else version for version in found.values()}
        if len(said) == 1:
            checks.append(Check("ok", name, ", ".join(sorted(set(found.values())))))
            continue
        common = Counter(found.values()).most_common(1)[0][0]
        others = ", ".join(f"{version} on {place}" for place, version in found.items() if version != common)
        cure = "give every machine the same image, or install from constraints.txt"
        checks.append(Check("FAIL" if fatal else "warn", name, f"{common}, but {others}", cure))
    return checks


def _version(node: NodeFacts, name: str) -> str:
    return node.python if name == "python" else node.versions.get(name, "absent")


def _packages(nodes: Sequence[NodeFacts]) -> Check:
    absent = {node.name: [name for name in PACKAGES if name not in node.versions] for node in nodes}
    if any(absent.values()):
        places = "; ".join(f"{', '.join(names)} on {place}" for place, names in absent.items() if names)
        return Check("FAIL", "packages", f"absent: {places}", "pip install -r constraints.txt there, or use the image")
    return Check("ok", "packages", f"all {len(PACKAGES)} on every machine")


def _machines(nodes: Sequence[NodeFacts]) -> list[Check]:
    """What there is, by kind."""
    checks = []
    for role in sorted({node.role for node in nodes}):
        group = [node for node in nodes if node.role == role]
        sizes = f"{_sum(group, 'CPU'):g} CPU, {_sum(group, 'GPU'):g} GPU, {_gib(_sum(group, 'memory'))} memory"
        checks.append(Check("ok", role or "no role", f"{len(group)} x: {sizes} for Ray"))
    return checks


def training_room(nodes: Sequence[NodeFacts]) -> Check:
    """What is left for Ray Data while a training runs with one worker per GPU, or with one.

    Workers that hold every CPU leave none to read data with; Ray then waits without a word.
    """
    cpus, gpus = _sum(nodes, "CPU"), _sum(nodes, "GPU")
    workers = int(gpus) or 1
    room = cpus - workers
    apart = [node for node in nodes if node.role == "decode"]
    text = f"training with {workers} worker{'s' if workers > 1 else ''} takes {workers} of {cpus:g} CPU, "
    if cpus == 0:
        cure = "start machines that offer CPUs: a head alone runs nothing (with an autoscaler they come with the job)"
        return Check("warn", "room for data", "no machine offers a CPU now", cure)
    if room < _DATA_CPUS:
        cure = "more CPUs, fewer --num-workers, a smaller --cpus-per-worker, or --feed.mode memory"
        return Check("warn", "room for data", f"{text}leaves {max(room, 0):g} for Ray Data, which needs 1", cure)
    where = f"; {_sum(apart, 'CPU'):g} of them on machines of their own" if apart else ""
    return Check("ok", "room for data", f"{text}leaves {room:g} for Ray Data{where}")


def _object_store(nodes: Sequence[NodeFacts]) -> Check:
    sizes = [node.resources.get("object_store_memory", 0.0) for node in nodes]
    text = f"{_gib(min(sizes))} to {_gib(max(sizes))} a machine, {_gib(sum(sizes))} together"
    slow = [node for node in nodes if node.resources.get("object_store_memory", 0.0) > node.shared_memory > 0]
    if slow:
        cure = "raise /dev/shm (docker --shm-size, an emptyDir with medium: Memory): the object store is on disk there"
        return Check("FAIL", "object store", f"larger than /dev/shm on {_listed(slow, _shm)}", cure)
    small = [
        node
        for node in nodes
        if node.resources.get("CPU") and node.resources.get("object_store_memory", 0.0) < _SMALL_STORE
    ]
    if small:
        cure = "`ray start --object-store-memory`, or machines with more memory; small datasets do not need it"
        return Check("warn", "object store", f"{text}; below 1 GiB on {_listed(small)}", cure)
    return Check("ok", "object store", text)


def _shm(node: NodeFacts) -> str:
    return _gib(node.shared_memory)


def _disks(nodes: Sequence[NodeFacts]) -> Check:
    def used(node: NodeFacts) -> float:
        return 1 - node.disk_free / node.disk if node.disk else 0.0

    fullest = max(nodes, key=used)
    text = f"{_gib(fullest.disk_free)} free for spilling on {fullest.name} ({used(fullest):.0%} full)"
    if used(fullest) < _DISK_FILLING:
        return Check("ok", "disk", text)
    cure = "free some, or point Ray at another disk (spill_folder in the profile)"
    return Check("FAIL" if used(fullest) >= _DISK_FULL else "warn", "disk", text, cure)


def _clocks(nodes: Sequence[NodeFacts]) -> Check:
    worst = max(nodes, key=lambda node: abs(node.skew_s))
    sure = max(0.0, abs(worst.skew_s) - worst.skew_error_s)
    text = f"{worst.skew_s:+.3f} s at most ({worst.name}, +- {worst.skew_error_s:.3f} s)"
    if sure < _SKEW_WARN_S:
        return Check("ok", "clocks", text)
    return Check("FAIL" if sure >= _SKEW_FAIL_S else "warn", "clocks", text, "let chrony or ntpd keep time there")


def _storage(nodes: Sequence[NodeFacts], storage: str) -> Check:
    if not storage:
        return Check("warn", "storage", "not tried", "give --storage the URI or folder that results go to")
    broken = [node for node in nodes if node.storage]
    if broken:
        cure = "mount it there, or give the machines the right to write there (role, service account, credentials)"
        return Check("FAIL", "storage", _listed(broken, lambda node: node.storage), cure)
    if "://" not in storage and len(nodes) > 1:
        text = f"{storage}: every machine can write and read there"
        return Check("ok", "storage", f"{text} (each its own folder, or all the same one: see that it is shared)")
    return Check("ok", "storage", f"{storage}: written to and read from on {len(nodes)} machines")


def _auth(nodes: Sequence[NodeFacts]) -> Check:
    without = [node for node in nodes if node.auth != "token"]
    if not without:
        return Check("ok", "token inside", "every machine asks for it")
    cure = "RAY_AUTH_MODE=token and the same token on every machine (cluster/README.md)"
    verdict: Verdict = "FAIL" if len(nodes) > 1 else "warn"
    return Check(verdict, "token inside", f"not asked for on {_listed(without)}: whoever connects runs code", cure)


def _gpus(nodes: Sequence[NodeFacts]) -> list[Check]:
    found = [node for node in nodes if node.gpus or node.resources.get("GPU")]
    if not found:
        return []
    idle = [node for node in found if node.gpus and not node.resources.get("GPU")]
    cpu_build = [
        node for node in found if node.resources.get("GPU") and node.versions.get("torch", "").endswith("+cpu")
    ]
    if cpu_build:
        cure = "build the image with --target gpu, or install torch from PyTorch's CUDA index"
        return [Check("FAIL", "GPUs", f"torch is a CPU build on {_listed(cpu_build)}", cure)]
    if idle:
        cure = "start Ray there with --num-gpus, or leave them"
        return [Check("warn", "GPUs", f"not offered to Ray: {_listed(idle, lambda node: ', '.join(node.gpus))}", cure)]
    kinds = Counter(name for node in found for name in node.gpus)
    return [Check("ok", "GPUs", ", ".join(f"{count} x {name}" for name, count in kinds.items()) or "offered to Ray")]


def _ports(nodes: Sequence[NodeFacts]) -> list[Check]:
    opened = [node for node in nodes if node.open_ports]
    if not opened:
        return [Check("ok", "ports", f"{sum(node.refusing_ports for node in nodes)} HTTP ports ask for the token")]
    text = "answer without the token: " + _listed(opened, lambda node: ", ".join(node.open_ports))
    cure = "keep them inside the cluster's own network: a security group, firewall or network policy"
    return [Check("warn", "ports", text, cure)]


def _sum(nodes: Iterable[NodeFacts], resource: str) -> float:
    return sum(node.resources.get(resource, 0.0) for node in nodes)


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _listed(nodes: Sequence[NodeFacts], detail: Callable[[NodeFacts], str] | None = None) -> str:
    """Names of machines, the first few in full."""
    shown = [f"{node.name}: {detail(node)}" if detail else node.name for node in nodes[:3]]
    return ", ".join(shown) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
