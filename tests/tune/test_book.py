"""A search that is killed at any moment goes on to the same trials: none twice, none lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.evaluation.trials import Search
from tests.synthetic import blob, ring_sample, write_dataset
from training.dataset import Split
from training.gslrm_settings import PRESETS
from tune.book import Book, Spec
from tune.journal import JOURNAL_FILE, Journal
from tune.objective import parse_objectives
from tune.plan import Orders, Plan
from tune.resources import TrialResources
from tune.scheduling import BookScheduler
from tune.settings import TuneConfig
from tune.spaces import Axis, Space

SPACE = Space(kind="gslrm", axes={"losses.alpha": Axis(0.1, 10.0, "log"), "losses.ssim": Axis(options=(0.0, 0.2))})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [ring_sample(blob(i), i, size=16) for i in range(2)]
    return write_dataset(tmp_path_factory.mktemp("dataset"), {"train": samples[:1], "val": samples[1:]})


def plan(dataset: Path, out: Path) -> Plan:
    base = dataclasses.replace(PRESETS["debug"], data=str(dataset), out=out)
    orders = Orders(
        kind="gslrm",
        base=base,
        folder=out,
        max_samples=40,
        grace_samples=10,
        inputs=(3,),
        most_inputs=3,
        by_views=False,
        resources=TrialResources(1, 1.0, 0.0, 2),
        in_process=True,
        hands_over=False,
        max_failures=0,
    )
    return Plan(
        settings=TuneConfig(data=str(dataset), out=out, final_seeds=2),
        space_name="test",
        space=SPACE,
        objectives=parse_objectives(("psnr_foreground",)),
        scheduler="asha",
        search="tpe",
        trials=6,
        grid=(),
        orders=orders,
        train_split=Split.find(str(dataset), "train"),
        held_out=Split.find(str(dataset), "val"),
        columns=None,
        held_out_ids=("ring-000001",),
    )


class Killed(Exception):
    """The process is gone."""


class FragileJournal(Journal):
    """Dies before its n-th line, or in the middle of it."""

    left = 10**9
    torn = False

    def append(self, event: str, **values: Any) -> dict[str, Any]:
        if self.left == 0:
            if self.torn:
                with self.path.open("ab") as file:
                    file.write(b'{"event": "po')
            raise Killed
        self.left -= 1
        return super().append(event, **values)


def quality(spec: Spec, samples: int) -> float:
    """A made-up learning curve that depends on the configuration and the seed alone."""
    alpha = spec.overrides.get("losses.alpha", 1.0)
    assert isinstance(alpha, float)
    return -abs(alpha - 2.0) + samples / 100 + spec.seed / 1000


def drive(book: Book, trained: list[tuple[str, int]]) -> None:
    """Run every trial to its end, one after the other, as Ray Tune would; notes what was trained."""
    scheduler = BookScheduler(book, lambda: None)
    while isinstance(spec := book.next(), Spec):
        if spec.trial_id == "t002":
            book.ended(spec.trial_id, "failed", "out of memory")
            continue
        for samples in (10, 20, 30, 40):
            report = {"samples_seen": samples, "seconds_train": samples / 10, "scores": {}, "overrides": spec.overrides}
            report["scores"] = {"psnr_foreground": quality(spec, samples)}
            if book.point(spec.trial_id, report):
                trained.append((spec.trial_id, samples))
                if scheduler._decide(spec.trial_id, report) == "STOP":
                    break
        else:
            book.ended(spec.trial_id, "completed", report=report)


def outcome(book: Book) -> list[tuple[Any, ...]]:
    return [(t.trial_id, t.overrides, t.seed, t.status, t.samples_seen, t.scores) for t in book.trials()]


def test_killed_before_any_line_a_search_ends_as_if_it_had_not_been(dataset: Path, tmp_path: Path) -> None:
    whole = Book(plan(dataset, tmp_path / "whole"), Journal(tmp_path / "whole"))
    drive(whole, [])
    lines = len(whole.journal.events)
    assert {t.status for t in whole.trials()} == {"completed", "stopped", "failed"} and whole.finished
    for kill in range(0, lines, 3):
        folder = tmp_path / str(kill)
        journal, trained = FragileJournal(folder), []
        journal.left, journal.torn = kill, bool(kill % 2)
        with pytest.raises(Killed):
            drive(Book(plan(dataset, folder), journal), trained)
        again = Book(plan(dataset, folder), Journal(folder))
        drive(again, trained)
        assert outcome(again) == outcome(whole), kill
        assert len(trained) == len(set(trained)), f"killed at {kill}: a point was trained twice"
        assert len((folder / JOURNAL_FILE).read_bytes().splitlines()) == lines


def test_results_are_whole_at_any_time_and_finals_repeat_best_and_default(dataset: Path, tmp_path: Path) -> None:
    book = Book(plan(dataset, tmp_path), Journal(tmp_path))
    book.result().write(tmp_path / "early")
    assert Search.read(tmp_path / "early").trials == ()
    drive(book, [])
    search = book.result()
    assert {one.is_default for one in search.finalists} == {True, False}
    assert all(one.seeds == (1, 2) for one in search.finalists)
    means = [one.mean["psnr_foreground"] for one in search.finalists]
    assert means == sorted(means, reverse=True) and search.best_trial == search.finalists[0].repeats
    assert search.trial("t000").overrides == {} and search.trial("t002").reason == "out of memory"
