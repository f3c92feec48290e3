"""RUN/report.html: what a training run has come to, from its log and pictures alone; written again as it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mouse_facelift.config import RUN_FILE, to_plain
from mouse_facelift.evaluation.charts import Chart
from mouse_facelift.evaluation.metrics import below_baseline
from mouse_facelift.evaluation.report import Item, Picture, Report, Section, Table, write_report
from mouse_facelift.evaluation.summary import read_picture
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.overfit import overfit_verdict
from training.report_scores import curve, label, scalars, score_charts, verdicts, view_tables
from training.settings import TrainingConfig

REPORT_FILE = "report.html"
PANELS_FOLDER = "panels"
_PANEL_STEPS = 4
"""Steps of which pictures are shown, spread over the run: a page with all of them would not open."""
_PACE = ("lr", "grad_norm", "step_seconds", "data_wait", "samples_per_second", "refused_steps", "gpu_memory_gib")
_PACE_UNITS = {
    "lr": "learning rate",
    "grad_norm": "norm before clipping",
    "step_seconds": "s",
    "data_wait": "share of the step",
    "samples_per_second": "1/s",
    "refused_steps": "steps so far",
    "gpu_memory_gib": "GiB",
}


def panel_file(step: int, name: str) -> str:
    """Where a picture of a step is kept, inside the run's folder."""
    return f"{PANELS_FOLDER}/{step:08d}_{name}.png"


def write_training_report(config: TrainingConfig, verdict: tuple[str, str]) -> Path:
    """Write the page of a run, finished or not.

    Args:
        config: the run's settings; `config.out` holds its log.
        verdict: names of the score that decides and of the baseline it must beat.
    """
    log = read_metrics_log(config.out / METRICS_FILE)
    evaluations = [entry for entry in log if entry["event"] == "evaluate"]
    training = [entry for entry in log if entry["event"] == "train"]
    record = _record(config.out / RUN_FILE)
    sections = [Section("Held-out scores", score_charts(evaluations, training, verdict), _judged_on(config))]
    if any(entry["event"] == "panels" for entry in log):
        sections.append(Section("Held-out samples over time", _pictures(config.out, log)))
    sections.append(Section("Losses", _charts(training, [n for n in scalars(training) if n not in _PACE])))
    sections.append(Section("Pace and health", _charts(training, [n for n in scalars(training) if n in _PACE])))
    by_view = view_tables(evaluations[-1]) if evaluations else []
    if by_view:
        sections.append(Section("Held-out scores by view", by_view, "At the last evaluation; means over its samples."))
    start = next((entry for entry in log if entry["event"] == "start"), None)
    if start is not None:
        rows = [[name.replace("_", " "), str(v)] for name, v in start.items() if name not in ("event", "step")]
        sections.append(Section("What was trained", [Table(["", ""], rows)]))
    page = Report(
        title=f"Training run {config.out.name}",
        summary=_summary(config, verdict, log),
        verdicts=verdicts(evaluations[-1]) if evaluations else [],
        sections=sections,
        settings={"config.yaml": yaml.safe_dump(to_plain(config), sort_keys=False)},
        versions=record.get("versions", {}),
    )
    return write_report(config.out / REPORT_FILE, page)


def _judged_on(config: TrainingConfig) -> str:
    if config.overfit:
        return f"The {config.overfit} samples trained on, each judged on a view that was not among its inputs."
    return "Samples that were not trained on, each judged on a view that was not among its inputs."


def _summary(config: TrainingConfig, verdict: tuple[str, str], log: Sequence[Mapping[str, Any]]) -> str:
    step = max((entry["step"] for entry in log), default=0)
    parts = [f"{step} of {config.steps} steps."]
    last = next((entry for entry in reversed(log) if entry["event"] == "evaluate"), None)
    if last is None:
        parts.append("Nothing was evaluated yet.")
    else:
        score, baseline = verdict
        parts.append(f"{label(score)} {_number(last[score])}, baseline {_number(last[baseline])}.")
        losses = below_baseline({k: v for k, v in last.items() if v is None or isinstance(v, (int, float))})
        parts += [f"Below a baseline: {'; '.join(losses)}."] if losses else []
    refused = next((entry["refused_steps"] for entry in reversed(log) if entry["event"] == "train"), 0)
    parts += [f"{refused} steps were refused because their gradients were not finite."] if refused else []
    if config.overfit and step >= config.steps:
        parts.append(f"Overfitting test: {overfit_verdict(config, verdict, log).line()}.")
    return " ".join(parts)


def _charts(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Item]:
    ordered = sorted(names, key=lambda name: name != "loss")
    return [
        Chart(label(name), "step", _PACE_UNITS.get(name, "mean since the last line"), [curve(name, entries, name)])
        for name in ordered
    ]


def _pictures(folder: Path, log: Sequence[Mapping[str, Any]]) -> list[Item]:
    entries = [entry for entry in log if entry["event"] == "panels"]
    picked = sorted({round(i * (len(entries) - 1) / max(_PANEL_STEPS - 1, 1)) for i in range(_PANEL_STEPS)})
    items: list[Item] = []
    for entry in (entries[i] for i in picked):
        for file in entry["files"]:
            if (folder / file).is_file():
                name = re.sub(r"^\d+_", "", Path(file).stem).replace("_", " ")
                items.append(Picture(read_picture(folder / file), f"step {entry['step']}, {name}"))
    return items


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _record(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
