"""From FaceLift's file to a checkpoint that every other verb takes, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mouse_facelift.checkpoints import load_gslrm, load_weights, read_config
from mouse_facelift.cli import main
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.facelift_weights import vgg_shapes, write_facelift_weights
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.perceptual.weights import FACELIFT_PREFIX

TINY = GSLRMConfig(image_size=32, width=64, layers=1)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.manual_seed(4)
    vgg = {name: torch.zeros(shape) for name, shape in vgg_shapes().items()}
    write_facelift_weights(tmp_path / "ckpt_0000000000000007.pt", TINY, GSLRM(TINY).state_dict(), vgg)
    return tmp_path / "ckpt_0000000000000007.pt"


def test_there_and_back_is_exact(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, again = tmp_path / "weights" / "facelift", tmp_path / "again.pt"
    assert main(["import-weights", "--file", str(published), "--out", str(out), "--image-size", "32"]) == 0
    said = capsys.readouterr().out
    assert "1 layers of width 64" in said and "32 tensors of VGG-19" in said and f"--init-from {out}" in said
    assert sorted(p.name for p in out.iterdir()) == [
        *("config.yaml", "metrics.json", "model.safetensors", "vgg19.safetensors")
    ]
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert read_config(out)["imported"] == {"file": published.name, "step": 0}
    model = load_gslrm(out)
    assert model.config == TINY
    other = GSLRM(TINY)
    load_weights(other, out)
    assert main(["export-weights", "--checkpoint", str(out), "--out", str(again)]) == 0
    assert "and VGG-19" in capsys.readouterr().out
    first, second = (torch.load(file, weights_only=True)["model"] for file in (published, again))
    assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], tensor) for name, tensor in other.state_dict().items())
    assert load_file(out / "vgg19.safetensors").keys() == vgg_shapes().keys()


def test_precision_is_kept(published: Path, tmp_path: Path) -> None:
    arguments = ["import-weights", "--file", str(published), "--out", str(tmp_path / "new"), "--precision", "compat"]
    assert main(arguments) == 0
    assert load_gslrm(tmp_path / "new").config.precision == "compat"


def test_bad_input_is_one_line_and_leaves_nothing(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(published, weights_only=True)
    del content["model"]["transformer_layers.0.attn.fc.weight"]
    torch.save(content, published)
    assert main(["import-weights", "--file", str(published), "--out", str(tmp_path / "new")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'transformer_layers.0.attn.fc.weight' is missing" in error
    assert sorted(tmp_path.iterdir()) == [published]
    assert main(["import-weights", "--file", str(published), "--out", str(tmp_path)]) == 1
    assert "already holds something" in capsys.readouterr().err


def test_files_without_vgg_say_what_they_lack(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(published, weights_only=True)
    content["model"] = {name: t for name, t in content["model"].items() if not name.startswith(FACELIFT_PREFIX)}
    torch.save(content, published)
    assert main(["import-weights", "--file", str(published), "--out", str(tmp_path / "new")]) == 0
    assert "has no VGG-19" in capsys.readouterr().out
    assert not (tmp_path / "new" / "vgg19.safetensors").exists()
