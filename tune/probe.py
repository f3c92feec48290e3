"""How long a step takes, for the plan: one is made and timed before a search."""

from __future__ import annotations

import time

import torch

from training.data import Rows
from training.optimiser import make_optimiser
from training.task import Moment
from training.worker import set_threads
from tune.plan import Plan, prepared

_STEPS = 2
_LARGEST = 30_000_000
"""Parameters of a model up to which the probe takes seconds rather than minutes."""


def seconds_per_step(plan: Plan) -> float | None:
    """Seconds of one training step of the default on this machine's CPU, with a trial's number of threads.

    None where it would say nothing: trials on GPUs or other processes, or a model that takes long to build.
    """
    orders = plan.orders
    if orders.resources.gpus_per_worker or not orders.in_process:
        return None
    config = orders.trial_config("probe", {}, plan.settings.seed)
    task, _ = prepared(orders, config)
    set_threads(config.threads)
    torch.manual_seed(config.seed)
    model = task.build_model()
    if sum(parameter.numel() for parameter in model.parameters()) > _LARGEST:
        return None
    optimiser = make_optimiser(model, config.optimiser, {})
    ids = plan.train_split.spread_ids(config.batch_size)
    rows = Rows(plan.train_split.read(plan.columns, ids))
    batch = task.collate([rows[i % len(rows)] for i in range(config.batch_size)])
    companions = task.companions(torch.device("cpu"))
    took = 0.0
    for step in range(1 + _STEPS):
        began = time.thread_time()
        loss, _ = task.loss(model, batch, Moment(step, torch.Generator().manual_seed(step), companions))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # The first step compiles.
        took += time.thread_time() - began if step else 0.0
    return took / _STEPS
