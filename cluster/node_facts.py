"""What one machine says of itself: versions, clock, disks, storage, ports. Runs on every machine of a cluster.

Plain values only, so that the answers travel as JSON. Nothing heavy is imported: a package's version is read from its
metadata.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from cluster.ports import answer_without_token, listening, ray_pids
from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store

PACKAGES = (
    *("ray", "torch", "numpy", "pyarrow", "numba", "safetensors", "scipy", "tyro", "jaxtyping", "torchmetrics"),
    *("opencv-python-headless", "decord", "av", "gsplat", "diffusers", "transformers"),
)
"""What the applications need on every machine."""

_GPU_S = 20.0


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One machine. Sizes are in bytes."""

    name: str
    """Address, and host name where it differs."""
    role: str = ""
    """The value of its label `profile.ROLE_LABEL`; "" without one."""
    head: bool = False
    resources: dict[str, float] = field(default_factory=dict)
    """What it offers Ray."""
    error: str = ""
    """Why it could not be asked; the rest is empty then."""
    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    """Package -> version, of those that are installed."""
    skew_s: float = 0.0
    """Its clock less the driver's."""
    skew_error_s: float = 0.0
    auth: str = ""
    """Ray's authentication mode there."""
    memory: int = 0
    shared_memory: int = 0
    """Size of /dev/shm, where the object store lives."""
    disk: int = 0
    """Size of the disk that Ray's session lies on."""
    disk_free: int = 0
    storage: str = ""
    """Why the storage cannot be written or read there; "" where it can, or was not asked."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that its driver shows."""
    open_ports: tuple[str, ...] = ()
    """HTTP ports of its Ray that other machines may reach and that answer without the token."""
    refusing_ports: int = 0
    """HTTP ports of its Ray that refuse."""


def look_here(session_folder: str, storage: str, token: str) -> dict[str, object]:
    """The facts of this machine, as `NodeFacts` takes them.

    Args:
        session_folder: Ray's folder of the session here.
        storage: URI or folder to write to and read from; "" for none.
        token: a word that makes the names of this look's files its own.
    """
    disk = shutil.disk_usage(session_folder if os.path.isdir(session_folder) else tempfile.gettempdir())
    opened, refusing = _http_ports(session_folder)
    return {
        "python": platform.python_version(),
        "versions": versions(),
        "auth": _auth_mode(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "shared_memory": shutil.disk_usage("/dev/shm").total if os.path.isdir("/dev/shm") else 0,
        "disk": disk.total,
        "disk_free": disk.free,
        "storage": try_storage(storage, f"{token}-{socket.gethostname()}-{os.getpid()}") if storage else "",
        "gpus": tuple(_gpus()),
        "open_ports": opened,
        "refusing_ports": refusing,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def try_storage(location: str, name: str) -> str:
    """Write a small file, read it back and remove it; "" where all of that works, else what does not."""
    store = Store.at(location)
    folder = f".doctor-{name}"
    content = f"{name} {time.time()}".encode()
    try:
        store.write(f"{folder}/probe", content)
        try:
            if store.read(f"{folder}/probe") != content:
                return f"{location}: gives back something else than what was written"
        finally:
            store.delete(folder)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{location}: {error}"
    return ""


def _http_ports(session_folder: str) -> tuple[tuple[str, ...], int]:
    answers = [(port, answer_without_token(port)) for port in listening(ray_pids(session_folder)) if port.reachable]
    opened = tuple(f"{port.host}:{port.port} ({port.process})" for port, answer in answers if answer == "answers")
    return opened, sum(answer == "refuses" for _, answer in answers)


def _auth_mode() -> str:
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return "token" if is_token_auth_enabled() else "disabled"


def _gpus() -> list[str]:
    """Names of the GPUs, from their driver; it does not matter which of them Ray lends to this process."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]
