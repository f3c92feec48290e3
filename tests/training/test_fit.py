"""Real Ray Train runs: two workers, a crash, a resumed run, and both feeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import TrainingFailedError

from mouse_facelift.checkpoints import load_gslrm, read_weights
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import FragileTask, ListReporter, TinyTask
from training.data import memory_batches
from training.gslrm import PRESETS, train_gslrm
from training.launch import launch
from training.loop import train
from training.metrics_log import read_metrics_log
from training.settings import FeedConfig, OptimiserConfig, TrainingConfig
from training.task import Tensors

SAMPLES = [ring_sample(blob(seed), seed, views=4, size=32) for seed in range(8)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), {"train": SAMPLES[:5], "val": SAMPLES[5:]})


@pytest.mark.slow
def test_two_workers_crash_resume_and_end_where_one_process_ends(
    dataset: Path, tmp_path: Path, ray_session: None
) -> None:
    config = TrainingConfig(
        data=str(dataset),
        out=tmp_path / "run",
        steps=8,
        batch_size=4,
        micro_batch=1,
        num_workers=2,
        log_every=1,
        evaluate_every=4,
        panels_every=4,
        ema_decay=0.5,
        checkpoint_every=3,
        optimiser=OptimiserConfig(lr=1e-2, warmup_steps=2),
        wandb="disabled",
        device="cpu",
    )
    task = FragileTask(marker=tmp_path / "crashed", after=5)
    with pytest.raises(TrainingFailedError, match="the machine went away"):
        launch(task, config, "train tiny")
    assert not (config.out / "checkpoint").exists()
    result = launch(task, replace(config, resume=True), "train tiny")

    log = read_metrics_log(config.out / "metrics.jsonl", "train")
    assert [entry["step"] for entry in log] == list(range(1, 9)), "every step once, in order"
    assert result.steps == 8 and result.metrics["number"] == 1.0
    page = (config.out / "report.html").read_text()
    assert "8 of 8 steps" in page and page.count("data:image/png") == 6, "three samples at two moments"
    reporter = ListReporter(tmp_path / "alone")
    rows: Sequence[Mapping[str, Any]] = [row_from_sample(sample) for sample in SAMPLES[:5]]

    def batches(start: int) -> Iterator[Tensors]:
        return memory_batches(rows, TinyTask().collate, batch_size=4, seed=0, rank=0, world_size=1, start=start)

    # One process makes the two workers' passes one after another.
    train(TinyTask(), config, batches, [], reporter)
    expected, got = read_weights(tmp_path / "alone" / "step8"), read_weights(result.checkpoint)
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_gslrm_on_two_workers_from_a_stream(dataset: Path, tmp_path: Path, ray_session: None) -> None:
    config = replace(
        PRESETS["debug"],
        data=str(dataset),
        out=tmp_path / "run",
        steps=4,
        num_workers=2,
        feed=FeedConfig(mode="stream"),
        wandb="disabled",
        device="cpu",
    )
    result = train_gslrm(config)
    assert result.checkpoint == config.out / "checkpoint"
    assert load_gslrm(config.out).config == config.model
    assert result.metrics["psnr_foreground"] > 0 and result.metrics["blank_mask_iou"] == 0.0
    start = read_metrics_log(config.out / "metrics.jsonl", "start")
    assert [entry["workers"] for entry in start] == [2]
    losses = [entry["loss"] for entry in read_metrics_log(config.out / "metrics.jsonl", "train")]
    assert losses and all(loss > 0 for loss in losses)
