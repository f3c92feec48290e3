"""A small search to think with: its plan, without Ray and without training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.synthetic import blob, ring_sample, write_dataset
from training.dataset import Split
from training.gslrm_settings import PRESETS
from tune.objective import parse_objectives
from tune.plan import Orders, Plan
from tune.resources import TrialResources
from tune.settings import TuneConfig
from tune.spaces import Axis, Space

SPACE = Space(kind="gslrm", axes={"losses.alpha": Axis(0.1, 10.0, "log"), "losses.ssim": Axis(options=(0.0, 0.2))})


def two_samples(folder: Path) -> Path:
    """A dataset of one training and one held-out sample."""
    samples = [ring_sample(blob(i), i, size=16) for i in range(2)]
    return write_dataset(folder, {"train": samples[:1], "val": samples[1:]})


def plan(dataset: Path, out: Path) -> Plan:
    """Six trials by TPE and ASHA with rungs at 10 and 20 of 40 samples, and two repetitions of best and default."""
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
