"""`mouse-facelift job list|status|attach|stop`: what became of jobs that were sent to a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cluster.job_server import JobServer, resolve_address
from cluster.submit import watch
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

_STOP_POLL_S = 0.5
# A job gets SIGTERM, and SIGKILL three seconds later (RAY_JOB_STOP_WAIT_TIME_S on the cluster).
_STOP_LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Settings of `job`."""

    action: Annotated[Literal["list", "status", "attach", "stop"], tyro.conf.Positional]
    """list: all jobs; status: one line; attach: its output from the beginning, and its exit status; stop: end it."""
    id: Annotated[str, tyro.conf.Positional] = ""
    """The job, as `submit` named it."""
    address: str = ""
    """The cluster's dashboard; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 by default."""
    patience_s: float = 600.0
    """How long the head may be unreachable before this command gives up (s)."""

    def __post_init__(self) -> None:
        if bool(self.id) != (self.action != "list"):
            raise InputError(
                "job list takes no id" if self.id else f"job {self.action} needs an id; `job list` shows them"
            )


def describe(job: JobDetails, now_s: float) -> str:
    """One line: id, state, how long it ran (has been running), its command."""
    began = (job.start_time or 0) / 1000
    seconds = max(0.0, (job.end_time / 1000 if job.end_time else now_s) - began)
    code = f" ({job.driver_exit_code})" if job.driver_exit_code else ""
    return f"{job.submission_id}  {job.status}{code}  {seconds:.0f} s  {job.entrypoint}"


def stop(server: JobServer, submission_id: str) -> str:
    """End a job and wait until it has ended; gives what to tell.

    Raises:
        InputError: no such job, or it does not end.
    """
    if not server.stop(submission_id):
        return f"{submission_id} had ended already ({server.details(submission_id).status.lower()})"
    end = time.monotonic() + _STOP_LIMIT_S
    while not (details := server.details(submission_id)).status.is_terminal():
        if time.monotonic() > end:
            raise InputError(f"{submission_id} was told to stop but still runs after {_STOP_LIMIT_S:g} s; ask again")
        time.sleep(_STOP_POLL_S)
    return (
        f"{submission_id} {details.status.lower()}; the same command goes on where it stopped: mouse-facelift submit "
        f"-- {details.entrypoint}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: 0, except for `attach`, which ends with the job's exit status."""
    config = parse(JobConfig, argv, prog="mouse-facelift job", description="Jobs on a cluster.")
    server = JobServer(resolve_address(config.address, os.environ), config.patience_s)
    if config.action == "attach":
        return watch(server, config.id, config.patience_s)
    if config.action == "stop":
        print(stop(server, config.id))
    elif config.action == "status":
        print(describe(server.details(config.id), time.time()))
    else:
        jobs = server.jobs()
        print("\n".join(describe(job, time.time()) for job in jobs) if jobs else f"{server.address} knows no jobs")
    return 0


if __name__ == "__main__":
    run_verb(main)
