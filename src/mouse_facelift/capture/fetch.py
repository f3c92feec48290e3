"""Recordings that lie elsewhere (``s3://``, ``gs://`` ...): a copy on this machine, made once and kept.

Decoders want files they can seek in, so a machine that works on a recording copies it whole, to a folder that has the
same path on every machine. A copy is as good as its size and time of change say; a file that has changed at its source
is copied again. Nothing is ever evicted: the cache is the user's to delete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store, is_uri

CACHE_VARIABLE = "MOUSE_FACELIFT_CACHE"
"""Environment variable that says where copies are kept; it has to say the same on every machine of a run."""
DEFAULT_CACHE = Path(tempfile.gettempdir()) / f"mouse_facelift-{os.getuid()}"
"""Where they are kept otherwise, readable by this user alone: not the home folder, which may be small."""


def local_recording(location: str | Path) -> Path:
    """The folder of a recording on this machine; one given by URI is copied first, or brought up to date.

    Processes of one machine that want the same recording wait for the one that copies it. A copy that was interrupted
    goes on at the file where it stopped.

    Raises:
        InputError: The URI cannot be opened, or holds no files.
    """
    if not is_uri(location):
        return Path(location).absolute()
    store = Store.at(location)
    place = store.uri.partition("?")[0]
    cache = _cache_root() / hashlib.sha256(place.encode()).hexdigest()[:16]
    folder = cache / store.name
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"):
        names = store.list()
        if not names:
            raise InputError(f"{place}: holds no files; give the place of a recording")
        for name in names:
            _bring(store, name, folder / name)
    return folder


def _cache_root() -> Path:
    """The folder of all copies. In a shared temporary folder somebody else's would be a trap, so it is refused."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    DEFAULT_CACHE.mkdir(mode=0o700, exist_ok=True)
    if DEFAULT_CACHE.stat().st_uid != os.getuid() or DEFAULT_CACHE.is_symlink():
        raise InputError(f"{DEFAULT_CACHE}: belongs to another user; name a folder of your own in {CACHE_VARIABLE}")
    return DEFAULT_CACHE


def _bring(store: Store, name: str, target: Path) -> None:
    size, changed_ns = store.state(name)
    if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (size, changed_ns):
        return
    store.download(name, target)
    if target.stat().st_size != size:
        target.unlink()
        raise InputError(f"{store.path(name)}: changed while it was copied; try again when it is complete")
    os.utime(target, ns=(changed_ns, changed_ns))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
