"""The claim on an output folder: the same run goes on, any other leaves it alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store
from pipelines import units_of_work
from pipelines.units_of_work import WORK, claim, map_with_progress


@dataclass(frozen=True)
class Settings:
    depth: int = 1


def test_a_claim_is_for_one_run(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "out")
    claim(store, {"depth": 1}, "dig", Settings())
    before = store.list()
    assert {"config.yaml", "run.json", f"{WORK}/run.json"} == set(before)
    claim(store, {"depth": 1}, "dig", Settings())
    assert store.list() == before
    with pytest.raises(InputError, match="other settings"):
        claim(store, {"depth": 2}, "dig", Settings(2))


def test_killed_between_claim_and_record_the_record_is_made_up_for(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "out")
    claim(store, {}, "dig", Settings())
    for name in ("config.yaml", "run.json"):
        (tmp_path / "out" / name).unlink()
    claim(store, {}, "dig", Settings())
    assert store.exists("config.yaml") and store.exists("run.json")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        claim(Store.at(tmp_path), {}, "dig", Settings())
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_every_item_is_one_task(tmp_path: Path, ray_session: None) -> None:
    def task(row: dict[str, int]) -> dict[str, int]:
        (tmp_path / str(row["item"])).write_text("done")
        return {"count": row["item"]}

    map_with_progress("dig", 5, task, 10, " holes")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]


def test_more_items_than_tasks_are_all_done(tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def task(row: dict[str, int]) -> dict[str, int]:
        (tmp_path / str(row["item"])).write_text("done")
        return {"count": 1}

    monkeypatch.setattr(units_of_work, "MOST_TASKS", 3)
    map_with_progress("dig", 11, task, 11, " holes")
    assert {int(p.name) for p in tmp_path.iterdir()} == set(range(11))


def test_what_a_task_refuses_is_told_as_it_is(ray_session: None) -> None:
    def task(row: dict[str, int]) -> dict[str, int]:
        raise InputError(f"item {row['item']}: give another")

    with pytest.raises(InputError, match="^item 0: give another$"):
        map_with_progress("dig", 1, task, 1)
