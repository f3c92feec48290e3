"""What is handed to FaceLift's own code, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.cli import main
from mouse_facelift.config import to_plain
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.facelift_weights import vgg_shapes
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.perceptual.weights import FACELIFT_PREFIX

TINY = GSLRMConfig(image_size=32, width=64, layers=1)


def checkpoint(folder: Path, config: GSLRMConfig = TINY) -> Path:
    model = {"model": to_plain(config)}
    write_checkpoint(folder, kind="gslrm", weights=GSLRM(config).state_dict(), config=model, metrics={})
    return folder


def test_a_run_is_exported_with_the_perceptual_network_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, vgg = tmp_path / "run", tmp_path / "ckpt.pt", tmp_path / "vgg.safetensors"
    checkpoint(run / "checkpoint")
    assert main(["export-weights", "--checkpoint", str(run), "--out", str(out)]) == 0
    assert "perceptual weight set to 0" in capsys.readouterr().out
    assert main(["export-weights", "--checkpoint", str(run), "--out", str(out)]) == 1
    assert "already exists" in capsys.readouterr().err
    out.unlink()
    save_file({name: torch.ones(shape) for name, shape in vgg_shapes().items()}, vgg)
    assert main(["export-weights", "--checkpoint", str(run), "--out", str(out), "--vgg", str(vgg)]) == 0
    content = torch.load(out, weights_only=True)
    assert content["param_update_step"] == 0
    assert len(content["model"]) == len(GSLRM(TINY).state_dict()) + 32
    assert bool(content["model"][f"{FACELIFT_PREFIX}conv16.bias"].all())


def test_what_facelift_cannot_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = checkpoint(tmp_path / "made", replace(TINY, clip_xyz=True))
    assert main(["export-weights", "--checkpoint", str(made), "--out", str(tmp_path / "ckpt.pt")]) == 1
    assert "clip_xyz True" in capsys.readouterr().err
    made = checkpoint(tmp_path / "plain")
    arguments = ["export-weights", "--checkpoint", str(made), "--out", str(tmp_path / "ckpt.pt")]
    assert main([*arguments, "--vgg", str(tmp_path / "absent.safetensors")]) == 1
    assert "absent.safetensors: no such" in capsys.readouterr().err
    assert not (tmp_path / "ckpt.pt").exists()
