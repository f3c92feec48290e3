"""Follows a job's log to its end, through dropped connections, without losing or repeating a character.

The head sends a log from its beginning whenever somebody asks for it; what was printed already is skipped by its
length. A line that is dead but not closed - a laptop that slept, a tunnel that hangs - is silent, and so is a busy job:
after some silence the log is asked for anew. (Pings would not tell: the head does not read while it sends a log.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from cluster.job_server import JobServer, Patience, Unreachable, refused

if TYPE_CHECKING:
    import aiohttp
    from ray.job_submission import JobDetails

CONNECT_S = 15.0
SILENCE_S = 120.0
"""After so long without a word the connection is made anew."""
STOPPED = 143
"""Exit status of a job that was stopped: 128 + SIGTERM, as shells say it."""

_STATUS_PAUSE_S = 0.5
_LAST_WORDS = 3
"""How often the log of a job that has ended is asked for, when the connection breaks each time."""


def follow(server: JobServer, submission_id: str, write: Callable[[str], None], patience_s: float) -> JobDetails:
    """Print a job's log until the job has ended.

    Args:
        server: the cluster.
        submission_id: the job.
        write: takes each piece of the log.
        patience_s: how long the head may be away.

    Raises:
        InputError: the head does not know the job (any more), or was away for too long.
    """
    printed = lost = 0
    patience = Patience(server.address, patience_s)
    while True:
        details = server.details(submission_id)
        begun = time.monotonic()
        try:
            printed = asyncio.run(_print_new(server, submission_id, write, printed))
        except _Dropped as dropped:
            if dropped.printed > printed or time.monotonic() - begun > CONNECT_S:
                # It did work for a while: this is a new interruption.
                patience = Patience(server.address, patience_s)
            printed = dropped.printed
            lost += details.status.is_terminal()
            if lost == _LAST_WORDS:
                # The machine that held the log is gone; how the job ended is known.
                write("(the rest of the log cannot be read any more)\n")
                return details
            patience.wait(dropped.error)
            continue
        # A job that was over before the log was read to its end has no more to say.
        if details.status.is_terminal():
            return details
        time.sleep(_STATUS_PAUSE_S)


def exit_status(details: JobDetails) -> int:
    """What the command that sent a job ends with: the job's own status."""
    if details.status == "SUCCEEDED":
        return 0
    if details.status == "STOPPED":
        return STOPPED
    code = details.driver_exit_code
    if not code:
        return 1
    # Ended by a signal: Python says -9, shells say 137.
    return code if code > 0 else 128 - code


class _Dropped(Exception):
    """The connection broke after so many characters of the log."""

    def __init__(self, printed: int, error: Unreachable) -> None:
        super().__init__(str(error))
        self.printed = printed
        self.error = error


async def _print_new(server: JobServer, submission_id: str, write: Callable[[str], None], printed: int) -> int:
    """Print what comes after the first `printed` characters; gives how many are printed in the end."""
    read = 0
    try:
        async for text in _pieces(server, submission_id):
            new = text[max(0, printed - read) :]
            read += len(text)
            if new:
                write(new)
                printed = read
    except Unreachable as error:
        raise _Dropped(printed, error) from error
    return printed


async def _pieces(server: JobServer, submission_id: str) -> AsyncIterator[str]:
    """The log as the head sends it, from its beginning, until the head closes or is silent.

    Raises:
        Unreachable: the connection broke.
        InputError: the head refuses the token.
    """
    import aiohttp

    url = f"{server.address}/api/jobs/{submission_id}/logs/tail"
    limit = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S)
    # The head does not wait for a farewell either.
    farewell = aiohttp.ClientWSTimeout(ws_close=1.0)  # pyright: ignore[reportCallIssue]
    farewells = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
    try:
        async with (
            aiohttp.ClientSession(headers=server.headers, timeout=limit) as session,
            session.ws_connect(url, max_msg_size=0, timeout=farewell) as socket,
        ):
            while True:
                message = await _next(socket)
                if message is None or message.type in farewells:
                    break
                if message.type != aiohttp.WSMsgType.TEXT:
                    raise Unreachable(server.address, "the connection broke")
                yield message.data
            if message is not None and socket.close_code != aiohttp.WSCloseCode.OK:
                raise Unreachable(server.address, "the connection broke")
    except aiohttp.WSServerHandshakeError as error:
        if error.status in (401, 403):
            raise refused(server.address, has_token=bool(server.headers)) from None
        raise Unreachable(server.address, f"status {error.status}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(server.address, type(error).__name__) from error


async def _next(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage | None:
    """The next message; None when there was none for a long time."""
    try:
        return await socket.receive(timeout=SILENCE_S)
    except TimeoutError:
        return None
