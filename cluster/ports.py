"""Which ports a Ray on this machine listens on, who can reach them, and which of them answer without the token.

Linux only: read from /proc, so that nothing needs to be installed. Elsewhere nothing is found.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_LISTENS = "0A"
_ANSWER_S = 2.0

Answer = Literal["refuses", "answers", "no HTTP"]


@dataclass(frozen=True)
class Port:
    """A port that a process listens on."""

    host: str
    """The address it is bound to; "0.0.0.0" and "::" are every address of the machine."""
    port: int
    process: str
    """The process's name."""

    @property
    def reachable(self) -> bool:
        """Whether other machines can try to connect."""
        return not ipaddress.ip_address(self.host).is_loopback

    @property
    def near(self) -> str:
        """Where this machine itself reaches it."""
        address = ipaddress.ip_address(self.host)
        return "127.0.0.1" if address.is_unspecified or getattr(address, "ipv4_mapped", None) else self.host


def ray_pids(folder: str) -> list[int]:
    """The processes of the Ray whose session lies in `folder`, by their command lines and those of their parents."""
    parents: dict[int, int] = {}
    named: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(entry.name)
            if folder.encode() in (entry / "cmdline").read_bytes():
                named.add(pid)
            # After the name, which may hold anything and ends in the last ")": state, parent.
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            # It ended while we looked.
            continue
    # The process that asks would find itself by its own arguments.
    named.discard(os.getpid())
    workers = {pid for pid, parent in parents.items() if parent in named}
    return sorted(named | workers)


def listening(pids: Iterable[int]) -> list[Port]:
    """The TCP ports that processes listen on, sorted by number."""
    open_sockets = _listening_sockets()
    found = set()
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            files = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for file in files:
            if place := open_sockets.get(_target(file).removeprefix("socket:[").removesuffix("]")):
                found.add(Port(*place, name))
    # A socket may be shared by a process and its children.
    by_place = {(port.host, port.port): port for port in sorted(found, key=lambda port: port.process, reverse=True)}
    return sorted(by_place.values(), key=lambda port: (port.port, port.host))


def answer_without_token(port: Port, path: str = "/api/version") -> Answer:
    """What an HTTP request without a token gets: a refusal (401, 403), something else, or no HTTP at all.

    The dashboard shows its empty page to everybody, so that people can type the token there: "/" would say nothing.
    """
    connection = http.client.HTTPConnection(port.near, port.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        return "refuses" if connection.getresponse().status in (401, 403) else "answers"
    except (OSError, http.client.HTTPException):
        return "no HTTP"
    finally:
        connection.close()


def _target(file: Path) -> str:
    """What an open file is; "" if it was closed since."""
    try:
        return os.readlink(file)
    except OSError:
        return ""


def _listening_sockets() -> dict[str, tuple[str, int]]:
    """Inode -> (address, port) of every listening TCP socket of this machine."""
    sockets = {}
    for name in ("tcp", "tcp6"):
        table = Path("/proc/net") / name
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS:
                address, _, port = words[1].partition(":")
                sockets[words[9]] = (_address(address), int(port, 16))
    return sockets


def _address(text: str) -> str:
    """An address of /proc/net/tcp: 32-bit words in the machine's byte order, which is little-endian on x86 and ARM."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
