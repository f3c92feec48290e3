from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pandas
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.trials import (
    RESULTS_FILE,
    SEARCH_FILE,
    Knob,
    Objective,
    Point,
    Search,
    Trial,
    finalist,
)


def a_trial(number: int, **more: object) -> Trial:
    first = Trial(
        trial_id=f"t{number:03d}",
        number=number,
        overrides={"losses.alpha": 0.5 * number, "finetune.mode": "lora"},
        seed=number,
        stage="search",
        status="completed",
        steps=10,
        samples_seen=40,
        memory_mib=512.5,
        curve=(Point(20, 1.5, {"psnr_foreground": 10.0}), Point(40, 3.0, {"psnr_foreground": 11.0})),
        scores={"psnr_foreground": 11.0 + number, "mask_iou": 0.5},
        by_views={1: {"psnr_foreground": 9.0, "seconds": 0.1}, 5: {"psnr_foreground": 11.0, "seconds": 0.2}},
    )
    return dataclasses.replace(first, **more)


def a_search(*trials: Trial) -> Search:
    return Search(
        space="loss-weights",
        knobs=(
            Knob("losses.alpha", "log", 1.0, low=0.1, high=10.0),
            Knob("finetune.mode", "choice", "full", options=("full", "lora", None)),
        ),
        objectives=(Objective("psnr_foreground", "max", "dB"),),
        protocol={"samples": "6 of split=val"},
        preset="demo",
        data="/data",
        default_trial="t000",
        best_trial="t001",
        settings={"scheduler": "asha"},
        trials=trials,
        finalists=(finalist(trials[0], True, trials),) if trials else (),
    )


def test_a_search_comes_back_as_it_was_written(tmp_path: Path) -> None:
    default = a_trial(0, overrides={})
    failed = a_trial(2, status="failed", reason="out of memory", curve=(), scores={}, by_views={}, memory_mib=1.0)
    search = a_search(default, a_trial(1), failed)
    search.write(tmp_path)
    assert Search.read(tmp_path) == search


def test_a_search_without_an_ended_trial_can_be_written(tmp_path: Path) -> None:
    a_search().write(tmp_path)
    assert Search.read(tmp_path).trials == ()


def test_values_of_several_kinds_and_empty_ones_keep_their_kind(tmp_path: Path) -> None:
    kinds = [True, 3, 0.25, "lora", None]
    search = a_search(*(a_trial(i, overrides={"a": kind}) for i, kind in enumerate(kinds)), a_trial(9, overrides={}))
    search.write(tmp_path)
    read = [trial.overrides for trial in Search.read(tmp_path).trials]
    assert read == [*({"a": kind} for kind in kinds), {}]
    assert [type(r["a"]) for r in read[:-1]] == [type(kind) for kind in kinds]


def test_others_read_the_table_with_a_column_per_setting_and_score(tmp_path: Path) -> None:
    a_search(a_trial(0, overrides={}), a_trial(1)).write(tmp_path)
    frame = pandas.read_parquet(tmp_path / RESULTS_FILE)
    assert frame["config/losses.alpha"].tolist()[1] == 0.5
    assert frame["score/psnr_foreground"].tolist() == [11.0, 12.0]
    json.loads((tmp_path / SEARCH_FILE).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_finalist_is_mean_and_spread_of_what_did_not_fail() -> None:
    runs = [a_trial(i, stage="final", seed=i) for i in (1, 2, 3)]
    failed = a_trial(4, status="failed", scores={})
    one = finalist(a_trial(0), False, [*runs, failed])
    assert one.seeds == (1, 2, 3)
    assert one.mean["psnr_foreground"] == pytest.approx(13.0)
    assert one.spread["psnr_foreground"] == pytest.approx(1.0)
    assert math.isnan(finalist(a_trial(0), False, runs[:1]).spread["psnr_foreground"])


def test_a_folder_without_a_search_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no search"):
        Search.read(tmp_path)
