"""From sample folders to rows: what each sample is called, which split it is for, and what is set aside and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mouse_facelift.errors import InputError
from mouse_facelift.samples.facelift_folders import Origin, read_origin, read_sample
from mouse_facelift.samples.facelift_lists import FoundSample
from mouse_facelift.samples.gate import GateConfig, reasons
from mouse_facelift.samples.schema import SAMPLE_SCHEMA, row_from_sample
from mouse_facelift.samples.shards import REJECTED_SCHEMA, UnitResult
from mouse_facelift.samples.splits import SplitConfig, assign_splits, check_captures, describe_splits


@dataclass(frozen=True)
class PlannedSample:
    """A folder to import, what it is called unless it says so itself, and its split."""

    folder: Path
    origin: Origin
    split: str


@dataclass(frozen=True)
class ImportPlan:
    """Samples to import, in order of their splits; which mentions of a folder were passed over, in words; how many
    samples lie in gaps between splits; the splits in words and numbers, for the manifest."""

    samples: tuple[PlannedSample, ...]
    repeated: tuple[str, ...]
    gap: int
    splits: dict[str, Any]


def plan_import(found: Sequence[FoundSample], config: SplitConfig) -> ImportPlan:
    """Decide ids and splits.

    The names of list files decide splits; where none does, the split rule does, over the samples of one capture.
    Folders of other software have no time: their samples count as a second apart, in the order found.
    A folder that is listed more than once is used once, for training if any list says so: a sample that is trained on
    cannot validate.

    Raises:
        InputError: Two folders would give samples of one id, or the split rule does not fit what there is.
    """
    once, repeated, seen = [], [], {}
    for sample in sorted(found, key=lambda s: s.split == "val"):
        earlier = seen.setdefault(sample.folder.resolve(), sample)
        if earlier is sample:
            once.append(sample)
        else:
            repeated.append(f"{sample.named_in} repeats {earlier.named_in}")
    named, owners, positions = [], {}, Counter()
    for sample in once:
        capture = sample.folder.parent.name
        origin = _origin_of(sample.folder, positions[capture])
        positions[capture] += 1
        other = owners.setdefault(origin.sample_id, sample.folder)
        if other != sample.folder:
            raise InputError(
                f"{sample.folder} and {other} would both be sample {origin.sample_id}; rename the folder around one"
            )
        named.append((sample, origin))
    splits = _splits([origin for sample, origin in named if sample.split is None], config)
    planned = [PlannedSample(s.folder, o, s.split or splits[o.sample_id]) for s, o in named]
    kept = [sample for split in ("train", "val") for sample in planned if sample.split == split]
    described = _describe(kept, config, listed=len(named) - len(splits))
    return ImportPlan(tuple(kept), tuple(repeated), len(planned) - len(kept), described)


def _origin_of(folder: Path, position: int) -> Origin:
    """What a folder says it is, or a name after its place; a JSON that cannot be read is reported when it is used."""
    capture = folder.parent.name
    default = Origin(f"{capture}-{folder.name}", capture, frame=position, time_s=float(position))
    try:
        return read_origin(folder) or default
    except InputError:
        return default


def _splits(origins: Sequence[Origin], config: SplitConfig) -> dict[str, str]:
    """The split rule's answer by sample id."""
    captures: dict[str, list[Origin]] = {}
    for origin in origins:
        captures.setdefault(origin.capture, []).append(origin)
    if captures:
        check_captures(list(captures), config)
    splits: dict[str, str] = {}
    for name, group in captures.items():
        group.sort(key=lambda origin: (origin.time_s, origin.frame))
        times, segments = np.array([o.time_s for o in group]), np.array([o.segment for o in group])
        if (np.diff(segments) < 0).any():
            raise InputError(
                f"capture {name}: its segments overlap in time; say with list files which samples validate"
            )
        # One sample cannot be divided; it is for training unless the rule names what it belongs to.
        whole = len(group) == 1 and not (config.val_segments or config.val_captures)
        assigned = ["train"] if whole else assign_splits(times, config, segments, name)
        splits |= {origin.sample_id: split for origin, split in zip(group, assigned, strict=True)}
    return splits


def _describe(samples: Sequence[PlannedSample], config: SplitConfig, listed: int) -> dict[str, Any]:
    """Rule, counts and measured gaps; lists may put neighbours on both sides, which then shows as a gap near 0."""
    times: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        times.setdefault(sample.origin.capture, {}).setdefault(sample.split, []).append(sample.origin.time_s)
    if not listed:
        return describe_splits(config, times)
    described = describe_splits(replace(config, gap_s=0.0), times)
    return described | {"rule": "list files" if listed == len(samples) else f"list files, elsewhere {config.rule}"}


def import_samples(samples: Sequence[PlannedSample], source: str, gate: GateConfig | None) -> UnitResult:
    """Folders to rows, one sample in memory at a time; a folder that cannot be read becomes a rejected row.

    Args:
        samples: The folders of one unit.
        source: See :func:`read_sample`.
        gate: Thresholds beyond which a sample is rejected; None to measure only.
    """
    rows, rejected = [], []
    for planned in samples:
        try:
            sample = read_sample(planned.folder, planned.origin, source)
        except InputError as error:
            rejected.append(_rejection(planned.origin, planned.split, str(error), unreadable=True))
            continue
        why = reasons(sample.agreement, sample.images, sample.cameras, gate) if gate else []
        if why:
            rejected.append(_rejection(planned.origin, planned.split, "; ".join(why)) | sample.agreement.columns())
        else:
            rows.append(row_from_sample(sample))
    return UnitResult(
        pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), pa.Table.from_pylist(rejected, schema=REJECTED_SCHEMA)
    )


def _rejection(origin: Origin, split: str, reason: str, *, unreadable: bool = False) -> dict[str, Any]:
    return {
        "sample_id": origin.sample_id,
        "capture": origin.capture,
        "frame": origin.frame,
        "time_s": origin.time_s,
        "segment": origin.segment,
        "split": split,
        "reason": reason,
        "unreadable": unreadable,
    }
