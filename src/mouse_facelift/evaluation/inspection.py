"""What `inspect` says, for a terminal and for a page: a recording, a dataset, a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.cameras.slots import SlotAssignment, assign_slots
from mouse_facelift.capture.capture import Capture
from mouse_facelift.evaluation.audit import Disagreement, audit_lines
from mouse_facelift.evaluation.capture_health import HealthConfig, RigHealth, capture_checks, rig_health
from mouse_facelift.evaluation.checks import Check, check_lines, check_table, checks_summary
from mouse_facelift.evaluation.dataset_health import Rows, dataset_checks, gate_charts, timeline
from mouse_facelift.evaluation.drawings import Drawing, rig_svg, timeline_svg
from mouse_facelift.evaluation.frame_look import FrameLook
from mouse_facelift.evaluation.report import Item, Picture, Section, Table, Verdict, format_number, verdict_lines
from mouse_facelift.evaluation.sample_sheet import sample_sheet, spread_samples
from mouse_facelift.evaluation.summary import METRIC_NAMES, training_section
from mouse_facelift.samples.dataset import Dataset
from mouse_facelift.samples.schema import Sample
from mouse_facelift.samples.verdict import ViewSummary

_PICTURES = 3


@dataclass(frozen=True)
class Findings:
    """The result of one inspection.

    Attributes:
        title, summary: The page's first two lines.
        lines: What the terminal shows.
        sections: The page.
        checks: What was asked, in order; none for a training run.
        next_step: The command a person is likely to want now.
        scores: Of a training run, beside two baselines.
    """

    title: str
    summary: str
    lines: Sequence[str]
    sections: Sequence[Section]
    checks: Sequence[Check]
    next_step: str
    scores: Sequence[Verdict] = ()


def capture_findings(
    capture: Capture, looks: Sequence[FrameLook], audited: Mapping[str, Disagreement], config: HealthConfig
) -> Findings:
    """A recording, from a few of its frames; ``audited`` is empty when no audit was wanted."""
    checks = capture_checks(capture, looks, config)
    rig = rig_health([view.camera for view in capture.views], looks)
    seconds = capture.frame_count / capture.fps
    what = (
        f"{capture.layout.upper()} recording, {len(capture.views)} views, {capture.frame_count} frames at "
        f"{capture.fps:g} fps ({seconds:.1f} s), masks: {capture.mask_source}"
    )
    views = _view_table(capture, rig)
    lines = [what, *_aligned(views), *check_lines(checks)]
    sections = [Section("Checks", [check_table(checks)], checks_summary(checks)), _rig_section(capture, looks, views)]
    if rig is not None:
        slots = _slot_table(capture, rig)
        lines += [f"  {_slot_line(capture, rig)}"]
        sections.append(Section("Slots", [slots, _baseline_table(capture, rig)], _SLOTS_TEXT))
    shown = [look.sample for look in looks if look.sample is not None]
    sections += _picture_section(shown, f"{len(shown)} of {len(looks)} sampled frames can be used.")
    if audited:
        lines += [
            "audit: what cannot be fitted because cameras do not describe pictures (512 px)",
            *audit_lines(audited),
        ]
        sections.append(_audit_section(audited))
    following = f"mouse-facelift preprocess --capture {capture.path} --out DATASET"
    return Findings(f"Recording {capture.name}", what + ".", lines, sections, checks, following)


def dataset_findings(dataset: Dataset, rows: Rows, config: HealthConfig) -> Findings:
    """A dataset, from all its rows' numbers and a few of its pictures."""
    checks, views = dataset_checks(dataset, rows, config)
    manifest = dataset.manifest
    counts, similarity = manifest["counts"], manifest["similarity"]
    what = (
        f"{counts['train']} train + {counts['val']} val samples, {counts['rejected']} set aside, {counts['gap']} in "
        f"gaps; zoom {similarity['zoom']:g}, one unit is {1 / similarity['scale']:.1f} mm"
    )
    table = _summary_table(views)
    reasons = [[reason, str(count)] for reason, count in manifest["rejected_reasons"].items()]
    samples = [s for split in rows for s in spread_samples(dataset, split, _PICTURES)]
    sections = [Section("Checks", [check_table(checks)], checks_summary(checks))]
    sections += [Section("Splits", [Drawing(timeline_svg(*timeline(dataset, rows)))], _SPLITS_TEXT)]
    sections += [Section("The gate", gate_charts(rows), _GATE_TEXT)]
    sections += [Section("Views", [_as_table(table), *_normalised_rig(samples)])] if samples else []
    sections += [Section("Set aside", [Table(["reason", "frames"], reasons)])] if reasons else []
    sections += _picture_section(samples, "Spread over the splits.")
    lines = [what, *_aligned(table), *check_lines(checks), *(f"  set aside {n} x {reason}" for reason, n in reasons)]
    following = f"mouse-facelift train gslrm --data {dataset.store.uri} --out RUN"
    return Findings(f"Dataset {dataset.store.name}", what + ".", lines, sections, checks, following)


def training_findings(name: str, log: Sequence[Mapping[str, Any]], location: str) -> Findings:
    """A training run, from its metrics log; ``location`` is what `reconstruct` takes as its checkpoint."""
    last = {event: next((e for e in reversed(log) if e["event"] == event), None) for event in ("train", "evaluate")}
    step = max((entry["step"] for entry in log), default=0)
    parts = [f"{step} steps"]
    for event, views in (("train", "training views"), ("evaluate", "held-out views")):
        entry = last[event]
        if entry is not None and entry.get("psnr_foreground") is not None:
            parts.append(f"foreground PSNR {entry['psnr_foreground']:.2f} dB ({views})")
    scores = [] if last["evaluate"] is None else _scores(last["evaluate"])
    rows = [[key, _plain(value)] for key, value in (last["train"] or {}).items() if key != "event"]
    sections = [training_section(log), Section("Last training step", [Table(["name", "value"], rows)])]
    what = ", ".join(parts)
    following = f"mouse-facelift reconstruct --data DATASET --checkpoint {location} --out RESULTS"
    lines = [what, *verdict_lines(scores)]
    return Findings(f"Training run {name}", what + ".", lines, sections, [], following, scores)


def checkpoint_findings(
    name: str, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], metrics: Mapping[str, float], path: str
) -> Findings:
    """Weights without the log of a training run: imported ones, or a run's checkpoint by itself.

    Args:
        name: of the folder.
        config: its config.yaml.
        shapes: of the weights, by name.
        metrics: held-out scores, where there were any.
        path: what other verbs take as their checkpoint.
    """
    kind, parameters = str(config["kind"]), sum(math.prod(shape) for shape in shapes.values())
    imported = config.get("imported")
    what = f"{kind} weights, {len(shapes)} tensors, {parameters:,} parameters"
    if imported:
        what += f", imported from {imported['file']} (trained for {imported['step']} steps)"
    rows = [[key, _plain(value)] for key, value in metrics.items()]
    sections = [Section("Held-out scores", [Table(["name", "value"], rows)])] if rows else []
    scores = _scores(metrics) if rows else []
    following = f"mouse-facelift reconstruct --data DATASET --checkpoint {path} --out RESULTS"
    if kind != "gslrm":
        following = f"mouse-facelift train {kind} --init-from {path} --data DATASET --out RUN"
    elif imported:
        following = f"mouse-facelift train gslrm --init-from {path} --data DATASET --out RUN"
    return Findings(f"Checkpoint {name}", what + ".", [what, *verdict_lines(scores)], sections, [], following, scores)


def _scores(entry: Mapping[str, Any]) -> list[Verdict]:
    """A log entry's scores on held-out views beside those of the two baselines; what it lacks is left out."""

    def number(key: str) -> float:
        value = entry.get(key)
        return math.nan if value is None else float(value)

    return [
        Verdict(
            n.label,
            number(key),
            number(f"blank_{key}"),
            number(f"nearest_{key}"),
            n.unit,
            n.digits,
            number(f"mean_{key}"),
        )
        for key, n in METRIC_NAMES.items()
        if key in entry
    ]


def _summary_table(views: Sequence[ViewSummary]) -> list[list[str]]:
    """The views' medians, as the dataset's verdict sees them."""
    header = ["view", "recording", "samples", "hull IoU", "share of picture", "cut in", "sharpness", "contrast"]
    table = [[*header, "black level"]]
    for v in views:
        numbers = [format_number(v.view_hull_iou, 3), format_number(v.mask_fraction, 3), f"{v.truncated:.0%}"]
        numbers += [format_number(v.sharpness, 4), format_number(v.gain, 2), format_number(v.bias, 3)]
        table.append([v.camera, v.capture, str(v.samples), *numbers])
    return table


_SLOTS_TEXT = (
    "Which camera stands where for a model with six named slots, for every choice of the front camera: camera names, "
    "and the largest difference in azimuth. Below it, the angles between the directions of all pairs of cameras."
)
_SPLITS_TEXT = "Which frames are trained on, validated on, or set aside; nothing near a border is in both splits."
_GATE_TEXT = "What was measured of every sample that was written, as distributions over each split."


def _view_table(capture: Capture, rig: RigHealth | None) -> list[list[str]]:
    header = ["view", "size", "focal px", "h. view", "lens"]
    if rig is not None:
        header += ["distance mm", "azimuth", "elevation", "ray miss mm", "hull IoU", "contrast", "black level"]
    table = [header]
    for i, view in enumerate(capture.views):
        camera = view.camera
        angle = math.degrees(2 * math.atan(camera.width / 2 / camera.K[0, 0]))
        row = [view.name, f"{camera.width}x{camera.height}", f"{camera.K[0, 0]:.0f}", f"{angle:.1f}°"]
        row.append("pinhole" if camera.distortion is None else "distorted")
        if rig is not None:
            row += [f"{rig.distances_mm[i]:.0f}", f"{rig.azimuths[i]:.0f}°", f"{rig.elevations[i]:.0f}°"]
            row += [f"{rig.misses_mm[i]:.1f}", f"{rig.hull_iou[i]:.3f}"]
            row += [f"x{rig.gain[i]:.2f}", f"{rig.bias[i]:+.3f}"]
        table.append(row)
    return table


def _rig_section(capture: Capture, looks: Sequence[FrameLook], views: list[list[str]]) -> Section:
    samples = [look.sample for look in looks if look.sample is not None]
    items: list[Item] = [_as_table(views)]
    text = "Medians over the sampled frames; distance, azimuth and elevation are about the animal. "
    text += "Contrast and black level are those of the animal beside the other views (1 and 0 are alike)."
    if samples:
        points = np.stack([sample.centre_mm for sample in samples])
        svg = rig_svg([view.camera for view in capture.views], points)
        items.append(Drawing(svg, "Cameras with their fields of view, the animal's centres, the plane z = 0"))
    return Section("Cameras", items, text if samples else "")


def _slot_table(capture: Capture, rig: RigHealth) -> Table:
    rows = []
    for reference, view in enumerate(capture.views):
        found = _slots(capture, rig, reference)
        rows.append([view.name, *_names(capture, found), f"{np.nanmax(np.abs(found.residual_degrees)):.0f}°"])
    return Table(["front camera", *FACELIFT_SLOTS, "largest difference"], rows)


def _slot_line(capture: Capture, rig: RigHealth) -> str:
    found = _slots(capture, rig, 0)
    placed = ", ".join(f"{slot} {name}" for slot, name in zip(FACELIFT_SLOTS, _names(capture, found), strict=True))
    return f"slots by azimuth: {placed} (largest difference {np.nanmax(np.abs(found.residual_degrees)):.0f}°)"


def _slots(capture: Capture, rig: RigHealth, reference: int) -> SlotAssignment:
    return assign_slots([view.camera for view in capture.views], reference, rig.centre)


def _names(capture: Capture, found: SlotAssignment) -> list[str]:
    return ["–" if i is None else capture.views[i].name for i in found.order]


def _baseline_table(capture: Capture, rig: RigHealth) -> Table:
    names = [view.name for view in capture.views]
    rows = [
        [n, *("" if math.isnan(a) else f"{a:.0f}°" for a in row)] for n, row in zip(names, rig.baselines, strict=True)
    ]
    return Table(["angle between", *names], rows)


def _normalised_rig(samples: Sequence[Sample]) -> list[Item]:
    svg = rig_svg(samples[0].cameras, np.zeros((1, 3)), None)
    return [Drawing(svg, f"Cameras of sample {samples[0].sample_id} in the normalised world, the animal at the origin")]


def _picture_section(samples: Sequence[Sample], text: str) -> list[Section]:
    if not samples:
        return []
    pick = np.unique(np.linspace(0, len(samples) - 1, min(2 * _PICTURES, len(samples))).round().astype(int))
    sheet = sample_sheet([samples[i] for i in pick])
    return [Section("What a model would see", [Picture(sheet, "One row per instant, one column per camera")], text)]


def _audit_section(audited: Mapping[str, Disagreement]) -> Section:
    rows = [
        [name, d.title, f"{d.rms_px:.2f}", f"{d.rms_px_p95:.2f}", f"{d.miss_mm:.2f}"] for name, d in audited.items()
    ]
    points = next(iter(audited.values())).points
    text = (
        f"{points} points of the animal, projected into the recording, moved by what each recipe does to the pictures, "
        "and fitted through the cameras it writes. What remains is disagreement that no 3-D model can learn away: "
        "medians (and 95th percentile) over points, in pixels at 512 px and as distance of the rays in millimetres."
    )
    return Section("Audit", [Table(["recipe", "", "RMS px", "p95 px", "miss mm"], rows, 2)], text)


def _as_table(table: list[list[str]]) -> Table:
    return Table(table[0], table[1:])


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """A table for a terminal."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
