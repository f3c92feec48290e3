"""Trained runs and what they are to be better than, on views that none of them is given, side by side.

Ray Data hands the samples to actors; what happens to one of them is the library's `score`. Every way has one file of
rows per sample, with the request that made it, so that running the same command again, or with a run more, does what is
missing and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy
from tqdm import tqdm

from mouse_facelift import config as configuration
from mouse_facelift.cli import run_verb
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.comparison import ROW_SCHEMA, Comparison, choices
from mouse_facelift.evaluation.comparison_report import Case, case_section, cases, sections, target_lines
from mouse_facelift.evaluation.report import Report, report_html
from mouse_facelift.evaluation.rivals import Shown, on_white, views_of
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.storage import Store
from pipelines.evaluate_settings import EvaluateConfig
from pipelines.evaluate_work import (
    Job,
    Judge,
    contestants,
    find_samples,
    pending_jobs,
    read_sample,
    requests_of,
    rows_file,
    scoring_size,
)
from pipelines.placement import model_options
from pipelines.session import connect
from pipelines.telemetry import Stage, in_a_job
from pipelines.units_of_work import MOST_TASKS


def run_jobs(config: EvaluateConfig, jobs: Sequence[Job], judge: partial[Judge]) -> None:
    """Judges the jobs, in this process or through Ray Data, with a progress bar.

    Raises:
        InputError: a sample that cannot be read.
    """
    with tqdm(total=len(jobs), desc="evaluate", unit=" samples", file=sys.stderr, disable=in_a_job()) as bar:
        if not config.workers:
            here = judge()
            for job in jobs:
                here.judge(job)
                bar.update()
            return
        connect(config.placement)
        stage = Stage("evaluate", len(jobs), len(jobs), "samples")
        items = [{"item": number} for number in range(len(jobs))]
        results = ray.data.from_items(items, override_num_blocks=min(len(jobs), MOST_TASKS)).map(
            cast(Any, Judge),  # Ray types only functions of a row
            fn_constructor_args=judge.args,
            fn_constructor_kwargs={"threads": max(1, (os.cpu_count() or 1) // config.workers)},
            compute=ActorPoolStrategy(size=config.workers),
            **model_options(config.placement, config.workers),
        )
        for row in results.iter_rows():
            if row["refused"]:
                raise InputError(row["refused"])
            bar.update()
            stage.finished(1)
        stage.keep(Store.at(config.out), results.stats())


def evaluate(config: EvaluateConfig) -> Comparison:
    """Judges what is missing, and writes metrics.json, metrics.parquet and report.html.

    Raises:
        InputError: the dataset, a run or an option cannot be used.
    """
    dataset = open_dataset(config.data)
    ways = contestants(config)
    jobs = find_samples(config, dataset)
    first = read_sample(dataset.store, jobs[0])
    size = scoring_size(config, first, ways)
    # An impossible choice of views is refused here, before anything is written or started.
    choices(first.cameras, config.hold_out, config.inputs, 0)
    requests = requests_of(config, dataset, size, ways)
    configuration.write_run_record(config.out, "evaluate", config)
    left = pending_jobs(config, jobs, requests)
    if len(left) < len(jobs):
        print(f"evaluate: {len(jobs) - len(left)} of {len(jobs)} samples are done already")
    judge = partial(Judge, config, size, ways, requests, left)
    if left:
        run_jobs(config, left, judge)
    store = Store.at(config.out)
    names = tuple(way.name for way in ways)
    files = [rows_file(name, job.sample_id) for name in names for job in jobs]
    comparison = Comparison(names, [row for file in files for row in store.read_json(file)["rows"]])
    write_outputs(config, dataset, jobs, comparison, size, judge)
    return comparison


def write_outputs(
    config: EvaluateConfig, dataset: Dataset, jobs: Sequence[Job], comparison: Comparison, size: int,
    judge: partial[Judge],
) -> None:  # fmt: skip
    """The table, the numbers and the page."""
    store = Store.at(config.out)
    store.write_table("metrics.parquet", pa.Table.from_pylist(list(comparison.rows), schema=ROW_SCHEMA))
    asked = {"dataset": config.data, "fingerprint": dataset.manifest["fingerprint"], "split": config.split}
    asked |= {"samples": len(jobs), "image_size": size, "hold_out": list(config.hold_out)}
    store.write("metrics.json", (json.dumps(asked | comparison.record(), indent=1, allow_nan=False) + "\n").encode())
    shown = [case_section(*case) for case in shown_cases(config, dataset, jobs, comparison, size, judge)]
    run = store.read_json(configuration.RUN_FILE)
    report = Report(
        title="Comparison on held-out views",
        summary=f"{len(jobs)} samples of split '{config.split}' from {config.data}, at {size} px; held-out cameras: "
        f"{' '.join(config.hold_out)}; {comparison.headline['inputs']} input views.",
        verdicts=[],
        sections=[*sections(comparison), *shown],
        settings={"evaluate": store.read(configuration.CONFIG_FILE).decode()},
        versions=dict(run["versions"], python=run["python"]),
    )
    store.write("report.html", report_html(report, Path(store.uri)).encode())


def shown_cases(
    config: EvaluateConfig, dataset: Dataset, jobs: Sequence[Job], comparison: Comparison, size: int,
    judge: partial[Judge],
) -> Iterator[tuple[Case, Comparison, Shown, dict[str, Shown]]]:  # fmt: skip
    """The worst, the median and the best view, drawn once more by everybody."""
    wanted = cases(comparison)
    if not wanted:
        return
    ways = judge().ways
    by_id = {job.sample_id: job for job in jobs}
    for case in wanted:
        job = by_id[case.sample_id]
        sample = reduced_to(read_sample(dataset.store, job), size)
        inputs = [comparison.headline["inputs"]]
        (choice,) = choices(sample.cameras, [case.camera], inputs, job.index)
        assert choice.held_out is not None
        rgba = views_of(sample, [choice.held_out]).images[0]
        drawn = {}
        for name, way in ways.items():
            try:
                drawn[name] = way(sample, choice)
            except InputError:
                # Its row says why; the page lists it under "Not shown".
                continue
        yield case, comparison, Shown(on_white(rgba), rgba[3]), drawn


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `evaluate`."""
    config = configuration.parse(
        EvaluateConfig,
        argv,
        prog="mouse-facelift evaluate",
        description="Runs and baselines side by side on views that none of them is given.",
    )
    comparison = evaluate(config)
    print("\n".join(target_lines(comparison)))
    print(f"wrote report.html, metrics.json and metrics.parquet (a row per view) to {config.out}")
    print(f"next: open {config.out}/report.html in a browser")
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.evaluate import main as verb

    run_verb(verb)
