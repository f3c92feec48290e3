"""Where results are kept: a folder on any file system that ``pyarrow.fs`` opens (a path, ``s3://``, ``gs://`` ...)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from mouse_facelift.errors import InputError

# Bytes that a download holds in memory.
_PIECE = 8 << 20
# Key of the digest in a Parquet file's own metadata.
_DIGEST = b"content_sha256"
_AGAIN = "copy it again from its source, or make it again in another folder"

Result = TypeVar("Result")


def inside(name: str) -> str:
    """``name`` itself, if it stays inside the folder it is put in; names can come from files nobody checked.

    Raises:
        InputError: an empty or absolute name, or one with "..".
    """
    if not name or name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise InputError(f"the name {name!r} would leave its folder; rename what it comes from")
    return name


def is_uri(location: str | Path) -> bool:
    """Whether a location names its file system (``s3://...``) rather than being a path."""
    return "://" in str(location)


@dataclass(frozen=True)
class Store:
    """A root folder on a file system, with writes that are never seen half done.

    Holds only the URI, so that it travels to workers; each process opens the file system itself.
    """

    uri: str

    @staticmethod
    def at(location: str | Path) -> Store:
        """The store at a local path (made absolute) or a URI; a URI's options, after "?", stay with it."""
        text = str(location)
        if not is_uri(text):
            return Store(str(Path(text).absolute()))
        place, mark, options = text.partition("?")
        return Store(place.rstrip("/") + mark + options)

    @property
    def name(self) -> str:
        """The last part of the store's place: the name of the folder, without a URI's options."""
        return self._parts[0].rpartition("/")[2]

    def path(self, name: str) -> str:
        """Full location of a file of the store, for messages and readers."""
        place, options = self._parts
        return f"{place}/{name}{options}" if name else self.uri

    def exists(self, name: str) -> bool:
        system, path = self._locate(name)
        with self._explained(name):
            return system.get_file_info(path).type != fs.FileType.NotFound

    def list(self, folder: str = "", suffix: str = "") -> list[str]:
        """Names (relative to the store) of all files below ``folder``, sorted."""
        system, root = self._open()
        selector = fs.FileSelector(posixpath.join(root, folder), recursive=True, allow_not_found=True)
        with self._explained(folder):
            infos = system.get_file_info(selector)
        names = [posixpath.relpath(i.path, root) for i in infos if i.type == fs.FileType.File]
        return sorted(n for n in names if n.endswith(suffix) and not n.endswith(".tmp"))

    def state(self, name: str) -> tuple[int, int]:
        """(size in bytes, time of the last change in ns) of a file: together they tell one state of it from another."""
        system, path = self._locate(name)
        with self._explained(name):
            info = system.get_file_info(path)
        if info.type != fs.FileType.File:
            raise InputError(f"{self.path(name)} does not exist")
        return info.size, info.mtime_ns

    def download(self, name: str, target: Path) -> None:
        """Copy a file of the store to a local path, piece by piece; it appears there whole or not at all."""
        system, path = self._locate(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.tmp")
        with self._explained(name), system.open_input_stream(path) as stream, partial.open("wb") as written:
            while piece := stream.read(_PIECE):
                written.write(piece)
        partial.replace(target)

    def read(self, name: str) -> bytes:
        """A file's bytes; a missing file is an :class:`InputError`."""
        system, path = self._locate(name)
        with self._explained(name), system.open_input_stream(path) as stream:
            return stream.read()

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the store that holds an object, as all of ours do.

        Raises:
            InputError: it does not exist, or is not such a file (any more).
        """
        try:
            content = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path(name)}: is not JSON ({error}); {_AGAIN}") from error
        if not isinstance(content, dict):
            raise InputError(f"{self.path(name)}: holds no JSON object; {_AGAIN}")
        return content

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all: temporary name and rename locally, a single PUT on object stores."""
        system, target = self._locate(name)
        local = isinstance(system, fs.LocalFileSystem)
        written = f"{target}.tmp" if local else target
        with self._explained(name, "cannot be written: no such place"):
            if local:
                system.create_dir(posixpath.dirname(target), recursive=True)
            with system.open_output_stream(written) as stream:
                stream.write(data)
            if local:
                system.move(written, target)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file of the store; those of ``columns`` that it does not have are left out.

        Raises:
            InputError: it does not exist, is no Parquet file, or a page is not what was written.
        """
        return self._parquet(name, whole=columns is None, use=lambda file: file.read(columns))

    def table_digest(self, name: str) -> str:
        """What :meth:`write_table` with ``digest`` says of a table's content, from the file's last bytes alone."""
        metadata = self._parquet(name, whole=False, use=lambda file: file.schema_arrow.metadata) or {}
        if _DIGEST not in metadata:
            raise InputError(f"{self.path(name)}: does not say what it holds; make the dataset again")
        return metadata[_DIGEST].decode()

    def _parquet(self, name: str, whole: bool, use: Callable[[pq.ParquetFile], Result]) -> Result:
        """Use a Parquet file, read whole first or only where it is asked."""
        system, path = self._locate(name)
        with self._explained(name):
            source = io.BytesIO(self.read(name)) if whole else system.open_input_file(path)
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                return use(file)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(f"{self.path(name)}: is damaged ({reason}); {_AGAIN}") from error
        finally:
            source.close()

    def write_table(self, name: str, table: pa.Table, *, digest: bool = False) -> None:
        """Write Parquet, whole or not at all; equal tables give equal bytes.

        With ``digest`` the file itself says what it holds (:meth:`table_digest`), so that a dataset's fingerprint needs
        no more than a few bytes of each shard, whoever wrote it. What our tables hold is compressed already: no codec,
        no dictionary. Small row groups (1-8 MB of images) are what readers parallelise over. Checksums: a number that
        disk or network changed is a number like any other.
        """
        data = _parquet_bytes(table)
        if digest:
            said = {**(table.schema.metadata or {}), _DIGEST: hashlib.sha256(data).hexdigest().encode()}
            data = _parquet_bytes(table.replace_schema_metadata(said))
        self.write(name, data)

    def delete(self, folder: str) -> None:
        """Remove a folder of the store and all it holds."""
        system, path = self._locate(folder)
        with contextlib.suppress(FileNotFoundError):
            system.delete_dir(path)

    @contextlib.contextmanager
    def _explained(self, name: str, absent: str = "does not exist") -> Iterator[None]:
        """What the file system says, as one line that names the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise InputError(f"{self.path(name)} {absent}") from error
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{self.path(name)}: {reason}; check the place, the space left and the credentials"
            ) from error

    @property
    def _parts(self) -> tuple[str, str]:
        """Place and options ("" or from the "?" on); a local path may hold a "?" of its own."""
        if not is_uri(self.uri):
            return self.uri, ""
        place, mark, options = self.uri.partition("?")
        return place, mark + options

    def _locate(self, name: str) -> tuple[fs.FileSystem, str]:
        """The file system, and a file's path on it; a name that leaves the store is refused."""
        system, root = self._open()
        return system, posixpath.join(root, inside(name))

    def _open(self) -> tuple[fs.FileSystem, str]:
        try:
            return fs.FileSystem.from_uri(self.uri)
        except (ValueError, OSError) as error:
            raise InputError(f"cannot open {self.uri}: {error}") from error


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=16, write_page_checksum=True)
    return sink.getvalue()
