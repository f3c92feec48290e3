"""Checkpoints come back exactly, and a missing, foreign or damaged one is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mouse_facelift.checkpoints import (
    export_checkpoint,
    find_checkpoint,
    load_gslrm,
    load_weights,
    read_config,
    read_metrics,
    read_state,
    read_weights,
    write_checkpoint,
)
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM

TINY = GSLRMConfig(image_size=16, width=64, layers=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    folder = tmp_path / "made"
    write_checkpoint(
        folder,
        kind="gslrm",
        weights=GSLRM(TINY).state_dict(),
        config={"model": to_plain(TINY), "steps": 5},
        metrics={"psnr_foreground": 20.5, "mask_iou": float("nan")},
        state={"step": 5, "optimiser": {"exp_avg": torch.arange(3.0)}},
    )
    return folder


def test_round_trip_is_exact(checkpoint: Path) -> None:
    torch.manual_seed(3)
    expected = GSLRM(TINY).state_dict()
    weights = read_weights(checkpoint)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert read_config(checkpoint) == {"kind": "gslrm", "model": to_plain(TINY), "steps": 5}
    metrics = read_metrics(checkpoint)
    assert metrics["psnr_foreground"] == 20.5 and metrics["mask_iou"] != metrics["mask_iou"]
    assert torch.equal(read_state(checkpoint)["optimiser"]["exp_avg"], torch.arange(3.0))


def test_load_gslrm_builds_the_same_model(checkpoint: Path) -> None:
    model = load_gslrm(checkpoint)
    assert model.config == TINY and not model.training
    weights = read_weights(checkpoint)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_export_replaces_whole_and_leaves_the_state_behind(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    exported = export_checkpoint(checkpoint, run)
    (exported / "stale").touch()
    assert export_checkpoint(checkpoint, run) == exported == find_checkpoint(run) == find_checkpoint(exported)
    assert sorted(p.name for p in run.iterdir()) == ["checkpoint"]
    assert sorted(p.name for p in exported.iterdir()) == ["config.yaml", "metrics.json", "model.safetensors"]
    with pytest.raises(InputError, match="use --init-from"):
        read_state(run)


def test_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        find_checkpoint(tmp_path / "nowhere")
    (tmp_path / "ckpt.pt").touch()
    with pytest.raises(InputError, match="import-weights --file"):
        load_gslrm(tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_gslrm(tmp_path)


def test_other_shapes_and_kinds_are_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        load_weights(GSLRM(GSLRMConfig(image_size=16, width=128, layers=1)), checkpoint)
    with pytest.raises(InputError, match="is missing"):
        load_weights(GSLRM(GSLRMConfig(image_size=16, width=64, layers=2)), checkpoint)
    with pytest.raises(InputError, match="not part of the model"):
        load_weights(torch.nn.Linear(1, 1, bias=False), _with_extra(checkpoint))
    config = checkpoint / "config.yaml"
    config.write_text(config.read_text().replace("kind: gslrm", "kind: mvdiffusion"))
    with pytest.raises(InputError, match="kind 'mvdiffusion'"):
        load_gslrm(checkpoint)


def _with_extra(folder: Path) -> Path:
    weights = {"weight": torch.zeros(1, 1), "stranger": torch.zeros(1)}
    write_checkpoint(folder / "extra", kind="gslrm", weights=weights, config={}, metrics={})
    return folder / "extra"


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "config.yaml"])
def test_damage_is_an_input_error(checkpoint: Path, name: str) -> None:
    file = checkpoint / name
    file.write_bytes(file.read_bytes()[:40] + b"\x00[")
    with pytest.raises(InputError, match=name):
        read_state(checkpoint) if name == "state.pt" else load_gslrm(checkpoint)


def test_state_cannot_execute_code(checkpoint: Path) -> None:
    torch.save({"step": 1, "payload": Path("x").exists}, checkpoint / "state.pt")
    with pytest.raises(InputError, match="state.pt"):
        read_state(checkpoint)
