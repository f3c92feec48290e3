"""A dataset on disk: Parquet shards by split, ``rejected.parquet`` and ``dataset.json``, which says what they are.

``dataset.json`` exists only when the run that makes the dataset is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import (
    AGREEMENT_COLUMNS,
    PHOTOMETRY,
    RESTORE,
    SAMPLE_SCHEMA,
    SCHEMA_VERSION,
    Sample,
    placed,
    sample_from_row,
)
from mouse_facelift.samples.verdict import VERDICT_COLUMNS, VerdictConfig, judge_rows
from mouse_facelift.storage import Store

MANIFEST = "dataset.json"
REJECTED = "rejected.parquet"
# Rows that were written before the gate looked at brightness lack these; everything else is read.
_NEEDED = tuple(name for name in SAMPLE_SCHEMA.names if name not in PHOTOMETRY)
_MANIFEST_KEYS = ("fingerprint", "similarity", "counts", "rejected_reasons", "captures", "config", "shards")
_NO_ROWS = pa.schema([SAMPLE_SCHEMA.field(name) for name in VERDICT_COLUMNS]).empty_table()


@dataclass(frozen=True)
class Dataset:
    """A complete dataset, opened for reading."""

    store: Store
    manifest: dict[str, Any]

    def shards(self, split: str) -> list[str]:
        """Names of a split's shards that hold rows, relative to the store, in order of capture and time."""
        return [name for name, rows in self.manifest["shards"].items() if rows and name.startswith(f"split={split}/")]

    def count(self, split: str) -> int:
        """Number of samples of a split."""
        return sum(self.manifest["shards"][name] for name in self.shards(split))

    def samples(self, split: str, only: Collection[int] | None = None) -> Iterator[Sample]:
        """The split's samples in order, or those at the positions ``only``; decoded one at a time."""
        first = 0
        for name in self.shards(split):
            rows = range(first, first + self.manifest["shards"][name])
            first = rows.stop
            wanted = rows if only is None else [row for row in rows if row in only]
            if not wanted:
                continue
            table = self.store.read_table(name)
            absent = [column for column in _NEEDED if column not in table.column_names]
            if absent or table.num_rows != len(rows):
                found = f"has no column {', '.join(absent)}" if absent else f"holds {table.num_rows} rows"
                raise InputError(f"{self.store.path(name)}: {found}, {MANIFEST} says {len(rows)} samples; {RESTORE}")
            for row in wanted:
                with placed(f"{self.store.path(name)}, row {row - rows.start}"):
                    sample = sample_from_row(table.slice(row - rows.start, 1).to_pylist()[0])
                yield sample


def open_dataset(location: str) -> Dataset:
    """Open a dataset folder or URI.

    Raises:
        InputError: There is none, its run did not finish, another version of the software wrote it, or its manifest
            is damaged.
    """
    store = Store.at(location)
    if not store.exists(MANIFEST):
        cure = "give its command again to finish it" if store.list() else "nothing is there: check the path"
        raise InputError(f"{store.uri} is not a complete dataset (no {MANIFEST}); {cure}")
    manifest = store.read_json(MANIFEST)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        cure = "update the software" if newer else "preprocess the capture again"
        raise InputError(
            f"{store.path(MANIFEST)}: schema version {version}, this software reads {SCHEMA_VERSION}; {cure}"
        )
    absent = [key for key in _MANIFEST_KEYS if key not in manifest]
    if absent:
        raise InputError(f"{store.path(MANIFEST)}: has no {', '.join(absent)}; {RESTORE}")
    return Dataset(store, manifest)


def describe_capture(capture: Capture) -> dict[str, Any]:
    """A capture's identity and calibration as plain values, for the manifest."""
    cameras = {
        view.name: {
            "K": view.camera.K.tolist(),
            "R": view.camera.R.tolist(),
            "t": view.camera.t.tolist(),
            "distortion": None if view.camera.distortion is None else view.camera.distortion.tolist(),
            "size": [view.camera.width, view.camera.height],
        }
        for view in capture.views
    }
    return {
        "name": capture.name,
        "layout": capture.layout,
        "frames": capture.frame_count,
        "fps": capture.fps,
        "pixel_origin": "top-left corner",
        "cameras": cameras,
    }


def finish_dataset(
    store: Store,
    shards: Sequence[str],
    rejected: pa.Table,
    captures: Sequence[Capture],
    config: dict[str, Any],
    similarity: dict[str, float],
    gap_frames: int,
    splits: dict[str, Any] | None = None,
    thresholds: VerdictConfig | None = None,
    jumps: Mapping[str, Sequence[tuple[int, float]]] | None = None,
) -> dict[str, Any]:
    """Write ``rejected.parquet`` and, last, ``dataset.json``; returns the manifest.

    The fingerprint covers the content of every shard: two datasets with one fingerprint hold the same rows. Of a shard
    only its digest and the columns of the verdict are read, so this costs little however large the dataset is.

    Args:
        store: Where the dataset goes; its shards are there already.
        shards: Names of the shards, relative to the store; written with their digest.
        rejected: Table of what was set aside; has the columns "reason" and "unreadable".
        captures, config, similarity: What the dataset was made from, and how.
        gap_frames: Number of frames that the gaps between splits left out.
        splits: The rule and measured gaps, from :func:`mouse_facelift.samples.splits.describe_splits`.
        thresholds: Of the verdict.
        jumps: By capture, (frame, mm) where the animal is suddenly elsewhere.
    """
    digest, rows, tables = hashlib.sha256(), {}, [_NO_ROWS]
    for name in shards:
        digest.update(name.encode() + store.table_digest(name).encode())
        tables.append(store.read_table(name, list(VERDICT_COLUMNS)).select(VERDICT_COLUMNS).cast(_NO_ROWS.schema))
        rows[name] = tables[-1].num_rows
    kept = pa.concat_tables(tables)
    # Without recordings nothing says that the rows' lengths are millimetres.
    verdict, views = judge_rows(kept, rejected.num_rows, thresholds or VerdictConfig(), metric=bool(captures))
    store.write_table(REJECTED, rejected)
    counts = {s: sum(n for name, n in rows.items() if name.startswith(f"split={s}/")) for s in ("train", "val")}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": digest.hexdigest(),
        "verdict": verdict.plain(),
        "similarity": similarity,
        "counts": counts | {"rejected": rejected.num_rows, "gap": gap_frames},
        "splits": splits or {},
        "jumps": {name: [list(jump) for jump in found] for name, found in (jumps or {}).items()},
        "rejected_reasons": _count_reasons(rejected),
        "gate": {column: _quantiles(_flat(kept[column])) for column in AGREEMENT_COLUMNS},
        "views": [view.plain() for view in views],
        "captures": [describe_capture(c) for c in captures],
        "config": config,
        "shards": rows,
    }
    store.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return manifest


def _count_reasons(rejected: pa.Table) -> dict[str, int]:
    """How often each kind of reason occurs.

    A frame with several counts for each, and the measured numbers in parentheses make no kind of their own. Of a file
    that could not be read the words are kept, without the numbers that single out frames and images.
    """
    kinds: list[str] = []
    for reason, unreadable in zip(rejected["reason"].to_pylist(), rejected["unreadable"].to_pylist(), strict=True):
        plain = re.sub(r" \([^()]*\)", "", reason)
        kinds += [_without_frame(plain)] if unreadable else plain.split("; ")
    return dict(Counter(kinds).most_common())


def _without_frame(reason: str) -> str:
    return re.sub(r"\d+(?=\.png\b)", "N", re.sub(r"\bframe \d+", "frame N", reason))


def _flat(column: pa.ChunkedArray) -> Float[np.ndarray, " n"]:
    """A column's numbers, per sample or per view."""
    values = column.combine_chunks()
    return (values.flatten() if pa.types.is_list(values.type) else values).to_numpy(zero_copy_only=False).astype(float)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles of what could be measured (not nan), which JSON can hold."""
    values = values[~np.isnan(values)]
    if not len(values):
        return {}
    return {f"q{int(q * 100):02d}": round(float(np.quantile(values, q)), 5) for q in (0.0, 0.05, 0.5, 0.95, 1.0)}
