"""A search that is killed at any moment goes on to the same trials: none twice, none lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.evaluation.trials import Search
from tests.tune.plans import plan, two_samples
from tune.book import Book, Spec
from tune.journal import JOURNAL_FILE, Journal
from tune.scheduling import BookScheduler


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_samples(tmp_path_factory.mktemp("dataset"))


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
    early = Search.read(tmp_path / "early")
    assert early.trials == () and early.settings["unfinished"] == "0 of 10 trials have ended"
    drive(book, [])
    search = book.result()
    assert "unfinished" not in search.settings
    assert search.trial("t000").status == "completed", "all are compared with the default, which is never stopped"
    assert {one.is_default for one in search.finalists} == {True, False}
    assert all(one.seeds == (1, 2) for one in search.finalists)
    means = [one.mean["psnr_foreground"] for one in search.finalists]
    assert means == sorted(means, reverse=True) and search.best_trial == search.finalists[0].repeats
    assert search.trial("t000").overrides == {} and search.trial("t002").reason == "out of memory"
