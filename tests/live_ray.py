"""A real Ray head of one's own on this machine: its own folder, ports and token, ended by process id alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

START_LIMIT_S = 300.0
"""Long: on a busy machine the dashboard alone takes a minute."""
END_LIMIT_S = 10.0

# What would make a process join another Ray, or show another token.
FOREIGN = (
    *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"),
    "RAY_TMPDIR",
)


WORKER_PORTS = range(20000, 22000)
OTHER_PORTS = range(22000, 32000)
"""Apart, so that no worker takes what was chosen for a server; below those that the system hands out by itself."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(OTHER_PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


class LiveRay:
    """A head with token authentication, and nothing else on it.

    Args:
        cpus: logical CPUs it offers.
    """

    def __init__(self, cpus: int = 1) -> None:
        # Short: sockets' paths may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="mfr", dir="/tmp"))
        self.token_file = self.folder / "auth_token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(secrets.token_hex(16))
        names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
        names += ("dashboard-agent-grpc-port", "metrics-export-port", "node-manager-port", "object-manager-port")
        *ports, autoscaler_metrics, dashboard_metrics = free_ports(len(names) + 2)
        low = secrets.choice(WORKER_PORTS[:-50])
        self.ports = dict(zip(names, ports, strict=True))
        self.metrics_ports = {self.ports["metrics-export-port"], autoscaler_metrics, dashboard_metrics}
        """Prometheus's, which Ray opens to whoever can reach the machine."""
        self.address = f"http://127.0.0.1:{self.ports['dashboard-port']}"
        self.gcs_address = f"127.0.0.1:{self.ports['port']}"
        options = [f"--{name}={port}" for name, port in self.ports.items()]
        options += [f"--min-worker-port={low}", f"--max-worker-port={low + 50}"]
        options += [f"--num-cpus={cpus}", "--object-store-memory=100000000", f"--temp-dir={self.folder}/ray"]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        self._command = [*command, *options]
        self._environment = self.environment() | {
            "AUTOSCALER_METRIC_PORT": str(autoscaler_metrics),
            "DASHBOARD_METRIC_PORT": str(dashboard_metrics),
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{START_LIMIT_S:.0f}",
        }
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "start.log").open("a") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def session_folder(self) -> Path:
        """Ray's folder of this session: every process of this Ray names it on its command line, and no other's."""
        return (self.folder / "ray" / "session_latest").resolve()

    def environment(self, token: bool = True) -> dict[str, str]:
        """What a command needs to find this Ray; with its token or without any."""
        own = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        # `python` is this Python on the cluster, too; the home folder may hold another Ray's token.
        own |= {"PATH": f"{Path(sys.executable).parent}:{own['PATH']}", "HOME": str(self.folder)}
        return own | ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)} if token else {})

    def await_dashboard(self) -> None:
        """Wait until jobs can be sent."""
        request = urllib.request.Request(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token_file.read_text()}"}
        )
        end = time.monotonic() + START_LIMIT_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > end:
                    raise RuntimeError((self.folder / "start.log").read_text()) from error
                if self._process.poll() is not None:
                    # Ray allows a machine 30 s to start, fixed; on a very busy one that may not be enough.
                    self._kill_all()
                    self._process = self._start()
                time.sleep(0.3)

    def end(self) -> None:
        """End it and all that it started, and nothing else."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass
        self._kill_all()
        self._process.wait(END_LIMIT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_all(self) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pids(self) -> list[int]:
        """Processes of this Ray, by the folder that their command lines name."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.folder).encode() in words:
                    found.append(int(entry.name))
        return found
