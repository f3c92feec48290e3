"""Run a search: Ray Tune over the book's trials, results written as they come.

OUT/config.yaml, run.json        what was asked for
OUT/journal.jsonl                every decision, before it was acted on
OUT/trials/ID/                   a training run each: its log, pictures and, for the best, its model
OUT/results.parquet, search.json the results so far
OUT/report.html                  the page to read, of what is known so far; at the end with pictures
OUT/best.yaml                    the winner's training settings, for `train --config`
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import ray
import ray.tune
import yaml

from mouse_facelift.config import CONFIG_FILE, read_yaml, to_plain, write_run_record
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import Image
from mouse_facelift.evaluation.search_report import FramePanel, write_search_report
from mouse_facelift.evaluation.trials import Search, Trial
from mouse_facelift.plain import from_plain
from training.report import panel_file
from training.settings import TrainingConfig
from tune.book import DEFAULT_TRIAL, Book
from tune.journal import Journal
from tune.objective import rank
from tune.plan import Orders, Plan
from tune.recipes import recipe, replayable
from tune.resources import DRIVER_CPU
from tune.scheduling import BookCallback, BookScheduler, BookSearcher, PopulationScheduler
from tune.settings import FREE_ON_RESUME, TuneConfig
from tune.tracking import SearchTracker
from tune.trial import forget_model, run_trial

VERB = "tune"
BEST_FILE, REPORT_FILE = "best.yaml", "report.html"
RAY_FOLDER = "ray"
"""Ray Tune's own files, of no use once a search is over."""


def check_search_folder(settings: TuneConfig) -> None:
    """Refuse a folder that holds another search, or something else.

    Raises:
        InputError: settings that decide what the trials are differ from those the folder's search was started with.
    """
    file = settings.out / CONFIG_FILE
    if not file.exists():
        if settings.out.exists() and any(settings.out.iterdir()):
            raise InputError(f"{settings.out}: is not empty and holds no search; choose another --out")
        return
    stored = to_plain(from_plain(TuneConfig, read_yaml(file), source=str(file)))
    for key, value in to_plain(settings).items():
        if key not in FREE_ON_RESUME and stored[key] != value:
            raise InputError(
                f"{file}: this search was started with another '{key}' ({stored[key]}) than is given now ({value}); "
                f"go on with --config {file}, or choose another --out"
            )


def run_search(plan: Plan, said: Callable[[Book, Trial], None]) -> Search:
    """Run or continue a search to its end.

    Args:
        plan: from `make_plan`.
        said: told of every trial that ended, once the results are on disk.

    Raises:
        InputError: every trial failed.
        KeyboardInterrupt: Ctrl-C; the same command goes on.
    """
    folder = plan.settings.out
    if not (folder / CONFIG_FILE).exists():
        write_run_record(folder, VERB, plan.settings)
    journal = Journal(folder)
    journal.append("session")
    book = Book(plan, journal)
    keeper = _Keeper(book, said)
    if not book.finished:
        _tuner(plan, book, keeper).fit()
    if not book.finished:
        raise KeyboardInterrupt
    return keeper.finish()


class _Keeper:
    """Keeps results and models as trials end."""

    def __init__(self, book: Book, said: Callable[[Book, Trial], None]) -> None:
        self.book, self.said = book, said
        self.tracker = SearchTracker(book.plan)
        self.known = set(book.ends)

    def __deepcopy__(self, memo: object) -> _Keeper:
        """As the book."""
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """As the book."""
        return type(None), ()

    def __call__(self) -> None:
        book = self.book
        for name in [name for name in book.ends if name not in self.known]:
            self.known.add(name)
            self._prune()
            search, folder = book.result(), book.plan.settings.out
            search.write(folder)
            write_search_report(folder / REPORT_FILE, search)
            trial = book.trial(book.specs[name])
            self.tracker(trial)
            self.said(book, trial)

    def finish(self) -> Search:
        """The last results, and what is left of a search that is over."""
        book, folder = self.book, self.book.plan.settings.out
        self.tracker.finish()
        search = book.result()
        search.write(folder)
        shutil.rmtree(folder / RAY_FOLDER, ignore_errors=True)
        if not search.best_trial:
            reasons = dict.fromkeys(trial.reason for trial in search.trials)
            raise InputError(f"{folder}: all {len(search.trials)} trials failed: {'; '.join(reasons)}")
        best = best_config(book.plan.orders, search)
        header = f"# Replay: mouse-facelift {recipe(book.plan.orders.kind).verb} --config {BEST_FILE} --out RUN\n"
        text = header + yaml.safe_dump(replayable(best), sort_keys=False)
        part = folder / f".{BEST_FILE}.tmp"
        part.write_text(text, encoding="utf-8")
        os.replace(part, folder / BEST_FILE)
        write_search_report(folder / REPORT_FILE, search, finalists_pictures(folder, search, book.plan.held_out_ids))
        return search

    def _prune(self) -> None:
        """Models that no result will point at go."""
        plan = self.book.plan
        if plan.settings.keep == "all":
            return
        done = [t for t in self.book.trials() if t.stage == "search" and t.status == "completed"]
        kept = {trial.trial_id for trial in rank(plan.objectives[0], done)[: plan.settings.finalists + 1]}
        for trial in done:
            if trial.trial_id not in kept | {DEFAULT_TRIAL} and trial.checkpoint:
                self.book.forget(trial.trial_id)
                forget_model(plan.settings.out / trial.run)


def best_config(orders: Orders, search: Search) -> TrainingConfig:
    """The training settings of the best configuration: of its first repetition, where there is one."""
    repetitions = [one.trials[0] for one in search.finalists if one.repeats == search.best_trial]
    trial = search.trial(repetitions[0] if repetitions else search.best_trial)
    config = orders.trial_config(trial.trial_id, dict(trial.overrides), trial.seed)
    return dataclasses.replace(config, wandb=orders.base.wandb)


def finalists_pictures(folder: Path, search: Search, held_out: Sequence[str]) -> list[FramePanel]:
    """The sheets of the finalists' first repetitions, those of the same sample together; every sheet has the truth.

    Args:
        folder: the search's.
        search: its result.
        held_out: ids of the samples that trials are judged on.
    """
    # As tasks call them.
    names = {f"sample{number}": name for number, name in enumerate(held_out)}
    sheets: dict[str, dict[str, Image | Path]] = {}
    for one in search.finalists:
        trial = search.trial(one.trials[0])
        last = panel_file(trial.steps, "*")
        for file in sorted((folder / trial.run).glob(last)):
            sheets.setdefault(file.stem.partition("_")[2], {})[one.repeats] = file
    return [FramePanel(names.get(key, key), None, renders) for key, renders in sorted(sheets.items())]


def _tuner(plan: Plan, book: Book, keeper: _Keeper) -> ray.tune.Tuner:
    """Ray Tune, set up anew for every start: what it would restore is in the journal."""
    # Ctrl-C is Ctrl-C, and nobody reads Ray Tune's own result files.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # What decides is worked out here, from what trials report.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    # The search says itself how it goes; Ray Tune would add its tables and complain of the files it did not write.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    orders, settings = plan.orders, plan.settings
    resources, given = orders.resources, {"orders": orders}
    if orders.in_process:
        given |= {"rows": plan.train_split.read(plan.columns)}
        given |= {"held_out": plan.held_out.read(None, plan.held_out_ids)}
        needs = {"CPU": resources.cpus_per_worker} | ({"GPU": g} if (g := resources.gpus_per_worker) else {})
    else:
        needs = {"CPU": DRIVER_CPU}
    trainable = ray.tune.with_resources(
        ray.tune.with_parameters(run_trial, **given), ray.tune.PlacementGroupFactory([needs])
    )
    shutil.rmtree(settings.out / RAY_FOLDER, ignore_errors=True)
    scheduler = PopulationScheduler(book, keeper) if plan.scheduler == "pbt" else BookScheduler(book, keeper)
    return ray.tune.Tuner(
        trainable,
        tune_config=ray.tune.TuneConfig(
            search_alg=BookSearcher(book),
            scheduler=scheduler,
            num_samples=-1,
            # A population takes turns: all of it is there from the start.
            max_concurrent_trials=plan.trials if plan.scheduler == "pbt" else resources.side_by_side,
            # A process that has trained one trial has torch imported and the renderer compiled.
            reuse_actors=orders.in_process,
        ),
        run_config=ray.tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(settings.out),
            failure_config=ray.tune.FailureConfig(max_failures=settings.max_failures),
            callbacks=[BookCallback(book, keeper)],
            verbose=0,
        ),
    )
