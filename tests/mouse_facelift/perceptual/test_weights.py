"""Every form of weight file gives the same tensors; nothing in a file is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.perceptual.distances import LPIPS, PerceptualDistance
from mouse_facelift.perceptual.weights import lpips_heads, read_tensors, vgg16_tensors, vgg19_tensors


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_vgg19_from_safetensors_and_from_facelifts_checkpoint(vgg19: dict[str, Tensor], tmp_path: Path) -> None:
    plain, theirs = tmp_path / "vgg19.safetensors", tmp_path / "ckpt.pt"
    save_file(vgg19, plain)
    inside = {f"loss_calculator.perceptual_loss_module.net.{name}": value for name, value in vgg19.items()}
    torch.save({"model": {"input_layer_norm.weight": torch.ones(4), **inside}, "fwdbwd_pass_step": 7}, theirs)
    assert same(vgg19_tensors(plain), vgg19)
    assert same(vgg19_tensors(theirs), vgg19)


@pytest.mark.parametrize("legacy", [False, True])
def test_vgg16_from_torchvisions_names(
    vgg16: dict[str, Tensor], vgg16_file: Path, tmp_path: Path, legacy: bool
) -> None:
    if legacy:
        old = tmp_path / "old.pth"
        torch.save(read_tensors(vgg16_file), old, _use_new_zipfile_serialization=False)
        vgg16_file = old
    assert same(vgg16_tensors(vgg16_file), vgg16)


def test_heads_come_from_their_own_file_or_the_backbones_or_torchmetrics(vgg16_file: Path, tmp_path: Path) -> None:
    channels = (64, 128, 256, 512, 512)
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(channels)}
    own, joint = tmp_path / "vgg.pth", tmp_path / "joint.safetensors"
    torch.save(heads, own)
    save_file(heads | read_tensors(vgg16_file), joint)
    for found in (lpips_heads(own, vgg16_file), lpips_heads(None, joint)):
        assert all(torch.equal(a, b) for a, b in zip(found, heads.values(), strict=True))
    published = lpips_heads(None, vgg16_file)
    assert [tuple(head.shape) for head in published] == [(1, c, 1, 1) for c in channels]
    # The published heads weigh squared differences: none is negative.
    assert all((head >= 0).all() and head.sum() > 0 for head in published)


def test_files_that_cannot_serve_are_refused_in_one_line(vgg16_file: Path, tmp_path: Path) -> None:
    cases = {"absent.pt": None, "noise.safetensors": b"noise", "noise.pt": b"noise", "list.pt": [1, 2]}
    for name, content in cases.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(InputError, match=name) as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="conv1.weight"):
        PerceptualDistance.load(vgg16_file)
    with pytest.raises(InputError, match="lin0"):
        LPIPS.load(vgg16_file, vgg16_file)


def test_another_networks_shapes_are_refused(vgg19: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "thin.safetensors"
    save_file(vgg19 | {"conv5.weight": torch.zeros(8, 128, 3, 3)}, path)
    with pytest.raises(InputError, match="conv5.weight"):
        PerceptualDistance.load(path)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_code_in_a_file_is_not_run(tmp_path: Path, plain_pickle: bool) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "touched"
    content = {"model": Bomb(marker)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match="weights.pt"):
        read_tensors(path)
    assert not marker.exists()
