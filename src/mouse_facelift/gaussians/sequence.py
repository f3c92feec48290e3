"""The sequence file: the Gaussians of all frames of a recording, each of them a row that can be read by itself.

A Parquet file of :data:`~mouse_facelift.gaussians.sequence_row.SEQUENCE_SCHEMA`, a row group per frame: any frame is a
few short reads away, on a disk or on an object store, and pyarrow, pandas or DuckDB read it without this code. The
index lies in the footer, as the statistics of the columns that name the frame.

It is written in units of any size, each a file of its own beside the sequence, whole or not at all. A run that was
stopped asks which units are there, writes the rest and joins them; units, not time, decide what the file holds, so that
an interrupted run gives the same bytes.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from pyarrow import fs

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.sequence_row import (
    INDEX,
    SEQUENCE_SCHEMA,
    FrameIndex,
    SequenceFrame,
    frame_from_row,
    row_from_frame,
)
from mouse_facelift.storage import Store

SUFFIX = ".sequence.parquet"
"""What a sequence file's name ends in."""
_PARTS = ".parts"
_AGAIN = "copy it again from its source, or reconstruct the recording again"
_PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": False,
    "write_statistics": list(INDEX),
    "write_page_checksum": True,
}


@dataclass(frozen=True)
class SequenceWriter:
    """Writes a sequence unit by unit; small and picklable, so that several workers may each write their units.

    Attributes:
        store: The folder that the sequence goes to.
        name: The file's name in it; ends in :data:`SUFFIX`.
    """

    store: Store
    name: str

    def __post_init__(self) -> None:
        if not self.name.endswith(SUFFIX):
            raise InputError(f"{self.name}: a sequence file's name ends in {SUFFIX}; rename it")

    def written(self) -> set[str]:
        """Units that need not be written again."""
        folder = self.name + _PARTS
        names = self.store.list(folder, ".parquet")
        return {name[len(folder) + 1 : -len(".parquet")] for name in names}

    def write(self, unit: str, frames: Iterable[SequenceFrame]) -> None:
        """Write one unit, replacing an earlier one; its frames stay in the order given.

        Args:
            unit: A name of the unit's own, without a slash.
            frames: May be none at all, where nothing of a unit could be used.

        Raises:
            InputError: A frame that cannot be kept (see `row_from_frame`), or the place cannot be written.
        """
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, SEQUENCE_SCHEMA, **_PARQUET) as writer:
            for frame in frames:
                writer.write_table(pa.Table.from_pylist([row_from_frame(frame)], SEQUENCE_SCHEMA))
        self.store.write(self._part(unit), sink.getvalue())

    def finish(self, units: Sequence[str]) -> int:
        """Join units, in the order given, into the sequence file, and remove them. Returns the number of frames.

        Repeating it after it was done does nothing.

        Raises:
            InputError: A unit is absent or damaged, or two frames have one sample id.
        """
        if not self.written() and self.store.exists(self.name):
            return len(Sequenced.open(self.store.path(self.name)))
        seen: set[str] = set()
        with _whole(self.store, self.name) as stream, pq.ParquetWriter(stream, SEQUENCE_SCHEMA, **_PARQUET) as writer:
            for unit in units:
                part = self.store.read_table(self._part(unit))
                for row, sample in enumerate(part["sample_id"].to_pylist()):
                    if sample in seen:
                        raise InputError(f"{self.name}: unit {unit} holds frame {sample} again; give each unit once")
                    seen.add(sample)
                    writer.write_table(part.slice(row, 1))
        self.store.delete(self.name + _PARTS)
        return len(seen)

    def _part(self, unit: str) -> str:
        return f"{self.name}{_PARTS}/{unit}.parquet"


def shift_sequence(store: Store, name: str, shifts: Mapping[str, Float[np.ndarray, "3"]]) -> bool:
    """Move the frames of a sequence file as wholes; the Gaussians' own numbers are copied as they are.

    Args:
        store, name: The file.
        shifts: By sample id, millimetres, from where the frame was reconstructed: an earlier shift is replaced, and a
            frame that is not named goes back.

    Returns:
        Whether anything had to change; if not, the file is not written.
    """
    sequence, none = Sequenced.open(store.path(name)), np.zeros(3)
    wanted = [np.asarray(shifts.get(moment.sample_id, none), np.float64) for moment in sequence.index]
    found = [np.array(row["shift_mm"]) for row in sequence.columns(["shift_mm"])]
    if all((a == b).all() for a, b in zip(wanted, found, strict=True)):
        return False
    with _whole(store, name) as stream, pq.ParquetWriter(stream, SEQUENCE_SCHEMA, **_PARQUET) as writer:
        for number, shift in enumerate(wanted):
            row = sequence.row(number)
            row["centre_mm"] = np.array(row["centre_mm"]) - row["shift_mm"] + shift
            writer.write_table(pa.Table.from_pylist([row | {"shift_mm": shift}], SEQUENCE_SCHEMA))
    return True


@contextlib.contextmanager
def _whole(store: Store, name: str) -> Iterator[pa.NativeFile]:
    """A stream to a file of the store that may be larger than memory; locally it appears when it is complete."""
    system, target = fs.FileSystem.from_uri(store.path(name))
    written = f"{target}.tmp" if isinstance(system, fs.LocalFileSystem) else target
    try:
        with system.open_output_stream(written) as stream:
            yield stream
        if written != target:
            system.move(written, target)
    except OSError as error:
        raise InputError(f"{store.path(name)}: cannot be written ({str(error).splitlines()[0]})") from error


@dataclass(frozen=True, eq=False)
class Sequenced:
    """A sequence file, opened: frames are read when they are asked for."""

    location: str
    _file: pq.ParquetFile

    @staticmethod
    def open(location: str) -> Sequenced:
        """Open a path or URI; reads the footer alone.

        Raises:
            InputError: There is no such file, or it is not (or no longer) a sequence.
        """
        location = Store.at(location).uri
        try:
            system, path = fs.FileSystem.from_uri(location)
            file = pq.ParquetFile(system.open_input_file(path), page_checksum_verification=True)
        except FileNotFoundError as error:
            raise InputError(f"{location} does not exist; give the path of a *{SUFFIX} file") from error
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{location}: is damaged ({_first_line(error)}); {_AGAIN}") from error
        found, wanted = file.schema_arrow, SEQUENCE_SCHEMA
        # Parquet names what a list holds differently, so that equal schemas do not compare as equal.
        if found.names != wanted.names or found.metadata != wanted.metadata:
            raise InputError(f"{location}: is not a sequence of Gaussians of this version; {_AGAIN}")
        return Sequenced(location, file)

    def __len__(self) -> int:
        return self._file.metadata.num_row_groups

    @cached_property
    def index(self) -> list[FrameIndex]:
        """Which moment each frame is, without reading any."""
        metadata, columns = self._file.metadata, [SEQUENCE_SCHEMA.get_field_index(name) for name in INDEX]
        groups = (metadata.row_group(number) for number in range(len(self)))
        try:
            return [FrameIndex(*(group.column(column).statistics.min for column in columns)) for group in groups]
        except AttributeError as error:
            raise InputError(f"{self.location}: its index is gone; {_AGAIN}") from error

    def frame(self, number: int) -> SequenceFrame:
        """The frame at a position, counted from 0 in the file's order.

        Raises:
            IndexError: There is no such position.
            InputError: The file is damaged there.
        """
        try:
            return frame_from_row(self.row(number))
        except InputError as error:
            if str(error).startswith(self.location):
                raise
            raise InputError(f"{self.location}: {error}; {_AGAIN}") from error

    def row(self, number: int) -> dict[str, Any]:
        """The row of :data:`SEQUENCE_SCHEMA` at a position; raises as :meth:`frame` does."""
        if not 0 <= number < len(self):
            raise IndexError(f"{self.location} has frames 0 to {len(self) - 1}, not {number}")
        try:
            return self._file.read_row_group(number).to_pylist()[0]
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.location}: frame {number} is damaged ({_first_line(error)}); {_AGAIN}") from error

    def columns(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of all frames, without the Gaussians.

        Raises:
            InputError: The file is damaged there.
        """
        try:
            return self._file.read(list(names)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.location}: is damaged ({_first_line(error)}); {_AGAIN}") from error

    def __iter__(self) -> Iterator[SequenceFrame]:
        return (self.frame(number) for number in range(len(self)))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")
