"""No training frame is ever nearer to a validation frame than the gap."""

from __future__ import annotations

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.splits import SplitConfig, assign_splits


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


def test_no_validation_when_none_is_asked_for():
    assert set(assign_splits(np.arange(10) / 10, SplitConfig(val_fraction=0))) == {"train"}


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="val_fraction"):
        SplitConfig(val_fraction=1.5)
