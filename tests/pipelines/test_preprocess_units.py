"""What lies ready for the tasks is what was planned, however many units there are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from mouse_facelift.capture.capture import Capture
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.samples.units import FrameSelection, plan_units
from mouse_facelift.storage import Store
from pipelines.preprocess_units import CentresWriter, Job, _planned_centres, _planned_unit, write_plan


def test_every_task_finds_its_unit_and_its_centres(tmp_path: Path) -> None:
    job = cast(Job, SimpleNamespace(store=Store.at(tmp_path)))
    capture = Capture("a", tmp_path, "mammal", (), 1000, 100.0)
    units, _ = plan_units([capture], FrameSelection(num_samples=700), SplitConfig(0), 5)
    write_plan(job, units)
    assert len(units) == 140 and [_planned_unit(job.store, i) for i in range(140)] == units
    centres = [np.random.default_rng(i).normal(size=(len(unit.frames), 3)) for i, unit in enumerate(units)]
    centres[3][1] = np.nan
    writer = CentresWriter(job)
    for start, stop in ((0, 1), (1, 100), (100, 140)):
        writer.add(centres[start:stop])
    writer.flush()
    for i, expected in enumerate(centres):
        assert np.array_equal(_planned_centres(job.store, i), expected, equal_nan=True)
