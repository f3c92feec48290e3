"""The page about a comparison: targets, scores with intervals, differences, cameras, inputs, time, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mouse_facelift.evaluation import images
from mouse_facelift.evaluation.bootstrap import Interval
from mouse_facelift.evaluation.charts import PALETTE, Chart, Curve
from mouse_facelift.evaluation.comparison import TARGETS, Comparison, Row, difference, interval, per_frame
from mouse_facelift.evaluation.metrics import LOWER_IS_BETTER
from mouse_facelift.evaluation.report import Item, Picture, Section, Table, format_number
from mouse_facelift.evaluation.rivals import Shown
from mouse_facelift.evaluation.summary import METRIC_NAMES, MetricName

NAMES: Mapping[str, MetricName] = {
    **METRIC_NAMES,
    "lpips_foreground": MetricName("foreground LPIPS"),
    "lpips": MetricName("LPIPS, full frame"),
}
"""How scores are shown, those of the animal first."""

_DECIDING = ("psnr_foreground", "mask_iou")
_STYLE = images.SheetStyle(cell=160)


@dataclass(frozen=True)
class Case:
    """A held-out view that the page shows."""

    title: str
    sample_id: str
    camera: str


def cases(comparison: Comparison) -> list[Case]:
    """The views that the first way shows worst, in the middle, and best, by foreground PSNR; each at most once."""
    rows = comparison.of(comparison.ways[0], **comparison.headline)
    ranked = sorted((r for r in rows if r["psnr_foreground"] is not None), key=lambda r: r["psnr_foreground"])
    if not ranked:
        return []
    places = {"Worst": 0, "Median": len(ranked) // 2, "Best": len(ranked) - 1}
    found: dict[int, Case] = {}
    for title, place in places.items():
        row = ranked[place]
        found.setdefault(place, Case(f"{title} view", row["sample_id"], row["camera"]))
    return list(found.values())


def case_section(case: Case, comparison: Comparison, truth: Shown, shown: Mapping[str, Shown]) -> Section:
    """One held-out view: the truth, what every way draws, and where it errs.

    Args:
        case: which.
        comparison: for its scores.
        truth: the view itself.
        shown: by way; those that could not show it are absent.
    """
    rows = {
        row["way"]: row
        for row in comparison.rows
        if (row["sample_id"], row["camera"]) == (case.sample_id, case.camera)
        and row["inputs"] == comparison.headline["inputs"]
    }
    right, mask = truth.rgb.numpy(), truth.alpha.numpy()
    drawn, errors = [images.Panel(right, "truth")], [images.Panel(images.alpha_panel(mask), "its mask")]
    for way, picture in shown.items():
        row = rows[way]
        rgb = picture.rgb.clamp(0, 1).numpy()
        score = format_number(_number(row["psnr_foreground"]), 1, "dB")
        drawn.append(images.Panel(rgb, f"{way}: {score}"))
        iou = format_number(_number(row["mask_iou"]))
        errors.append(images.Panel(images.alpha_panel(picture.alpha.numpy(), mask), f"IoU {iou}"))
    first = rows[comparison.ways[0]]
    text = f"{first['capture']}, frame {first['frame']} ({first['time_s']:.2f} s), camera {case.camera} held out. "
    text += "Below each rendering its silhouette: red is missing, blue is too much."
    return Section(f"{case.title}: {case.sample_id}", [Picture(images.contact_sheet([drawn, errors], _STYLE))], text)


def sections(comparison: Comparison) -> list[Section]:
    """Everything but the pictures of single views."""
    return [
        Section("Targets", [_targets(comparison)], "Mean over held-out views, on the animal alone, 95 % intervals."),
        Section(
            "All scores",
            [_scores(comparison)],
            "Intervals are bootstrapped over frames (95 %); of a single frame there is none.",
        ),
        *_differences(comparison),
        *_groups(comparison),
        _over_time(comparison),
        *_problems(comparison),
    ]


def target_lines(comparison: Comparison) -> list[str]:
    """The targets for a terminal, one line per way."""
    table = _targets(comparison)
    widths = [max(len(line[i]) for line in [table.header, *table.rows]) for i in range(len(table.header))]
    return [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) for line in [table.header, *table.rows]
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _measured(comparison: Comparison) -> list[str]:
    """Scores that anybody has: LPIPS is there only where weights were given."""
    return [key for key in NAMES if any(row[key] is not None for row in comparison.rows)]


def _with_interval(found: Interval, name: MetricName, sign: str = "") -> str:
    if math.isnan(found.mean):
        return "–"
    low, mean, high = (f"{value:{sign}.{name.digits}f}" for value in (found.low, found.mean, found.high))
    around = "" if math.isnan(found.low) else f" [{low}, {high}]"
    return f"{mean}{f' {name.unit}' if name.unit else ''}{around}"


def _targets(comparison: Comparison) -> Table:
    header = ["way"]
    for key, goal in TARGETS.items():
        header.append(f"{NAMES[key].label} {'<' if key in LOWER_IS_BETTER else '>'} {goal:g}")
    rows = []
    for way in comparison.ways:
        cells = []
        for key in TARGETS:
            passes = comparison.passes(way, key)
            verdict = {True: "pass", False: "FAIL", None: "not measured"}[passes]
            found = _with_interval(interval(comparison.of(way, **comparison.headline), key), NAMES[key])
            cells.append(verdict if passes is None else f"{found}: {verdict}")
        rows.append([way, *cells])
    return Table(header, rows)


def _scores(comparison: Comparison) -> Table:
    measured = _measured(comparison)
    rows = []
    for way in comparison.ways:
        found = comparison.of(way, **comparison.headline)
        cells = [_with_interval(interval(found, key), NAMES[key]) for key in measured]
        seconds = sum(row["seconds"] for row in found) / len(found)
        rows.append([way, *cells, f"{seconds:.2f} s"])
    return Table(["way", *(NAMES[key].label for key in measured), "per view"], rows)


def _differences(comparison: Comparison) -> list[Section]:
    """How much better the first way is than each other one."""
    first, *others = comparison.ways
    if not others:
        return []
    measured = _measured(comparison)
    ours = comparison.of(first, **comparison.headline)
    rows = []
    for other in others:
        theirs = comparison.of(other, **comparison.headline)
        found = [_with_interval(difference(ours, theirs, key), NAMES[key], sign="+") for key in measured]
        rows.append([f"than {other}", *found])
    text = "Paired over the same frames; above 0 is better, whatever the score. metrics.json has every other pair."
    return [Section(f"How much better {first} is", [Table(["", *(NAMES[k].label for k in measured)], rows)], text)]


def _groups(comparison: Comparison) -> list[Section]:
    """Tables per camera, per number of inputs and per recording, where there is more than one."""
    found = []
    for column, title in (
        ("camera", "Per held-out camera"),
        ("inputs", "Per number of inputs"),
        ("capture", "Per recording"),
    ):
        values = comparison.values(column)
        if len(values) < 2:
            continue
        items: list[Item] = []
        for key in _DECIDING:
            rows = []
            for way in comparison.ways:
                which = {} if column == "inputs" else comparison.headline
                groups = [comparison.of(way, **which, **{column: value}) for value in values]
                rows.append([way, *(_with_interval(interval(rows_, key), NAMES[key]) for rows_ in groups)])
            items.append(Table([NAMES[key].label, *map(str, values)], rows))
        found.append(Section(title, items))
    return found


def _over_time(comparison: Comparison) -> Section:
    """Foreground PSNR and mask IoU of every way over the recording's time; each recording has charts of its own."""
    charts: list[Item] = []
    captures = comparison.values("capture")
    # More curves than colours that can be told apart are left to metrics.parquet.
    shown = comparison.ways[: len(PALETTE)]
    for capture in captures:
        for key in _DECIDING:
            curves = [_curve(way, comparison.of(way, capture=capture, **comparison.headline), key) for way in shown]
            title = NAMES[key].label if len(captures) == 1 else f"{NAMES[key].label}, {capture}"
            charts.append(Chart(title, "time (s)", NAMES[key].unit or NAMES[key].label, curves))
    return Section("Over time", charts, "Mean over the held-out views of each moment.")


def _curve(way: str, rows: Sequence[Row], key: str) -> Curve:
    times = {row["sample_id"]: row["time_s"] for row in rows}
    points = sorted((times[frame[2]], value) for frame, value in per_frame(rows, key).items())
    return Curve(way, [time for time, _ in points], [value for _, value in points])


def _problems(comparison: Comparison) -> list[Section]:
    counts: dict[tuple[str, str], int] = {}
    for row in comparison.rows:
        if row["problem"] is not None:
            counts[row["way"], row["problem"]] = counts.get((row["way"], row["problem"]), 0) + 1
    if not counts:
        return []
    rows = [[way, reason, str(count)] for (way, reason), count in sorted(counts.items())]
    return [Section("Not shown", [Table(["way", "reason", "views"], rows, text_columns=2)])]
