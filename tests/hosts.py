"""Hosts with addresses of their own on one machine, and a Ray cluster on them (Linux, root).

Every host is a network namespace with one interface on a common switch, so nothing is reached by way of the loopback,
and has a Ray folder of its own, so nothing is found by way of the disk. What hosts share is the machine's other files:
their shared storage.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.benchmarks.reliability import descendants, title

HEAD = 1
"""Number of the host that schedules."""
GCS_PORT, DASHBOARD_PORT = 6379, 8265
PATIENCE = 300
"""Seconds after which something that has to happen has not."""
_NETWORK = "198.51.100"
"""Addresses for documentation (RFC 5737): nobody's on any real network."""
# What `ray start` prints when its node has joined.
_JOINED = "Ray runtime started"
# Processes of every node, and those that schedule.
_NOT_WORK = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::JobSupervisor", "ray::_")
_SCRIPTS = Path(sys.executable).parent


class Network:
    """Hosts 1 to `count` on a switch; gone when closed."""

    def __init__(self, count: int) -> None:
        self.prefix = f"mf{os.getpid()}"
        self.spaces = [f"{self.prefix}-{i}" for i in range(count + 1)]
        switch = self.spaces[0]
        try:
            for space in self.spaces:
                _ip("netns", "add", space)
                _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", switch, "link", "set", "switch", "up")
            for host in range(1, count + 1):
                self._plug_in(host, switch)
        except BaseException:
            self.close()
            raise

    def _plug_in(self, host: int, switch: str) -> None:
        space, port = self.spaces[host], f"port{host}"
        _ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", port, "netns", switch)
        _ip("-n", switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        # Leads nowhere; Ray and Gloo ask the system by which interface the world would be reached.
        _ip("-n", space, "route", "add", "default", "dev", "eth0")

    def address(self, host: int) -> str:
        return f"{_NETWORK}.{host}"

    def inside(self, host: int, command: Sequence[str]) -> list[str]:
        """The command line that runs a command on a host."""
        return ["ip", "netns", "exec", self.spaces[host], *command]

    def clear(self, host: int) -> None:
        """End every process on a host, also those whose parents have ended."""
        found = subprocess.run(["ip", "netns", "pids", self.spaces[host]], capture_output=True, text=True)
        for pid in map(int, found.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        for host in range(1, len(self.spaces)):
            self.clear(host)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


class Hosts:
    """A Ray cluster with token authentication: a head without CPUs, and workers with one each."""

    def __init__(self, scratch: Path, workers: int) -> None:
        self.scratch = scratch
        self.network = Network(1 + workers)
        self.workers = range(HEAD + 1, HEAD + 1 + workers)
        self.ray_folder = scratch / "ray"
        self.ray_folder.mkdir()
        self.token = scratch / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.logs: dict[int, Path] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What nodes and clients are given. Gloo cannot find the interface by the machine's name, which all share."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        # `python` is this Python on every host.
        clean["PATH"] = f"{_SCRIPTS}:{clean['PATH']}"
        return clean | auth | {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1", "RAY_API_SERVER_ADDRESS": self.url}

    @property
    def url(self) -> str:
        return f"http://{self.network.address(HEAD)}:{DASHBOARD_PORT}"

    def start(self, host: int, labels: Mapping[str, str] | None = None) -> None:
        """Start a host's node; returns at once."""
        own = self.scratch / f"host{host}-{time.monotonic_ns()}"
        own.mkdir()
        address = self.network.address(host)
        words = [str(_SCRIPTS / "ray"), "start", "--block", "--disable-usage-stats", f"--node-ip-address={address}"]
        words += [f"--object-store-memory={100 << 20}"]
        if labels:
            words.append("--labels=" + ",".join(f"{key}={value}" for key, value in labels.items()))
        if host == HEAD:
            words += ["--head", "--num-cpus=0", f"--port={GCS_PORT}", f"--temp-dir={self.ray_folder}"]
            words += [f"--dashboard-host={address}", f"--dashboard-port={DASHBOARD_PORT}"]
        else:
            words += [f"--address={self.network.address(HEAD)}:{GCS_PORT}", "--num-cpus=1"]
        # A folder of its own in the place where the head says that Ray's folder is.
        script = f'mount --bind {own} {self.ray_folder} && exec "$@"'
        self.logs[host] = own.with_suffix(".log")
        log = self.logs[host].open("wb")
        self.processes[host] = subprocess.Popen(
            self.network.inside(host, ["unshare", "--mount", "sh", "-c", script, "sh", *words]),
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def start_all(self) -> None:
        """The head, then all workers; returns when every one has joined."""
        self.start(HEAD)
        self.wait_for(HEAD)
        for host in self.workers:
            self.start(host)
        self.wait_for(*self.workers)

    def wait_for(self, *hosts: int) -> None:
        """Until these hosts' nodes have joined. Their logs say so; asking Ray costs seconds of processor time."""
        deadline = time.monotonic() + PATIENCE
        for host in hosts:
            while _JOINED not in self.logs[host].read_text():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"host {host} did not come up: {self.logs[host].read_text()[-1000:]}")
                if self.processes[host].poll() is not None:
                    # A node gives up after half a minute; on a busy machine that is not enough.
                    self.network.clear(host)
                    self.start(host)
                time.sleep(0.1)

    def family(self, host: int) -> list[int]:
        """Every process of a host's node."""
        pid = self.processes[host].pid
        return [pid, *descendants(pid)]

    def busy(self, host: int) -> list[str]:
        """What a host's workers are at."""
        titles = map(title, self.family(host))
        return [name for name in titles if name.startswith("ray::") and not name.startswith(_NOT_WORK)]

    def kill(self, host: int) -> None:
        """The host is gone from one moment to the next: kill -9 of its raylet and all else it runs."""
        for pid in self.family(host):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.pop(host).wait()

    def close(self) -> None:
        for host in list(self.processes):
            self.kill(host)
        self.network.close()
        self.token.unlink()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}; network namespaces need root")
