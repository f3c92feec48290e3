"""What workers refuse: bad input ends a run at once, however many failures are forgiven, and reaches the person bare.

Ray Train starts the workers again after any exception. That is right for a machine that went away and wasted time for
input that cannot be used: it will be refused again, once per retry, and a person waits for the one line that says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.train import TrainingFailedError, UserCallback

from mouse_facelift.errors import InputError


class RefusalsAreFinal(UserCallback):
    """Fails the whole run for a worker's `InputError`; every other exception is left to the `FailureConfig`.

    An exception in the controller is never retried, other than one of a worker; before it ends the run, the controller
    shuts down all workers, also those that wait for the refusing one in a collective.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by the controller when workers have raised; raises the refusal among their exceptions."""
        refusal = _refusal_among(worker_exceptions.values())
        if refusal is not None:
            raise refusal


def input_error_of(error: TrainingFailedError) -> InputError | None:
    """The `InputError` inside a failed run, if that is why it failed: raised by a worker or on the way to one."""
    return _refusal_among([*getattr(error, "worker_failures", {}).values(), getattr(error, "controller_failure", None)])


def _refusal_among(failures: Iterable[BaseException | None]) -> InputError | None:
    for failure in failures:
        # Ray Train wraps a worker's exception with its traceback, Ray's core one that crossed a task.
        for candidate in (getattr(failure, "cause", None), getattr(failure, "_base_exc", None), failure):
            if isinstance(candidate, InputError):
                return candidate
    return None
