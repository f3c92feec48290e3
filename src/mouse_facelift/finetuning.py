"""How much of a pretrained model a training run may change; the same for every model.

All of it, all but the first layers, the heads alone, or low-rank corrections of its linear maps (LoRA, Hu et al. 2021,
arXiv:2106.09685); and smaller steps for earlier layers. A corrected map keeps its parameters' names and gains two, so
that a model's plain weights can be read, written and exported without knowing of any of this:

    load_weights(model, path); prepare(model, config)     start
    write(merged_state_dict(model))                       hand on: plain names, corrections folded in
    lora_state(model) / load_lora_state(model, state)     continue exactly where a run stopped
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.errors import InputError

ATTENTION, MLP = ("attn", "attn1", "attn2"), ("mlp", "ff")
"""Parts of module names under which linear maps belong to attention or to a block's MLP (GS-LRM's and diffusers')."""

_DOWN, _UP = "lora_down", "lora_up"

DepthOf = Callable[[str], int]
"""A parameter's name -> its depth: 0 for what makes tokens, then 1, 2, ... to the heads, which are deepest."""


@dataclass(frozen=True)
class FinetuneConfig:
    """What of the model is trained. The defaults train everything at one learning rate.

    Raises:
        InputError: a value that means nothing.
    """

    mode: Literal["full", "lora", "heads"] = "full"
    """"full" trains all weights, "lora" low-rank corrections of linear maps and nothing else, "heads" only what follows
    the last layer."""
    freeze_layers: int = 0
    """The first so many layers, and what comes before them, are left as they are; 0 freezes nothing."""
    lora_rank: int = 16
    """Rank of each correction."""
    lora_alpha: float = 16.0
    """Corrections are scaled by lora_alpha / lora_rank."""
    lora_targets: Literal["attention", "mlp", "both"] = "both"
    """Which linear maps of the layers are corrected."""
    layer_lr_decay: float = 1.0
    """The learning rate falls by this factor with every layer towards the input; the heads have the full one."""

    def __post_init__(self) -> None:
        if self.freeze_layers < 0 or self.lora_rank < 1:
            raise InputError(
                f"finetune: freeze_layers is {self.freeze_layers} and lora_rank {self.lora_rank}; "
                "they must be at least 0 and 1"
            )
        if not (self.lora_alpha > 0 and math.isfinite(self.lora_alpha)):
            raise InputError(f"finetune: lora_alpha is {self.lora_alpha}; it must be positive")
        if not 0 < self.layer_lr_decay <= 1:
            raise InputError(f"finetune: layer_lr_decay is {self.layer_lr_decay}; it must be above 0 and at most 1")


class LoRALinear(nn.Linear):
    """A linear map W whose weights stay, plus a trained product of two thin ones: x W^T + s (x A^T) B^T.

    B (`lora_up`) starts at zero, so that the map starts as it was. `weight` and `bias` keep their names.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        # No memory for weights that are replaced at once by the given ones.
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = alpha / rank
        given = linear.weight
        self.lora_down = nn.Parameter(given.new_empty(rank, linear.in_features))
        self.lora_up = nn.Parameter(given.new_zeros(linear.out_features, rank))
        # The spread that nn.Linear starts with: uniform, variance 1 / (3 * inputs).
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))

    def forward(self, input: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        return super().forward(input) + self.scale * F.linear(F.linear(input, self.lora_down), self.lora_up)

    @torch.no_grad()
    def merged_weight(self) -> Float[Tensor, "o i"]:
        """The weights of the one linear map that does the same."""
        # Wider than the weights while multiplying, so that folding in costs one rounding.
        correction = self.lora_up.double() @ self.lora_down.double()
        return (self.weight.double() + self.scale * correction).to(self.weight.dtype)


def prepare(model: nn.Module, config: FinetuneConfig, depth_of: DepthOf | None = None) -> nn.Module:
    """Freeze and wrap a model in place as the configuration says; its outputs do not change by a bit.

    Call it after pretrained weights are loaded and before an optimiser, DDP or a compiler sees the model.

    Args:
        model: the model; its floating-point parameters are set to be trained or not.
        config: what to train.
        depth_of: as below; the model's own `depth_of` when None. Not needed for mode "full" or "lora" without frozen
            layers.

    Returns:
        The model.

    Raises:
        InputError: nothing would be trained, or the model has no such layers.
    """
    depths = _depths(model, depth_of) if config.freeze_layers or config.mode == "heads" else {}
    heads = max(depths.values(), default=0)
    if config.freeze_layers and config.freeze_layers >= heads:
        raise InputError(f"finetune: freeze_layers is {config.freeze_layers}, the model has {heads - 1} layers")

    def free(name: str) -> bool:
        return not config.freeze_layers or depths[name] > config.freeze_layers

    if config.mode == "lora":
        model.requires_grad_(False)
        targets = [n for n in _target_linears(model, config.lora_targets) if free(f"{n}.weight")]
        if not targets:
            raise InputError(
                f"finetune: the model has no linear maps of {config.lora_targets} outside its frozen layers; "
                "choose other lora_targets"
            )
        for name in targets:
            _replace(model, name, LoRALinear(_linear(model, name), config.lora_rank, config.lora_alpha))
        return model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(depths[name] == heads if config.mode == "heads" else free(name))
    return model


def learning_rate_scales(model: nn.Module, config: FinetuneConfig, depth_of: DepthOf | None = None) -> dict[str, float]:
    """Factor on the learning rate of every trained parameter, by name: layer_lr_decay ** (layers above it).

    Args:
        model: as `prepare` left it.
        config: the decay.
        depth_of: as for `prepare`; not needed where nothing decays.
    """
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if config.layer_lr_decay == 1.0:
        return dict.fromkeys(trained, 1.0)
    depths = _depths(model, depth_of)
    deepest = max(depths.values())
    return {name: config.layer_lr_decay ** (deepest - depths[name]) for name in trained}


def merge_lora(model: nn.Module) -> nn.Module:
    """Fold all corrections into their linear maps, in place; the model is then a plain one with plain names."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            plain = nn.Linear(module.in_features, module.out_features, module.bias is not None, device="meta")
            plain.weight = nn.Parameter(module.merged_weight(), requires_grad=module.weight.requires_grad)
            plain.bias = module.bias
            plain.train(module.training)
            _replace(model, name, plain)
    return model


def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that the model would have after `merge_lora`, without changing it; for a plain model, its own."""
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            state[f"{name}.weight"] = module.merged_weight()
            del state[f"{name}.{_DOWN}"], state[f"{name}.{_UP}"]
    return state


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """What `merged_state_dict` loses of a model's corrected maps: their weights before, and both factors.

    Empty for a model without corrections.
    """
    wrapped = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]
    state = model.state_dict()
    return {f"{name}.{part}": state[f"{name}.{part}"] for name in wrapped for part in ("weight", _DOWN, _UP)}


def load_lora_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Bring a prepared model back to a stored `lora_state`, to the bit.

    Raises:
        InputError: the state is of other corrections than the model has.
    """
    wanted = lora_state(model)
    for name in sorted(set(wanted) ^ set(state)):
        raise InputError(f"finetune: '{name}' is only in one of model and checkpoint; resume with the run's settings")
    for name, tensor in wanted.items():
        if tensor.shape != state[name].shape:
            raise InputError(
                f"finetune: '{name}' has shape {tuple(state[name].shape)} in the checkpoint and {tuple(tensor.shape)} "
                "in the model; resume with the run's settings"
            )
    model.load_state_dict(dict(state), strict=False)


def _depths(model: nn.Module, depth_of: DepthOf | None) -> dict[str, int]:
    """The depth of every parameter."""
    depth_of = depth_of or getattr(model, "depth_of", None)
    if depth_of is None:
        raise InputError(
            f"finetune: {type(model).__name__} does not say which layers come first; "
            "use freeze_layers 0, layer_lr_decay 1 and not mode heads"
        )
    return {name: depth_of(name) for name, _ in model.named_parameters()}


def _target_linears(model: nn.Module, targets: Literal["attention", "mlp", "both"]) -> list[str]:
    parts = {"attention": ATTENTION, "mlp": MLP, "both": ATTENTION + MLP}[targets]
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and any(part in parts for part in name.split("."))
    ]


def _linear(model: nn.Module, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
