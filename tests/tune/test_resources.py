"""How many trials fit, and the sum where none does."""

from __future__ import annotations

from typing import Any

import pytest

from mouse_facelift.errors import InputError
from tune.resources import plan_trials

ASKED: dict[str, Any] = {
    "workers": 1,
    "cpus_per_worker": None,
    "gpus_per_worker": 1.0,
    "use_gpu": False,
    "stream": False,
    "most": 99,
}


def side_by_side(machines: list[dict[str, float]], **asked: Any) -> int:
    return plan_trials(machines, **ASKED | asked).side_by_side


def test_trials_of_one_worker_take_every_cpu() -> None:
    assert side_by_side([{"CPU": 2.0}]) == 2
    assert side_by_side([{"CPU": 2.0}], most=1) == 1
    assert side_by_side([{"CPU": 1.0}], cpus_per_worker=0.1) == 10


def test_a_worker_never_spans_machines() -> None:
    assert side_by_side([{"CPU": 1.5}] * 4, workers=2, cpus_per_worker=1.0) == 2
    assert side_by_side([{"CPU": 8.0, "GPU": 1.0}] * 2, use_gpu=True, gpus_per_worker=0.4) == 4


def test_ray_data_keeps_its_share() -> None:
    assert side_by_side([{"CPU": 8.0}], stream=True) == 3
    assert side_by_side([{"CPU": 8.0}], workers=2, cpus_per_worker=1.0) == 3


def test_what_does_not_fit_is_refused_with_the_sum() -> None:
    with pytest.raises(InputError) as caught:
        side_by_side([{"CPU": 2.0}], workers=2)
    assert "2 workers x 1 CPU + 1 CPU for Ray Data + 0.01 CPU for its driver = 3.01 CPU" in str(caught.value)
    assert "have 2" in str(caught.value) and "--cpus-per-worker" in str(caught.value)
    with pytest.raises(InputError, match="2 x 1 GPU = 2, they have 1"):
        side_by_side([{"CPU": 9.0, "GPU": 1.0}], workers=2, use_gpu=True)
