"""The files that perceptual measures read. Nothing in them is executed.

    VGG-19 of the Caffe lineage, for `PerceptualDistance`: `convK.weight`, `convK.bias`, K = 1..16. `mouse-facelift
        import-weights` writes it as `vgg19.safetensors`; FaceLift's own checkpoint (.pt) holds the same under
        `model` / `loss_calculator.perceptual_loss_module.net.convK.*`.
    VGG-16 of torchvision, for LPIPS: `features.N.weight`, `features.N.bias` (torchvision's `vgg16-397923af.pth`).
    LPIPS heads: `linK.model.1.weight`, K = 0..4, [1, channels, 1, 1] (the lpips package's `weights/v0.1/vgg.pth`;
        torchmetrics carries the same file).

Each as .safetensors or as a PyTorch file; the last two may share one file.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.perceptual.vgg import VGG16_BLOCKS

FACELIFT_PREFIX = "loss_calculator.perceptual_loss_module.net."
"""Where FaceLift's checkpoint keeps the loss network."""

LPIPS_LAYERS = 5


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors or PyTorch file, on the CPU, mapped rather than read where possible.

    A PyTorch file may hold them directly or under `model` or `state_dict`.

    Raises:
        InputError: the file is absent or damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; give the path of one")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = _load_restricted(path)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as weights ({reason}); give another copy of the file") from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no named tensors; give a file of network weights")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _load_restricted(path: Path) -> object:
    # A checkpoint of gigabytes is mapped, for a few megabytes of it; the format before PyTorch 1.6 cannot be.
    with path.open("rb") as file:
        mappable = file.read(2) == b"PK"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)


def vgg19_tensors(path: Path) -> dict[str, Tensor]:
    """`convK.weight` and `convK.bias` of a VGG-19 file, whichever of the two forms it has.

    Raises:
        InputError: see `read_tensors`.
    """
    tensors = read_tensors(path)
    prefix = FACELIFT_PREFIX if any(name.startswith(FACELIFT_PREFIX) for name in tensors) else ""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def vgg16_tensors(path: Path) -> dict[str, Tensor]:
    """torchvision's VGG-16 under the names `convK.weight` and `convK.bias`.

    Raises:
        InputError: see `read_tensors`.
    """
    tensors = read_tensors(path)
    renamed: dict[str, Tensor] = {}
    for number, place in enumerate(_torchvision_places(), start=1):
        for part in ("weight", "bias"):
            if f"features.{place}.{part}" in tensors:
                renamed[f"conv{number}.{part}"] = tensors[f"features.{place}.{part}"]
    return renamed


def _torchvision_places() -> list[int]:
    """Where torchvision's `features` keeps each convolution: a ReLU follows every one, a pooling every block."""
    places, place = [], 0
    for count in VGG16_BLOCKS:
        places += range(place, place + 2 * count, 2)
        place += 2 * count + 1
    return places


def lpips_heads(path: Path | None, backbone: Path) -> list[Tensor]:
    """The five [1, c, 1, 1] heads of LPIPS: from `path`, else from the backbone's file, else torchmetrics' copy.

    Raises:
        InputError: see `read_tensors`, or a head is missing.
    """
    names = [f"lin{layer}.model.1.weight" for layer in range(LPIPS_LAYERS)]
    source = path or backbone
    tensors = read_tensors(source)
    if path is None and names[0] not in tensors:
        source = _torchmetrics_heads()
        tensors = read_tensors(source)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"{source}: '{missing[0]}' is missing; give the lpips package's weights/v0.1/vgg.pth")
    return [tensors[name].float() for name in names]


def _torchmetrics_heads() -> Path:
    package = importlib.util.find_spec("torchmetrics")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "functional/image/lpips_models/vgg.pth"


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load named tensors into a network; names the network lacks (later layers, classifiers) are left alone.

    Raises:
        InputError: one that the network needs is missing or has another shape.
    """
    for name, own in network.state_dict().items():
        if name not in tensors:
            raise InputError(f"{path}: '{name}' is missing; give the file of the network that this measure is made of")
        if tensors[name].shape != own.shape:
            raise InputError(
                f"{path}: '{name}' has shape {tuple(tensors[name].shape)} instead of {tuple(own.shape)}; "
                "give the file of the network that this measure is made of"
            )
    network.load_state_dict({name: tensors[name].float() for name in network.state_dict()})
