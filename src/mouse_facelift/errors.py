"""The one exception that reaches a person: a clear line that names the file, the frame and the cure."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line: what is wrong, in which file (and frame), and what to do about it. The command line
    prints it without a traceback and exits with status 1; every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
