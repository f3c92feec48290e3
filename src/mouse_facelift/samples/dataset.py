"""A dataset on disk: Parquet shards by split, ``rejected.parquet`` and ``dataset.json``, which says what they are.

``dataset.json`` exists only when the run that makes the dataset is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mouse_facelift.capture.capture import Capture
from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import SCHEMA_VERSION, Sample, sample_from_row
from mouse_facelift.storage import Store

MANIFEST = "dataset.json"
REJECTED = "rejected.parquet"
_GATE_COLUMNS = ("hull_iou", "epipolar_px", "mask_fraction", "truncation")


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
            for row in wanted:
                yield sample_from_row(table.slice(row - rows.start, 1).to_pylist()[0])


def open_dataset(location: str) -> Dataset:
    """Open a dataset folder or URI.

    Raises:
        InputError: There is none, its run did not finish, or another version of the software wrote it.
    """
    store = Store.at(location)
    if not store.exists(MANIFEST):
        raise InputError(
            f"{store.uri} is not a complete dataset (no {MANIFEST}); run the same preprocess command again to finish it"
        )
    manifest = json.loads(store.read(MANIFEST))
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{store.path(MANIFEST)}: schema version {manifest.get('schema_version')}, this software reads "
            f"{SCHEMA_VERSION}; preprocess the capture again"
        )
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
) -> dict[str, Any]:
    """Write ``rejected.parquet`` and, last, ``dataset.json``; returns the manifest.

    The fingerprint covers the bytes of every shard: two datasets with one fingerprint hold the same rows.
    """
    digest, rows, columns = hashlib.sha256(), {}, {name: [] for name in _GATE_COLUMNS}
    for name in shards:
        digest.update(name.encode() + hashlib.sha256(store.read(name)).digest())
        table = store.read_table(name, list(_GATE_COLUMNS))
        rows[name] = table.num_rows
        for column, values in columns.items():
            kept = table[column].combine_chunks()
            values.append(kept.flatten().to_numpy() if pa.types.is_list(kept.type) else kept.to_numpy())
    store.write_table(REJECTED, rejected)
    splits = {s: sum(n for name, n in rows.items() if name.startswith(f"split={s}/")) for s in ("train", "val")}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": digest.hexdigest(),
        "similarity": similarity,
        "counts": splits | {"rejected": rejected.num_rows, "gap": gap_frames},
        "rejected_reasons": _count_reasons(rejected["reason"].to_pylist()),
        "gate": {column: _quantiles(np.concatenate(values)) for column, values in columns.items()},
        "captures": [describe_capture(c) for c in captures],
        "config": config,
        "shards": rows,
    }
    store.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return manifest


def _count_reasons(reasons: Sequence[str]) -> dict[str, int]:
    """How often each kind of reason occurs; the measured numbers in parentheses make no kind of their own."""
    return dict(Counter(re.sub(r" \([^)]*\)", "", reason) for reason in reasons).most_common())


def _quantiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"q{int(q * 100):02d}": round(float(np.quantile(values, q)), 5) for q in (0.0, 0.05, 0.5, 0.95, 1.0)}
