"""The averaged weights: what they are, when the model wears them, and that a resumed run has the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mouse_facelift.checkpoints import read_state, read_weights
from mouse_facelift.errors import InputError
from mouse_facelift.finetuning import FinetuneConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample
from tests.training.tiny import ListReporter
from training.data import memory_batches
from training.ema import Average, decay_at
from training.gslrm import PRESETS, GSLRMTask, GSLRMTrainingConfig
from training.loop import train
from training.task import Tensors


def test_decay_rises_to_its_value() -> None:
    assert decay_at(0, 0.999) == 0.1 and decay_at(10, 0.999) == 11 / 20
    assert decay_at(10**6, 0.999) == 0.999 and decay_at(5, 0.2) == 0.2


def test_average_follows_its_formula_and_leaves_frozen_weights_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    average, expected = Average(model), model.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            model.weight.add_(1.0)
        average.update(model, step, 0.9)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert set(average.state()) == {"weight"}
    torch.testing.assert_close(average.state()["weight"], expected)


def test_the_model_wears_the_average_only_inside() -> None:
    model = nn.Linear(2, 2)
    average = Average(model)
    with torch.no_grad():
        model.weight.add_(1.0)
    own, averaged = model.weight.detach().clone(), average.state()["weight"].clone()
    with average.shown(model):
        assert torch.equal(model.weight, averaged) and torch.equal(model.state_dict()["weight"], averaged)
    assert torch.equal(model.weight, own) and torch.equal(average.state()["weight"], averaged)
    with pytest.raises(InputError, match="averages other weights"):
        average.load({"weight": own})


CONFIG = replace(
    PRESETS["debug"],
    data="unused",
    out=Path("unused"),
    steps=4,
    evaluate_every=2,
    checkpoint_every=2,
    panels_every=4,
    ema_decay=0.5,
)
LORA = FinetuneConfig(mode="lora", lora_rank=2)


def _run(config: GSLRMTrainingConfig, folder: Path, resume_from: Path | None = None) -> ListReporter:
    rows: list[dict[str, Any]] = [row_from_sample(ring_sample(blob(seed), seed)) for seed in range(3)]
    task, reporter = GSLRMTask(config), ListReporter(folder)

    def batches(start: int) -> Iterator[Tensors]:
        return memory_batches(rows, task.collate, batch_size=2, seed=0, rank=0, world_size=1, start=start)

    train(task, config, batches, rows[:2], reporter, resume_from=resume_from)
    return reporter


@pytest.mark.parametrize("finetune", [FinetuneConfig(), LORA], ids=["full", "lora"])
def test_resumed_average_and_corrections_are_exact(finetune: FinetuneConfig, tmp_path: Path) -> None:
    config = replace(CONFIG, finetune=finetune)
    whole = _run(config, tmp_path / "whole")
    again = _run(config, tmp_path / "again", tmp_path / "whole" / "step2")
    expected, got = read_weights(tmp_path / "whole" / "step4"), read_weights(tmp_path / "again" / "step4")
    # Plain names whatever was trained: whoever loads the model knows nothing of averages and corrections.
    assert set(got) == set(GSLRM(config.model).state_dict())
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    states = [read_state(tmp_path / name / "step4") for name in ("whole", "again")]
    assert all(torch.equal(states[0]["weights"][n], states[1]["weights"][n]) for n in states[0]["weights"])
    scores = [[line for line in run.lines if line["event"] == "evaluate"][-1]["psnr"] for run in (whole, again)]
    assert scores[0] == scores[1]


def test_checkpoint_holds_the_average_and_scores_are_its_own(tmp_path: Path) -> None:
    averaged = _run(CONFIG, tmp_path / "averaged")
    plain = _run(replace(CONFIG, ema_decay=0.0), tmp_path / "plain")
    state, handed_on = read_state(tmp_path / "averaged" / "step4"), read_weights(tmp_path / "averaged" / "step4")
    assert all(torch.equal(handed_on[name], value) for name, value in state["average"].items())
    # The average looks on: training itself is not changed by it.
    trained = read_weights(tmp_path / "plain" / "step4")
    assert all(torch.equal(trained[name], value) for name, value in state["weights"].items())
    last = [[line for line in run.lines if line["event"] == "evaluate"][-1]["psnr"] for run in (averaged, plain)]
    assert last[0] != last[1]


def test_lora_trains_and_frozen_layers_do_not(tmp_path: Path) -> None:
    config = replace(CONFIG, ema_decay=0.0)
    _run(replace(config, steps=2), tmp_path / "base")
    base = read_weights(tmp_path / "base" / "step2")
    start = tmp_path / "base" / "step2"
    _run(replace(config, finetune=LORA, init_from=start), tmp_path / "lora")
    _run(replace(config, finetune=FinetuneConfig(freeze_layers=1), init_from=start), tmp_path / "frozen")
    lora, frozen = read_weights(tmp_path / "lora" / "step4"), read_weights(tmp_path / "frozen" / "step4")
    changed = {name for name in base if not torch.equal(lora[name], base[name])}
    assert changed and all(".attn." in name or ".mlp." in name for name in changed)
    same = {name for name in base if torch.equal(frozen[name], base[name])}
    assert {name.split(".")[0] for name in same if "layers.1" not in name} >= {"patch_embedder", "input_layer_norm"}
    assert not any(name.startswith(("transformer_layers.1", "pixel_gaussian_decoder.1")) for name in same)
