"""Preflight: what cannot work is refused with the reason before Ray is asked for anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mouse_facelift.config import write_run_record
from mouse_facelift.errors import InputError
from training.dataset import Split
from training.gslrm import PRESETS, GSLRMTrainingConfig, train_gslrm
from training.launch import check_run_folder, choose_feed, plan_resources
from training.settings import FeedConfig, OptimiserConfig, TrainingConfig


def _config(**changes: object) -> TrainingConfig:
    return replace(TrainingConfig(data="d", out=Path("o"), num_workers=2, batch_size=4), **changes)  # type: ignore[arg-type]


def test_workers_that_leave_no_cpu_to_ray_data_are_refused_with_the_sum() -> None:
    with pytest.raises(InputError) as caught:
        plan_resources(_config(cpus_per_worker=1.0), "stream", {"CPU": 2.0})
    assert "2 workers x 1 CPU + 1 CPU for Ray Data = 3 CPU, Ray has 2" in str(caught.value)
    assert "--num-workers" in str(caught.value)


@pytest.mark.parametrize("feed", ["memory", "stream"])
@pytest.mark.parametrize("cpus", [2.0, 3.0, 8.0, 64.0])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_default_shares_always_leave_one_cpu(cpus: float, workers: int, feed: str) -> None:
    plan = plan_resources(_config(num_workers=workers), feed, {"CPU": cpus})
    assert 0 < plan.cpus_per_worker <= 1 and plan.cpus_per_worker * workers + 1 <= cpus and not plan.use_gpu


def test_one_cpu_is_enough_for_samples_in_memory_only() -> None:
    assert plan_resources(_config(num_workers=1), "memory", {"CPU": 1.0}).cpus_per_worker == 1.0
    with pytest.raises(InputError, match="--feed.mode memory"):
        plan_resources(_config(num_workers=1), "stream", {"CPU": 1.0})


def test_gpus() -> None:
    assert plan_resources(_config(), "memory", {"CPU": 8.0, "GPU": 2.0}).use_gpu
    assert not plan_resources(_config(device="cpu"), "memory", {"CPU": 8.0, "GPU": 2.0}).use_gpu
    with pytest.raises(InputError, match="2 workers need 2 GPUs, Ray has 1; use --num-workers 1"):
        plan_resources(_config(), "memory", {"CPU": 8.0, "GPU": 1.0})
    with pytest.raises(InputError, match="Ray has 0"):
        plan_resources(_config(device="cuda"), "memory", {"CPU": 8.0})


def test_an_elastic_run_must_fit_with_its_fewest_workers_and_never_starve_ray_data() -> None:
    elastic = _config(num_workers=4, min_workers=1, batch_size=12)
    plan = plan_resources(elastic, "stream", {"CPU": 2.0})
    assert 4 * plan.cpus_per_worker + 1 <= 2
    assert plan_resources(replace(elastic, cpus_per_worker=1.0), "memory", {"CPU": 2.0}).cpus_per_worker == 1.0
    with pytest.raises(InputError, match="2 workers x 1 CPU . 1 CPU for Ray Data = 3 CPU, Ray has 2"):
        plan_resources(replace(elastic, cpus_per_worker=1.0), "stream", {"CPU": 2.0})
    assert plan_resources(elastic, "memory", {"CPU": 8.0, "GPU": 1.0}).use_gpu


def test_a_stream_must_split_evenly_over_every_possible_number_of_workers() -> None:
    large, stream = Split("train", ("a",), bytes=2**40, rows=10**6), FeedConfig(mode="stream")
    assert choose_feed(_config(num_workers=3, min_workers=1, batch_size=6, feed=stream), large) == "stream"
    with pytest.raises(InputError, match="streamed batch of 6 cannot be split evenly over 4 workers"):
        choose_feed(_config(num_workers=4, min_workers=1, batch_size=6, feed=stream), large)
    assert choose_feed(_config(num_workers=4, batch_size=6, feed=FeedConfig(mode="memory")), large) == "memory"


def test_an_overfitting_test_is_kept_in_memory() -> None:
    large = Split("train", ("a",), bytes=2**40, rows=10**6)
    assert choose_feed(_config(overfit=4), large) == "memory"


def test_feed_follows_size_and_wish() -> None:
    small = Split("train", ("a",), bytes=2**20, rows=3)
    large = Split("train", ("a",), bytes=2**40, rows=10**6)
    assert choose_feed(_config(), small) == "memory"
    assert choose_feed(_config(), large) == "stream"
    assert choose_feed(_config(feed=FeedConfig(mode="memory")), large) == "memory"
    with pytest.raises(InputError, match="3 samples, a streamed batch needs 4"):
        choose_feed(_config(feed=FeedConfig(mode="stream")), small)


def test_a_run_is_never_overwritten_nor_resumed_as_another(tmp_path: Path) -> None:
    config = replace(PRESETS["debug"], data="d", out=tmp_path / "run")
    with pytest.raises(InputError, match="no run to resume"):
        check_run_folder(replace(config, resume=True))
    check_run_folder(config)
    write_run_record(config.out, "train gslrm", config)
    with pytest.raises(InputError, match="already holds a training run; continue it with --resume"):
        check_run_folder(config)
    check_run_folder(replace(config, resume=True, num_workers=2, log_every=1, wandb="offline"))
    for changed in (
        replace(config, resume=True, steps=99),
        replace(config, resume=True, optimiser=OptimiserConfig(lr=0.5)),
    ):
        with pytest.raises(InputError, match="started with another '(steps|optimiser)'"):
            check_run_folder(changed)


def test_missing_dataset_and_checkpoint(tmp_path: Path) -> None:
    config: GSLRMTrainingConfig = replace(PRESETS["debug"], data=str(tmp_path / "none"), out=tmp_path / "run")
    with pytest.raises(InputError, match="none is not a complete dataset"):
        train_gslrm(config)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="nowhere: no such checkpoint"):
        train_gslrm(replace(config, init_from=tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists(), "a refused run leaves nothing behind"
