"""Some rows of a shard, without reading the rest of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import RESTORE
from mouse_facelift.storage import Store


def read_rows(store: Store, shard: str, rows: Sequence[int]) -> pa.Table:
    """The rows at these positions, in the order given; only the row groups that hold them are read.

    Raises:
        InputError: no such file, or it is damaged or shorter than that.
    """
    location = store.path(shard)
    try:
        system, path = fs.FileSystem.from_uri(location)
        with (
            system.open_input_file(path) as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as file,
        ):
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = list(accumulate(sizes, initial=0))[:-1]
            if not rows or max(rows) >= sum(sizes) or min(rows) < 0:
                raise InputError(f"{location}: holds {sum(sizes)} rows, not row {max(rows, default=0)}; {RESTORE}")
            needed = sorted({bisect_right(starts, row) - 1 for row in rows})
            table = file.read_row_groups(needed)
    except FileNotFoundError as error:
        raise InputError(f"{location} does not exist; {RESTORE}") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{location}: is damaged ({str(error).splitlines()[0].rstrip('.')}); {RESTORE}") from error
    position, positions = 0, {}
    for group in needed:
        positions |= {starts[group] + i: position + i for i in range(sizes[group])}
        position += sizes[group]
    return table.take([positions[row] for row in rows])
