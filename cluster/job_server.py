"""The connection to a cluster's head: its address, its token, and questions that outlive a dropped line.

Jobs go through Ray's own client (`ray.job_submission`). It asks without a time limit and gives up at the first error;
here every question ends in time and is asked again while the head cannot be reached.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mouse_facelift.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where a tunnel to a cluster, and Ray on one's own machine, listen."""

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_ASK_S = 30.0
"""A question without an answer for so long was lost; uploads are excepted."""
_UPLOAD_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

Answer = TypeVar("Answer")


def resolve_address(given: str, environment: Mapping[str, str]) -> str:
    """The head's URL, without a slash at its end: what was given, else RAY_API_SERVER_ADDRESS, else this machine.

    Raises:
        InputError: it is no URL of a dashboard, or carries a password.
    """
    text = given or environment.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    text = (text if "://" in text else f"http://{text}").rstrip("/")
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise InputError("the address holds a password; leave it out and give the token by RAY_AUTH_TOKEN_PATH")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
        raise InputError(f"{text}: is not a dashboard's address; give one like {DEFAULT_ADDRESS}")
    return text


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own; a tunnel's end is one."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def find_token(environment: Mapping[str, str]) -> str | None:
    """Ray's token, looked for where Ray looks: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Raises:
        InputError: RAY_AUTH_TOKEN_PATH names a file that cannot be read or is empty.
    """
    if environment.get("RAY_AUTH_TOKEN"):
        return environment["RAY_AUTH_TOKEN"].strip()
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path(environment.get("HOME", str(Path.home()))) / ".ray" / "auth_token"
    if not named and not path.exists():
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a token; see RAY_AUTH_TOKEN_PATH") from error
    if not token and named:
        raise InputError(f"{path}: is empty; put the cluster's token there, see RAY_AUTH_TOKEN_PATH")
    return token or None


def auth_headers(address: str, environment: Mapping[str, str]) -> dict[str, str]:
    """HTTP headers that show the token: everywhere where there is one, and nowhere without need for one.

    Raises:
        InputError: the address is another machine's, there is no token, and nobody said that none is needed.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        if not is_loopback(address):
            _say(f"warning: RAY_AUTH_MODE=disabled: whoever reaches {address} can run anything there")
        return {}
    token = find_token(environment)
    if token is None:
        if is_loopback(address) and mode != "token":
            return {}
        raise InputError(
            f"{address}: needs the cluster's token; put it into ~/.ray/auth_token or name its file by "
            "RAY_AUTH_TOKEN_PATH (a cluster without one: RAY_AUTH_MODE=disabled)"
        )
    if not is_loopback(address) and address.startswith("http://"):
        _say(f"warning: the token goes to {address} unencrypted; a tunnel to {DEFAULT_ADDRESS} would protect it")
    return {"Authorization": f"Bearer {token}"}


class JobServer:
    """The jobs of one cluster.

    Args:
        address: as `resolve_address` gives it.
        patience_s: how long to go on asking while the head cannot be reached; the first question is asked once, so
            that a mistyped address ends at once.
    """

    def __init__(self, address: str, patience_s: float) -> None:
        self.address = address
        self.headers = auth_headers(address, os.environ)
        self._patience_s = patience_s
        # Ray's client prefers the variable to its argument; here the command line has the last word.
        os.environ[ADDRESS_VARIABLE] = address
        self._client = self._explained(lambda: _new_client(address, dict(self.headers)))

    def submit(self, submission_id: str, entrypoint: str, runtime_env: dict[str, Any]) -> None:
        """Start a job. Asking again after a lost answer starts no second one: the id is taken by then.

        Raises:
            InputError: the head refuses it.
        """
        asked = 0

        def ask() -> None:
            nonlocal asked
            asked += 1
            try:
                self._client.submit_job(entrypoint=entrypoint, submission_id=submission_id, runtime_env=runtime_env)
            except RuntimeError as error:
                if asked == 1 or "already exists" not in str(error):
                    raise

        self.ask(ask)

    def details(self, submission_id: str) -> JobDetails:
        """What the head knows of a job.

        Raises:
            InputError: it does not know it.
        """
        return self.ask(lambda: self._client.get_job_info(submission_id), about=submission_id)

    def jobs(self) -> list[JobDetails]:
        """All submitted jobs that the head remembers, the oldest first."""
        found = [job for job in self.ask(self._client.list_jobs) if job.submission_id]
        return sorted(found, key=lambda job: job.start_time or 0)

    def stop(self, submission_id: str) -> bool:
        """Tell a job to end: SIGTERM, then SIGKILL; False if it had ended already."""
        return self.ask(lambda: self._client.stop_job(submission_id), about=submission_id)

    def ask(self, question: Callable[[], Answer], about: str = "") -> Answer:
        """Ask until there is an answer or patience ends.

        Raises:
            InputError: the head refuses, or cannot be reached for longer than the patience.
        """
        patience = Patience(self.address, self._patience_s)
        while True:
            try:
                return self._explained(question, about)
            except Unreachable as error:
                patience.wait(error)

    def _explained(self, question: Callable[[], Answer], about: str = "") -> Answer:
        """Ask once; what goes wrong, as one line.

        Raises:
            Unreachable: it may work later.
            InputError: it will not.
        """
        import requests
        from ray.exceptions import AuthenticationError

        try:
            return question()
        except AuthenticationError as error:
            raise refused(self.address, has_token=bool(self.headers)) from error
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise Unreachable(self.address, type(error).__name__) from error
        except RuntimeError as error:
            raise self._refusal(str(error), about) from error

    def _refusal(self, text: str, about: str) -> InputError:
        # What Ray's client says: "Request failed with status code 404: ..."; a head that starts or ends answers 5xx.
        status = text.partition("status code ")[2][:3]
        if status == "404" and about:
            return InputError(
                f"{self.address} knows no job {about}; `mouse-facelift job list` shows those it knows. If its head was "
                "restarted the job is lost: give the same command again, and it goes on where it stopped"
            )
        if status in ("502", "503", "504"):
            return Unreachable(self.address, f"status {status}")
        lines = [line.removesuffix(".") for line in text.splitlines() if line.strip(" .")]
        # A server's traceback says what it means in its last line.
        return InputError(f"{self.address} refuses: {lines[-1] if lines else text}")


class Unreachable(InputError):
    """The head does not answer; it may later."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(
            f"nothing answers at {address} ({why}); is the cluster up, and the tunnel to it open? (see "
            "cluster/README.md)"
        )


class Patience:
    """Pauses between attempts, longer and longer, until there have been enough.

    Args:
        address: for the message.
        total_s: how long a head may be away.
    """

    def __init__(self, address: str, total_s: float) -> None:
        self._address = address
        self._end = time.monotonic() + total_s
        self._pause_s = _FIRST_PAUSE_S

    def wait(self, error: Unreachable) -> None:
        """Pause.

        Raises:
            Unreachable: patience has ended; the error as it was.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise error
        if self._pause_s == _FIRST_PAUSE_S:
            _say(f"connection to {self._address} lost; trying again for {left:.0f} s")
        time.sleep(min(self._pause_s, left))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def refused(address: str, *, has_token: bool) -> InputError:
    """A head that does not accept what was shown to it."""
    if has_token:
        return InputError(
            f"{address}: refuses the token; RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token "
            "hold another cluster's"
        )
    return InputError(f"{address}: wants a token; put the cluster's into ~/.ray/auth_token, or see RAY_AUTH_TOKEN_PATH")


def _new_client(address: str, headers: dict[str, str]) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    # It tells every step of an upload.
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)

    class TimedClient(JobSubmissionClient):
        """Ray's client, with a limit on every request."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            options.setdefault("timeout", _UPLOAD_S if method == "PUT" else _ASK_S)
            return super()._do_request(method, endpoint, **options)

    return TimedClient(address, headers=headers)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
