"""What many reconstructed samples say together: mean scores, verdicts beside the baselines, the report's sections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.charts import Chart, Curve
from mouse_facelift.evaluation.images import Image
from mouse_facelift.evaluation.metrics import ViewMetrics, mean_metrics
from mouse_facelift.evaluation.outputs import TURNTABLE_NAME, scores_from_record
from mouse_facelift.evaluation.reconstruction import Scores
from mouse_facelift.evaluation.report import Item, Picture, Section, Table, Verdict, Video, format_number


@dataclass(frozen=True)
class MetricName:
    """How a field of ``ViewMetrics`` is shown."""

    label: str
    unit: str = ""
    digits: int = 3


# Foreground scores first: they are the ones an empty picture cannot win.
METRIC_NAMES: Mapping[str, MetricName] = {
    "psnr_foreground": MetricName("foreground PSNR", "dB", 2),
    "mask_iou": MetricName("mask IoU"),
    "ssim_foreground": MetricName("foreground SSIM"),
    "ssim": MetricName("SSIM, full frame"),
    "psnr": MetricName("PSNR, full frame", "dB", 2),
}


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Means over samples of every score, for the model and both baselines (nan where nothing is defined)."""
    return Scores(**{field.name: mean_metrics([getattr(s, field.name) for s in scores]) for field in fields(Scores)})


def verdicts(scores: Scores) -> list[Verdict]:
    """One row per metric, the model beside its baselines."""
    return [
        Verdict(
            name.label,
            getattr(scores.model, key),
            getattr(scores.blank, key),
            getattr(scores.nearest, key),
            name.unit,
            name.digits,
        )
        for key, name in METRIC_NAMES.items()
    ]


def metrics_record(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of metrics.json: means, verdicts and every sample's record; nan is written as null."""
    scores = [s for s in map(scores_from_record, records) if s is not None]
    mean = mean_scores(scores)
    return {
        "samples": len(records),
        "held_out_views": len(scores),
        "mean": {who: _without_nan(row) for who, row in asdict(mean).items()},
        "verdicts": {key: v.status for key, v in zip(METRIC_NAMES, verdicts(mean), strict=True)},
        "per_sample": list(records),
    }


def shown_records(records: Sequence[Mapping[str, Any]], limit: int) -> list[tuple[Mapping[str, Any], str]]:
    """Samples worth a look, each with what it is: the worst, the median and the best, then others spread evenly.

    Args:
        records: of all samples, in order; those without a foreground score are neither.
        limit: how many at most; a page with hundreds of them would not open.
    """
    scored = [(score, number) for number, record in enumerate(records) if (score := _foreground(record)) is not None]
    ranked = [number for _, number in sorted(scored)]
    roles: dict[int, str] = {}
    if len(ranked) >= 3:
        roles = {ranked[0]: "the worst", ranked[len(ranked) // 2]: "the median", ranked[-1]: "the best"}
    chosen = list(roles)[:limit]
    count = min(limit, len(records))
    spread = [i * len(records) // count for i in range(count)] if count else []
    rest = [number for number in spread if number not in roles][: limit - len(chosen)]
    return [(records[number], roles.get(number, "")) for number in [*chosen, *rest]]


def sample_sections(folder: Path, records: Sequence[Mapping[str, Any]], limit: int) -> list[Section]:
    """Pictures and turntables of :func:`shown_records`, then a table of all samples.

    Args:
        folder: where the samples' folders are.
        records: their records, in order.
        limit: pictures of how many samples.
    """
    sections = [
        _sample_section(folder / record["sample_id"], record, role) for record, role in shown_records(records, limit)
    ]
    return [*sections, Section("All samples", [_sample_table(records)])]


def time_sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Scores over time, a section per recording that has at least three scored moments."""
    sections = []
    for capture in dict.fromkeys(record["capture"] for record in records):
        mine = [r for r in records if r["capture"] == capture and r["scores"] is not None]
        if len(mine) < 3:
            continue
        charts = [
            Chart(
                name.label,
                "seconds",
                name.unit or name.label,
                [_over_time(mine, who, key) for who in ("model", "nearest")],
            )
            for key, name in list(METRIC_NAMES.items())[:3]
        ]
        cameras = {str(record["held_out"]) for record in mine}
        which = f"camera {cameras.pop()}" if len(cameras) == 1 else "another camera at every moment"
        sections.append(Section(f"{capture} over time", charts, f"Scores of the view held out: {which}."))
    return sections


def _over_time(records: Sequence[Mapping[str, Any]], who: str, key: str) -> Curve:
    points = [(r["time_s"], r["scores"][who][key]) for r in records if r["scores"][who][key] is not None]
    label = {"model": "this model", "nearest": "nearest input view"}[who]
    return Curve(label, [time for time, _ in points], [value for _, value in points])


def _foreground(record: Mapping[str, Any]) -> float | None:
    return None if record["scores"] is None else record["scores"]["model"]["psnr_foreground"]


def _sample_section(folder: Path, record: Mapping[str, Any], role: str) -> Section:
    scores = scores_from_record(record)
    text = f"{record['capture']}, {record['time_s']:.2f} s; {len(record['inputs'])} input views"
    if scores is not None:
        fg, nearest = (format_number(s.psnr_foreground, 2, "dB") for s in (scores.model, scores.nearest))
        text += f". Camera {record['held_out']} held out: foreground PSNR {fg} (nearest input view {nearest}), "
        text += f"mask IoU {format_number(scores.model.mask_iou)}."
    items: list[Item] = [Picture(read_picture(folder / "renders.png"), "Renderings beside the truth")]
    if (folder / TURNTABLE_NAME).is_file():
        items.append(Video(folder / TURNTABLE_NAME, f"{record['gaussians']} Gaussians, turning"))
    items.append(Picture(read_picture(folder / "inputs.png"), "What the model was given"))
    title = f"Sample {record['sample_id']}, frame {record['frame']}"
    return Section(f"{title}: {role}" if role else title, items, text)


def _sample_table(records: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for record in records:
        scores = scores_from_record(record)
        model = scores.model if scores is not None else ViewMetrics(*[math.nan] * len(fields(ViewMetrics)))
        numbers = [format_number(getattr(model, key), name.digits, name.unit) for key, name in METRIC_NAMES.items()]
        rows.append([record["sample_id"], str(record["frame"]), record["held_out"] or "–", *numbers])
    return Table(["sample", "frame", "held out", *(name.label for name in METRIC_NAMES.values())], rows)


def read_picture(path: Path) -> Image:
    """An image file as uint8 RGB.

    Raises:
        InputError: it is absent or not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: is not a readable picture; delete its folder and run the same command again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def training_section(log: Sequence[Mapping[str, Any]]) -> Section:
    """Curves of a training run from the lines of its metrics.jsonl; training views are scored by GS-LRM alone."""
    train, held_out = ([line for line in log if line["event"] == event] for event in ("train", "evaluate"))
    baselines = [
        (name, float(held_out[-1][key]))
        for name, key in (("nearest input view", "nearest_psnr_foreground"), ("blank picture", "blank_psnr_foreground"))
        if held_out and held_out[-1].get(key) is not None
    ]
    quality = [
        _curve("training views", train, "psnr_foreground"),
        _curve("held-out views and times", held_out, "psnr_foreground"),
    ]
    return Section(
        "Training",
        [
            Chart("Foreground PSNR", "step", "dB", quality, baselines),
            Chart("Training loss", "step", "loss", [_curve("loss", train, "loss")]),
        ],
    )


def _curve(label: str, lines: Sequence[Mapping[str, Any]], key: str) -> Curve:
    """A value over steps, where it is defined."""
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    return Curve(label, [p[0] for p in points], [p[1] for p in points])


def _without_nan(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in row.items()}
