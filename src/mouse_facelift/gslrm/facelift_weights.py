"""FaceLift's own checkpoint file of GS-LRM (`ckpt_*.pt`), read strictly and written.

The file is a `torch.save` of `model` (the network's tensors and, under `loss_calculator.`, those of its loss networks),
optimiser and scheduler state, and two step counters. Nothing in it is executed; only tensors, numbers and containers
come out, and the 3.7 GB stay on disk but for the tensors that are used.

The VGG-19 of the perceptual loss is in the published file. It is kept under the names `conv1.weight` .. `conv16.bias`.
FaceLift's weights are under a non-commercial research licence, and so is what is trained from them.
"""

from __future__ import annotations

import math
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import PIXEL_CHANNELS, GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.perceptual.vgg import VGG19_BLOCKS, layer_channels
from mouse_facelift.perceptual.weights import FACELIFT_PREFIX

LOSS_PREFIX = "loss_calculator."
COUNTERS = ("fwdbwd_pass_step", "param_update_step")

VGG_FILE = "vgg19.safetensors"
"""Where an imported checkpoint keeps the perceptual network."""

FIXED_BY_FACELIFT = (
    *("scale_bias", "scale_max", "scale_unit", "opacity_bias", "opacity_base"),
    *("colour_base", "depth_base", "depth_range", "clip_xyz"),
)
"""Settings that FaceLift's code does not have or never acts on; what it does is their default here."""


@dataclass(frozen=True)
class FaceLiftWeights:
    """What is of use in one of FaceLift's files."""

    config: GSLRMConfig
    """The architecture that the tensors' shapes tell."""
    model: dict[str, Float[Tensor, "..."]]
    """The network's tensors by name, fp32: exactly those that `GSLRM(config)` has."""
    vgg: dict[str, Float[Tensor, "..."]]
    """VGG-19 of the perceptual loss: `conv1.weight` .. `conv16.bias`; empty where the file has none."""
    dropped: dict[str, int]
    """What was left behind, by the first two parts of its name -> how many tensors; other keys of the file -> 1."""
    step: int
    """Parameter updates the file says it has seen; 0 where it says nothing."""


def read_facelift_weights(file: Path, image_size: int = GSLRMConfig.image_size) -> FaceLiftWeights:
    """Read a `ckpt_*.pt`.

    Args:
        file: as FaceLift's trainer writes it.
        image_size: what the model was trained on (pixels); no tensor tells.

    Raises:
        InputError: the file is absent, damaged, holds more than data, or not exactly the tensors of one GS-LRM.
    """
    content = _load(file)
    if not isinstance(content, dict) or not isinstance(content.get("model"), Mapping):
        found = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{file}: key 'model' is missing (found {found}); give a ckpt_*.pt of FaceLift's GS-LRM")
    tensors: dict[str, Tensor] = dict(content["model"])
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"{file}: 'model' holds '{name}', which is no tensor; give a ckpt_*.pt of FaceLift's GS-LRM"
            )
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(LOSS_PREFIX)}
    config = infer_config(model, image_size, str(file))
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in GSLRM(config).state_dict().items()}
    vgg = {name.removeprefix(FACELIFT_PREFIX): t for name, t in tensors.items() if name.startswith(FACELIFT_PREFIX)}
    rest = (name for name in tensors if name not in model and not name.startswith(FACELIFT_PREFIX))
    dropped = Counter(".".join(name.split(".")[:2]) for name in rest)
    dropped.update(str(key) for key in content if key not in ("model", *COUNTERS))
    step = content.get(COUNTERS[1], 0)
    return FaceLiftWeights(
        config,
        _checked(model, expected, f"{file}: "),
        _checked(vgg, vgg_shapes(), f"{file}: perceptual network, ") if vgg else {},
        dict(dropped),
        step if isinstance(step, int) else 0,
    )


def infer_config(
    model: Mapping[str, Float[Tensor, "..."]], image_size: int = GSLRMConfig.image_size, source: str = "checkpoint"
) -> GSLRMConfig:
    """The architecture that the tensors' shapes tell; heads are 64 wide, as they all are.

    Raises:
        InputError: a tensor is missing that would tell, or the shapes tell of no GS-LRM.
    """
    tokens, patches = (
        _matrix(model, name, source) for name in ("gaussian_position_embeddings", "patch_embedder.1.weight")
    )
    side = math.isqrt(patches.shape[1] // PIXEL_CHANNELS)
    if side**2 * PIXEL_CHANNELS != patches.shape[1]:
        raise InputError(
            f"{source}: 'patch_embedder.1.weight' takes {patches.shape[1]} numbers per patch, not {PIXEL_CHANNELS} for "
            "each pixel of a square; this model sees other channels and cannot be used"
        )
    layers = {name.split(".")[1] for name in model if name.startswith("transformer_layers.")}
    return GSLRMConfig(
        image_size=image_size,
        patch_size=side,
        width=tokens.shape[1],
        layers=len(layers),
        free_gaussians=tokens.shape[0],
        add_refsrc_marker="view_type_embeddings" in model,
    )


def write_facelift_weights(
    file: Path,
    config: GSLRMConfig,
    model: Mapping[str, Float[Tensor, "..."]],
    vgg: Mapping[str, Float[Tensor, "..."]] | None = None,
) -> None:
    """Write the file that FaceLift's inference and `resume_ckpt` read, with its counters at 0; whole or not at all.

    Args:
        file: the file; an existing one is replaced.
        config: the model's architecture.
        model: its state dict.
        vgg: VGG-19 of the perceptual loss, without which FaceLift's published settings refuse the file.

    Raises:
        InputError: the model uses settings that FaceLift's code does not have, or the VGG tensors are not VGG-19's.
    """
    for field in fields(GSLRMConfig):
        value = getattr(config, field.name)
        if field.name in FIXED_BY_FACELIFT and value != field.default:
            raise InputError(
                f"{file}: the model has {field.name} {value!r}, FaceLift's code only knows {field.default!r}, so it "
                "would make other Gaussians of these weights; export a model trained from a facelift preset"
            )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}
    for name, tensor in _checked(vgg, vgg_shapes(), "perceptual network, ").items() if vgg else ():
        tensors[FACELIFT_PREFIX + name] = tensor.detach().cpu().contiguous()
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(handle)
    try:
        torch.save({"model": tensors, **dict.fromkeys(COUNTERS, 0)}, staging)
        Path(staging).replace(file)
    finally:
        Path(staging).unlink(missing_ok=True)


def vgg_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of VGG-19's convolutions, in order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, (inputs, outputs) in enumerate(layer_channels(VGG19_BLOCKS), start=1):
        shapes |= {f"conv{k}.weight": (outputs, inputs, 3, 3), f"conv{k}.bias": (outputs,)}
    return shapes


def _load(file: Path) -> Any:
    cure = "download or copy it again"
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; give the path of FaceLift's ckpt_*.pt") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{file}: holds more than tensors and numbers, or is damaged; {cure}") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{file}: cannot be read ({str(error).splitlines()[0]}); {cure}") from error


def _matrix(model: Mapping[str, Tensor], name: str, source: str) -> Tensor:
    tensor = model.get(name)
    if tensor is None:
        raise InputError(f"{source}: '{name}' is missing; this is not a GS-LRM of FaceLift")
    if tensor.dim() != 2:
        raise InputError(f"{source}: '{name}' is not a matrix; this is not a GS-LRM of FaceLift")
    return tensor


def _checked(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Tensor]:
    """The tensors in the expected order, fp32; every name and shape must fit."""
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"{where}'{name}' is missing; the file is incomplete, download or copy it again")
        tensor = found[name]
        if tuple(tensor.shape) != shape:
            raise InputError(f"{where}'{name}' has shape {tuple(tensor.shape)}, the rest of the file wants {shape}")
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{where}'{name}' holds numbers that are not finite; use an earlier checkpoint")
    unexpected = sorted(set(found) - set(expected))
    if unexpected:
        raise InputError(f"{where}'{unexpected[0]}' is unexpected; the file is of a model with other parts")
    return {name: found[name].float() for name in expected}
