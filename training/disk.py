"""A full disk while a run writes: one clear line instead of a library's traceback.

The run then stops. Going on would spend hours on steps that may never be kept; stopped, it has lost the steps since
its last whole checkpoint and nothing else, and continues with --resume when there is space.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mouse_facelift.errors import InputError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WORDS = ("no space left", "disk quota exceeded", "file too large", "os error 28", "unexpected pos")
"""What safetensors, PyTorch's file writer and Arrow say where they do not pass the system's error on."""


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that there was no space to write."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if any(words in str(seen).lower() for words in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def explained_full_disk(what: str, folder: Path) -> Iterator[None]:
    """Turn a full disk into one line.

    Args:
        what: what is written inside, such as "the checkpoint of step 200".
        folder: the run's folder.

    Raises:
        InputError: the disk was full. Any other error passes through.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise InputError(
            f"{folder}: no space left to write {what}; earlier checkpoints are whole: free space there and in the "
            "temporary folder, then continue with --resume"
        ) from error
