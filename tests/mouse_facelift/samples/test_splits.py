"""No training frame is ever nearer to a validation frame than the gap, whatever is held out."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig, assign_splits, check_captures, describe_splits


def recording(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Irregular times of frames and their segments."""
    times = np.unique(rng.integers(0, 2000, rng.integers(30, 300))) / 100
    cuts = np.sort(rng.choice(np.arange(1, len(times)), 2, replace=False))
    return times, np.searchsorted(cuts, np.arange(len(times)), side="right")


def nearest(times: np.ndarray, splits: np.ndarray) -> float:
    train, val = times[splits == "train"], times[splits == "val"]
    return np.abs(train[:, None] - val).min() if len(train) and len(val) else np.inf


@pytest.mark.parametrize("seed", range(20))
def test_splits_are_blocks_apart_by_the_gap(seed):
    rng = np.random.default_rng(seed)
    times = np.unique(rng.integers(0, 2000, rng.integers(5, 300))) / 100
    config = SplitConfig(val_fraction=float(rng.uniform(0.05, 0.5)), gap_s=float(rng.choice([0.0, 0.05, 0.31])))
    splits = np.array(assign_splits(times, config))
    train, val = times[splits == "train"], times[splits == "val"]
    assert len(val) == max(1, round(config.val_fraction * len(times)))
    if len(train):
        assert train.max() < val.min()
        assert val.min() - train.max() >= config.gap_s - 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_the_gap_holds_between_blocks_and_across_cuts_and_wastes_nothing(seed):
    rng = np.random.default_rng(seed)
    times, segments = recording(rng)
    gap = float(rng.choice([0.0, 0.05, 0.31]))
    configs = [
        SplitConfig(float(rng.uniform(0.05, 0.5)), gap, blocks=int(rng.integers(1, 6))),
        SplitConfig(gap_s=gap, val_segments=(int(rng.integers(3)),)),
    ]
    for config in configs:
        splits = np.array(assign_splits(times, config, segments))
        assert nearest(times, splits) >= gap - 1e-6
        val = times[splits == "val"]
        for lost in times[splits == "gap"]:
            assert np.abs(lost - val).min() < gap


def test_blocks_are_spread_evenly_and_hold_the_same_share():
    splits = np.array(assign_splits(np.arange(1000) / 100, SplitConfig(0.2, 0.1, blocks=4)))
    assert [list(np.flatnonzero(splits[i : i + 250] == "val")) for i in range(0, 1000, 250)] == [
        list(range(200, 250))
    ] * 4
    # Nine frames of gap before each block, and after each but the last.
    assert (splits == "gap").sum() == 9 * 7
    assert assign_splits(np.arange(6.0), SplitConfig(0.2, 0, blocks=5)).count("val") == 1


def test_whole_segments_and_whole_recordings():
    times, segments = np.arange(300) / 100, np.repeat([0, 1, 2], 100)
    splits = np.array(assign_splits(times, SplitConfig(gap_s=0.05, val_segments=(1,)), segments))
    assert (splits[100:200] == "val").all() and (splits[:96] == "train").all() and (splits[96:100] == "gap").all()
    assert (splits[204:] == "train").all() and (splits[200:204] == "gap").all()
    config = SplitConfig(val_captures=("b",))
    assert set(assign_splits(times, config, segments, "a")) == {"train"}
    assert set(assign_splits(times, config, segments, "b")) == {"val"}
    both = SplitConfig(val_captures=("b",), val_segments=(2,), gap_s=0)
    assert np.array_equal(np.array(assign_splits(times, both, segments, "a")) == "val", segments == 2)


def test_names_and_numbers_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="no selected frames in segment 7.*segments 0, 1"):
        assign_splits(np.arange(4.0), SplitConfig(val_segments=(1, 7)), np.array([0, 0, 1, 1]), "a")
    with pytest.raises(InputError, match="no recording is named mouse9.*there are mouse1, mouse2"):
        check_captures(["mouse1", "mouse2"], SplitConfig(val_captures=("mouse9", "mouse2")))
    check_captures(["mouse1", "mouse2"], SplitConfig(val_captures=("mouse2",)))


def test_the_description_measures_the_plan_itself():
    config = SplitConfig(gap_s=0.1)
    times = {"a": {"train": [0.0, 0.1, 0.2], "val": [0.35, 0.45]}, "b": {"train": [0.0], "val": []}}
    described = describe_splits(config, times)
    assert described["captures"] == {
        "a": {"train": 3, "val": 2, "gap_s": 0.15},
        "b": {"train": 1, "val": 0, "gap_s": None},
    }
    with pytest.raises(RuntimeError, match="0.05"):
        describe_splits(config, {"a": {"train": [0.0, 0.3], "val": [0.35]}})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SplitConfig(), "the last part of every segment (0.1 of its frames)"),
        (SplitConfig(blocks=3), "3 blocks of every segment (0.1 of its frames)"),
        (SplitConfig(val_segments=(0, 2)), "segment 0, 2 of every recording"),
        (SplitConfig(val_captures=("b",)), "recording b"),
    ],
)
def test_the_rule_is_said_in_words(config, words):
    assert config.rule == words


def test_no_validation_when_none_is_asked_for():
    assert set(assign_splits(np.arange(10) / 10, SplitConfig(val_fraction=0))) == {"train"}
    assert assign_splits(np.zeros(0), SplitConfig()) == []


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="val_fraction"):
        SplitConfig(val_fraction=1.5)
    with pytest.raises(InputError, match="blocks"):
        SplitConfig(blocks=0)
    with pytest.raises(InputError, match="blocks"):
        SplitConfig(blocks=2, val_segments=(1,))
