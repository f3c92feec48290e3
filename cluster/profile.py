"""The profile: one small YAML file that says what a cluster consists of; every file for every platform comes from it.

Which files are rendered is decided by which sections it has (`aws`, `gcp`, `on_premise`, `kuberay`, `slurm`). The head
never works. Machines of the group `decode` are for Ray Data, those of `train` for Ray Train; each advertises its role
as a Ray label, so that neither takes the other's place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from cluster.providers import AwsConfig, GcpConfig, KubeRayConfig, OnPremiseConfig, SlurmConfig
from cluster.secret_check import refuse_secrets
from mouse_facelift.config import read_yaml
from mouse_facelift.errors import InputError
from mouse_facelift.plain import from_plain

ROLE_LABEL = "mouse-facelift/role"
"""Ray label of every machine; its values are "head", "decode" and "train"."""

PLATFORMS = ("aws", "gcp", "on_premise", "kuberay", "slurm")

# A DNS label, short enough for the names that KubeRay derives from it (RayJob's limit is 47 characters).
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class HeadNode:
    """The machine that schedules, holds the dashboard and runs the driver; it offers Ray no CPUs."""

    cpus: int = 4
    memory_gib: int = 16


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Machines of one kind.

    Raises:
        InputError: a size or a count that no group can have.
    """

    cpus: int
    """CPUs that one machine offers to Ray."""
    memory_gib: int
    """Memory of one machine (GiB)."""
    gpus: int = 0
    min_nodes: int = 0
    """Machines that are always there."""
    max_nodes: int = 1
    """Machines at most; those above `min_nodes` come and go with the work. Slurm allocates all of them."""

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.memory_gib < 1 or self.gpus < 0:
            raise InputError("a node group needs at least 1 CPU and 1 GiB of memory, and no negative number of GPUs")
        if not 0 <= self.min_nodes <= self.max_nodes:
            raise InputError(f"a node group's min_nodes ({self.min_nodes}) must lie between 0 and its max_nodes")


@dataclass(frozen=True, kw_only=True)
class Image:
    """Container images, as `cluster/Containerfile` builds them."""

    cpu: str = ""
    """Image of the head and of `decode`; empty to install packages on the machines instead (`ray up` only)."""
    gpu: str = ""
    """Image of `train`; empty where `train` has no GPUs: the CPU image."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A cluster.

    Raises:
        InputError: fields that contradict each other or cannot be rendered.
    """

    name: str
    """Lower-case letters, digits and dashes, at most 40."""
    decode: NodeGroup
    train: NodeGroup
    storage: str
    """URI or shared folder of datasets, runs and results; `{storage}` in `job` stands for it."""
    job: tuple[str, ...]
    """Words of the command that RayJob and the Slurm script run; `{storage}` and `{shared_folder}` are filled in."""
    head: HeadNode = field(default_factory=HeadNode)
    image: Image = field(default_factory=Image)
    shared_folder: str = "/shared"
    """Where every machine mounts the recordings."""
    mount_commands: tuple[str, ...] = ()
    """Commands that mount it on a fresh machine (`ray up` only), outside the container."""
    environment: tuple[str, ...] = ()
    """Names of secret environment variables that jobs need, such as WANDB_API_KEY."""
    spill_folder: str = "/tmp/ray-spill"
    """Where a machine puts objects that no longer fit its memory; a fast local disk."""
    idle_minutes: int = 5
    """A machine above `min_nodes` leaves after this time without work."""
    aws: AwsConfig | None = None
    gcp: GcpConfig | None = None
    on_premise: OnPremiseConfig | None = None
    kuberay: KubeRayConfig | None = None
    slurm: SlurmConfig | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"name '{self.name}' must be at most 40 lower-case letters, digits and dashes")
        for variable in self.environment:
            if not _VARIABLE.fullmatch(variable):
                raise InputError("environment holds names of variables (upper case), never their values")
        if not self.job:
            raise InputError("job is empty; give the words of a command, such as [python, -m, pipelines.preprocess]")
        if self.train.max_nodes and not self.train.gpus and self.image.gpu:
            raise InputError("image.gpu is given but train has no GPUs; drop one or the other")
        if self.kuberay is not None and not self.image.cpu:
            raise InputError("kuberay needs image.cpu; build and push one as cluster/README.md shows")
        if self.decode.max_nodes + self.train.max_nodes == 0:
            raise InputError("decode and train have no machines at all; give one of them max_nodes")

    @property
    def platforms(self) -> tuple[str, ...]:
        """The sections that are present."""
        return tuple(name for name in PLATFORMS if getattr(self, name) is not None)

    @property
    def groups(self) -> dict[str, NodeGroup]:
        """The groups that have machines, by role."""
        both = {"decode": self.decode, "train": self.train}
        return {role: group for role, group in both.items() if group.max_nodes > 0}

    @property
    def command(self) -> list[str]:
        """The words of `job` with the places filled in."""
        places = {"{storage}": self.storage.rstrip("/"), "{shared_folder}": self.shared_folder}
        return [_fill(word, places) for word in self.job]

    def image_of(self, role: str) -> str:
        """The container image of a role's machines; empty for none."""
        return self.image.gpu if role == "train" and self.image.gpu else self.image.cpu


def role_labels(role: str) -> dict[str, str]:
    """The Ray labels of a role's machines; as a label selector, what asks for such a machine."""
    return {ROLE_LABEL: role}


def read_profile(path: Path) -> Profile:
    """A profile from its YAML file.

    Raises:
        InputError: the file cannot be read, holds something like a secret, has unknown or missing keys or values of
            the wrong kind, or has no section that says where to run.
    """
    plain = read_yaml(path)
    # First of all: later messages may repeat a value.
    refuse_secrets(plain, source=str(path))
    try:
        profile = from_plain(Profile, plain, source=str(path))
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(path)) else f"{path}: {message}") from error
    if not profile.platforms:
        raise InputError(f"{path}: says nowhere to run; add one of the sections {', '.join(PLATFORMS)}")
    return profile


def _fill(word: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        word = word.replace(place, value)
    return word
