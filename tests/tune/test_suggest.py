"""Suggestions lie in the space, depend on nothing but their arguments, and get better where they learn."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from mouse_facelift.evaluation.trials import Objective
from tune.catalogue import SPACES
from tune.spaces import Axis, Space
from tune.suggest import Known, suggest

UP = (Objective("psnr_foreground", "max"),)
SPACE = SPACES["gslrm"]
LINE = Space(kind="gslrm", axes={"losses.alpha": Axis(1e-3, 1e3, "log")})


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_suggestions_lie_in_the_space_and_obey_its_conditions(method: Literal["tpe", "random"]) -> None:
    for number in range(8):
        chosen = suggest(SPACE, method, number, 0, (), UP)
        for path, axis in SPACE.axes.items():
            assert (path in chosen) == SPACE.active(path, chosen)
            assert path not in chosen or axis.contains(chosen[path])
    assert suggest(SPACE, method, 3, 0, (), UP) == suggest(SPACE, method, 3, 0, (), UP)
    assert suggest(SPACE, method, 3, 0, (), UP) != suggest(SPACE, method, 4, 0, (), UP)


def _found(method: Literal["tpe", "random"], seed: int) -> float:
    """How near, in decades, 24 suggestions come to a peak at 30, on average over the last 12."""
    known: list[Known] = []
    for number in range(24):
        chosen = suggest(LINE, method, number, seed, known, UP)
        alpha = chosen["losses.alpha"]
        assert isinstance(alpha, float)
        known.append(Known(chosen, "completed", (-abs(math.log10(alpha / 30.0)),), 10))
    return -sum(entry.scores[0] for entry in known[12:]) / 12


def test_the_estimator_learns_where_the_peak_is() -> None:
    assert sum(_found("tpe", seed) for seed in (0, 1)) < 0.6 * sum(_found("random", seed) for seed in (0, 1))


def test_unfinished_stopped_and_failed_trials_and_values_outside_the_space_are_taken() -> None:
    known = [
        Known({"losses.alpha": 1e9}, "completed", (1.0,), 10),
        Known({"losses.alpha": 1.0}, "running"),
        Known({"losses.alpha": 2.0}, "stopped", (0.5,), 5),
        Known({"losses.alpha": 3.0}, "failed"),
        Known({"losses.alpha": 4.0}, "completed", (math.nan,), 10),
    ]
    assert LINE.axes["losses.alpha"].contains(suggest(LINE, "tpe", 9, 0, known * 3, UP)["losses.alpha"])
    both = (*UP, Objective("seconds_train", "min"))
    two = [Known(k.overrides, k.state, k.scores * 2, k.samples_seen) for k in known]
    assert LINE.axes["losses.alpha"].contains(suggest(LINE, "tpe", 9, 0, two * 3, both)["losses.alpha"])
