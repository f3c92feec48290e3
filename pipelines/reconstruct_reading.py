"""How Ray's tasks read units of samples for `reconstruct`.

Apart from its other files, which import PyTorch: one process per CPU reads, and none of them needs it.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import pyarrow as pa

from mouse_facelift.errors import InputError
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.storage import Store


def read_place(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    """The rows at ``place`` (pickled: shard, positions) as one value, which no block boundary can cut in two."""
    sink = io.BytesIO()
    try:
        table = read_rows(store, *pickle.loads(row["place"]))
    except InputError as error:
        return {"unit": row["unit"], "table": b"", "refused": str(error)}
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"unit": row["unit"], "table": sink.getvalue(), "refused": ""}
