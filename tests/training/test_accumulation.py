"""A step's gradient is that of the whole batch, whatever the number of passes and workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mouse_facelift.checkpoints import read_weights
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample
from tests.training.tiny import ListReporter, TinyTask
from training.accumulation import gradient_share, pooled, share_of, split_into_passes
from training.data import memory_batches
from training.loop import train
from training.settings import OptimiserConfig, TrainingConfig
from training.task import Moment, Tensors

CONFIG = TrainingConfig(
    data="unused",
    out=Path("unused"),
    steps=4,
    batch_size=4,
    log_every=1,
    evaluate_every=4,
    checkpoint_every=4,
    optimiser=OptimiserConfig(lr=1e-2, warmup_steps=1),
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row_from_sample(ring_sample(blob(seed), seed, views=2, size=16)) for seed in range(5)]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 16])
def test_shares_cover_every_position_once(batch_size: int) -> None:
    for world in range(1, batch_size + 1):
        shares = [share_of(batch_size, rank, world) for rank in range(world)]
        covered = [p for share in shares for p in range(share.first, share.first + share.count)]
        assert covered == list(range(batch_size)) and all(share.count for share in shares)


def test_passes_keep_samples_in_order_and_know_their_place() -> None:
    batch = {"x": torch.arange(7), "y": torch.arange(14).reshape(7, 2)}
    passes = split_into_passes(batch, 3, 3)
    assert [(p.first, p.samples) for p in passes] == [(3, 3), (6, 3), (9, 1)]
    for name, tensor in batch.items():
        assert torch.equal(torch.cat([p.batch[name] for p in passes]), tensor)
    assert [(p.first, p.samples) for p in split_into_passes(batch, 0, 0)] == [(0, 7)]


@pytest.mark.parametrize(("world", "micro"), [(1, 0), (1, 1), (1, 3), (2, 1), (3, 2), (4, 1)])
def test_gradients_add_up_to_the_global_batchs(world: int, micro: int) -> None:
    torch.manual_seed(0)
    batch = {"intrinsics": torch.randn(5, 4), "colours": torch.rand(5, 4)}
    task = TinyTask(noise=0.0)
    model = task.build_model()
    moment = Moment(0, torch.Generator(), None)

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])

    expected = gradient(task.loss(model, batch, moment)[0])
    total = torch.zeros_like(expected)
    for rank in range(world):
        share = share_of(5, rank, world)
        mine = {name: tensor[share.first : share.first + share.count] for name, tensor in batch.items()}
        for part in split_into_passes(mine, share.first, micro):
            # The mean over workers is what DDP makes of it.
            total += gradient_share(part.samples, 5, world) * gradient(task.loss(model, part.batch, moment)[0]) / world
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-7)


def _trained(task: TinyTask, config: TrainingConfig, rows: list[dict[str, Any]], folder: Path) -> dict[str, Tensor]:
    def batches(start: int) -> Iterator[Tensors]:
        return memory_batches(
            rows, task.collate, batch_size=config.batch_size, seed=0, rank=0, world_size=1, start=start
        )

    reporter = ListReporter(folder)
    train(task, config, batches, rows[:1], reporter)
    return read_weights(folder / "step4")


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_a_run_in_passes_ends_where_one_pass_ends(rows: list[dict[str, Any]], tmp_path: Path, micro: int) -> None:
    # Adam's first steps divide by the size of a gradient: rounding is magnified there, hence 1e-5 after four steps.
    whole = _trained(TinyTask(noise=0.0), CONFIG, rows, tmp_path / "whole")
    parts = _trained(TinyTask(noise=0.0), replace(CONFIG, micro_batch=micro), rows, tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6)


def test_scalars_are_means_over_samples_of_what_was_computed() -> None:
    nan = float("nan")
    seen = [{"a": torch.tensor(1.0), "b": torch.tensor(nan)}, {"a": torch.tensor(4.0), "b": torch.tensor(3.0)}]
    means = pooled(seen, [2, 1])
    assert means["a"] == 2.0 and means["b"] == 3.0
    assert pooled([{"a": torch.tensor(nan)}], [2])["a"].isnan()


def test_plain_models_need_no_exchange() -> None:
    from training.accumulation import without_exchange

    with without_exchange(nn.Linear(1, 1)) as nothing:
        assert nothing is None
