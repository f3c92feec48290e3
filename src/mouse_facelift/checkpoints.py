"""A checkpoint on disk: one folder that holds a model's weights, what they are, and where training stood.

    model.safetensors   the weights, by parameter name
    config.yaml         `kind` (which model) and the full training configuration
    metrics.json        the scores measured with these weights
    state.pt            optimiser, step and seeds, to continue exactly; absent where only the model is handed on

Nothing in it is executed on reading: safetensors, YAML's safe subset, and `torch.load(weights_only=True)`. A finished
run keeps such a folder at `RUN/checkpoint`, so every function here takes the run's folder as well.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mouse_facelift.config import from_plain, read_yaml
from mouse_facelift.errors import InputError

if TYPE_CHECKING:
    from mouse_facelift.gslrm.model import GSLRM

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
STATE_FILE = "state.pt"

RUN_CHECKPOINT = "checkpoint"
"""Where a finished run keeps its model, inside the run's folder."""


def write_checkpoint(
    directory: Path,
    *,
    kind: str,
    weights: Mapping[str, Shaped[Tensor, ...]],
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint into an existing or new folder (the caller moves it into place whole).

    Args:
        directory: the folder.
        kind: which model, such as `gslrm`.
        weights: the model's state dict.
        config: the training configuration as plain values.
        metrics: scores; nan is allowed.
        state: tensors, numbers and containers that resuming needs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, directory / WEIGHTS_FILE)
    text = yaml.safe_dump({"kind": kind, **config}, sort_keys=False)
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    (directory / METRICS_FILE).write_text(json.dumps(dict(metrics), indent=2) + "\n", encoding="utf-8")
    if state is not None:
        torch.save(dict(state), directory / STATE_FILE)


def export_checkpoint(source: Path, run: Path) -> Path:
    """Copy a checkpoint, without its training state, to `RUN/checkpoint`, replacing what is there in one move.

    Returns:
        The folder written.
    """
    target = run / RUN_CHECKPOINT
    staging = Path(tempfile.mkdtemp(dir=run, prefix=f".{RUN_CHECKPOINT}."))
    try:
        fresh = staging / "new"
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(STATE_FILE, ".*"))
        if target.exists():
            target.rename(staging / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(staging)
    return target


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a person means by `path`: that folder, or a run's `checkpoint` inside it.

    Raises:
        InputError: there is none.
    """
    for folder in (path, path / RUN_CHECKPOINT):
        if (folder / WEIGHTS_FILE).is_file():
            return folder
    if path.is_file():
        raise InputError(
            f"{path}: is a file, a checkpoint is a folder; one of FaceLift's .pt files becomes one with "
            f"`mouse-facelift import-weights --file {path} --out DIR`"
        )
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint; give a training run's folder or a checkpoint folder")
    raise InputError(
        f"{path}: holds no checkpoint ({WEIGHTS_FILE} is missing); "
        "give a finished training run's folder, or finish this one with --resume"
    )


def read_config(path: Path) -> dict[str, Any]:
    """`config.yaml` of a checkpoint: `kind` and the training configuration as plain values.

    Raises:
        InputError: no checkpoint, or its configuration is missing or damaged.
    """
    file = find_checkpoint(path) / CONFIG_FILE
    plain = read_yaml(file)
    if not isinstance(plain, dict) or "kind" not in plain:
        raise InputError(f"{file}: key 'kind' is missing; this is not a checkpoint of mouse-facelift")
    return plain


def read_metrics(path: Path) -> dict[str, float]:
    """`metrics.json` of a checkpoint."""
    file = find_checkpoint(path) / METRICS_FILE
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the checkpoint is incomplete") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, on the CPU.

    Raises:
        InputError: no checkpoint, or a damaged file.
    """
    file = find_checkpoint(path) / WEIGHTS_FILE
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the file is damaged, use another checkpoint") from error


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint's weights by name, from the file's header alone.

    Raises:
        InputError: no checkpoint, or a damaged file.
    """
    file = find_checkpoint(path) / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as content:
            return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the file is damaged, use another checkpoint") from error


def read_state(path: Path) -> dict[str, Any]:
    """The training state of a checkpoint.

    Raises:
        InputError: the checkpoint has none (it is an exported model), or the file is damaged.
    """
    file = find_checkpoint(path) / STATE_FILE
    if not file.is_file():
        raise InputError(f"{file}: is missing; an exported model cannot be resumed, use --init-from to start from it")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the file is damaged, use another checkpoint") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a checkpoint's weights into a model, strictly.

    Raises:
        InputError: no checkpoint, or its weights belong to a model of another shape.
    """
    weights, expected = read_weights(path), model.state_dict()
    file = find_checkpoint(path) / WEIGHTS_FILE
    for name in expected:
        if name not in weights:
            raise InputError(f"{file}: '{name}' is missing; the checkpoint is of another model, use its configuration")
        if weights[name].shape != expected[name].shape:
            raise InputError(
                f"{file}: '{name}' has shape {tuple(weights[name].shape)} where the model has "
                f"{tuple(expected[name].shape)}; use the checkpoint's own model settings"
            )
    unexpected = sorted(set(weights) - set(expected))
    if unexpected:
        raise InputError(f"{file}: '{unexpected[0]}' is not part of the model; the checkpoint is of another model")
    model.load_state_dict(weights)


def load_gslrm(path: Path, device: str | torch.device = "cpu") -> GSLRM:
    """The GS-LRM of a run or checkpoint, in evaluation mode.

    Raises:
        InputError: no checkpoint, one of another kind, or a damaged one.
    """
    from mouse_facelift.gslrm.config import GSLRMConfig
    from mouse_facelift.gslrm.model import GSLRM

    config = read_config(path)
    source = str(find_checkpoint(path) / CONFIG_FILE)
    if config["kind"] != "gslrm":
        raise InputError(f"{source}: holds a model of kind '{config['kind']}', not gslrm; give a GS-LRM checkpoint")
    if "model" not in config:
        raise InputError(f"{source}: key 'model' is missing; the checkpoint is incomplete")
    model = GSLRM(from_plain(GSLRMConfig, config["model"], source=source))
    load_weights(model, path)
    return model.to(device).eval()
