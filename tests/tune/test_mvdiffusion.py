"""The space of the multi-view diffusion model: its settings train, and a search over it comes to its results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mouse_facelift.config import from_plain, read_yaml, to_plain
from mouse_facelift.evaluation.trials import Search
from mouse_facelift.mvdiffusion.pipeline import save_pipeline
from mouse_facelift.mvdiffusion.source import PipelineSource
from mouse_facelift.mvdiffusion.views import ViewsConfig
from tests.mouse_facelift.mvdiffusion.conftest import tiny_pipeline
from tests.synthetic import blob, ring_sample, write_dataset
from training.mvdiffusion_settings import PRESETS, MVDiffusionTrainingConfig
from tune import trial
from tune.app import main
from tune.plan import TRIALS_FOLDER, make_plan
from tune.settings import TuneConfig
from tune.spaces import Overrides
from tune.trial import OUTCOME_FILE, run_trial


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> MVDiffusionTrainingConfig:
    """Fine-tuning of a tiny pipeline folder on two samples; a third is held out."""
    folder = tmp_path_factory.mktemp("world")
    samples = [ring_sample(blob(i), i, views=6, size=16) for i in range(3)]
    data = write_dataset(folder / "data", {"train": samples[:2], "val": samples[2:]})
    save_pipeline(tiny_pipeline(), folder / "pipeckpts")
    return replace(
        PRESETS["debug"],
        data=str(data),
        out=folder,
        model=PipelineSource(folder=folder / "pipeckpts"),
        views=ViewsConfig(image_size=16, background="white", references=("turntable_000", "turntable_003")),
    )


@pytest.fixture
def settings(base: MVDiffusionTrainingConfig, tmp_path: Path) -> TuneConfig:
    """A search of four trials of one step each."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(to_plain(base)))
    return TuneConfig(
        data=base.data,
        out=tmp_path / "search",
        space="mvdiffusion",
        base=tmp_path / "base.yaml",
        trials=4,
        max_samples=2,
        scheduler="none",
        search="random",
        evaluate_samples=1,
        finalists=0,
        device="cpu",
        side_by_side=1,
        wandb="disabled",
    )


@pytest.mark.parametrize("end", [0, -1])
def test_the_first_and_the_last_value_of_every_setting_train(
    end: int, settings: TuneConfig, monkeypatch: pytest.MonkeyPatch, ray_session: None
) -> None:
    plan = make_plan(settings)
    chosen: Overrides = {}
    for path, axis in plan.space.axes.items():
        if plan.space.active(path, chosen):
            chosen[path] = axis.values()[end]
    assert chosen["finetune.mode"] == ("full" if end == 0 else "lora") and ("finetune.lora_rank" in chosen) == (end < 0)
    monkeypatch.setattr(trial.ray.tune, "report", lambda told: None)
    who = {"trial_id": "t001", "stage": "search", "seed": 0}
    rows = plan.train_split.read(plan.columns), plan.held_out.read(None, plan.held_out_ids)
    run_trial({"trial": who, "overrides": chosen}, plan.orders, *rows)
    outcome = json.loads((settings.out / TRIALS_FOLDER / "t001" / OUTCOME_FILE).read_text())
    assert (outcome["status"], outcome["reason"]) == ("completed", "")
    assert outcome["report"]["scores"]["psnr_foreground"] > 0


@pytest.mark.slow
def test_a_search_over_the_named_space_ends_with_settings_to_replay(
    settings: TuneConfig, base: MVDiffusionTrainingConfig, tmp_path: Path, ray_session: None
) -> None:
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(to_plain(settings)))
    assert main(["--config", str(tmp_path / "search.yaml")]) == 0
    search = Search.read(settings.out)
    assert [trial.status for trial in search.trials] == ["completed"] * 4, [trial.reason for trial in search.trials]
    assert not search.trials[0].overrides and all(trial.overrides for trial in search.trials[1:])
    best = read_yaml(settings.out / "best.yaml") | {"out": str(tmp_path / "replay")}
    replayed = from_plain(MVDiffusionTrainingConfig, best)
    assert (replayed.model, replayed.views, replayed.steps) == (base.model, base.views, 1)
    assert (settings.out / search.trial(search.best_trial).checkpoint / "model.safetensors").is_file()
