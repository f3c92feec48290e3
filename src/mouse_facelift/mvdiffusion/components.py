"""Single components of a pipeline folder: how each is read strictly, and how FaceLift names it.

FaceLift's UNet configuration names block classes and options of its own module. With its published options they mean
what the stock classes do once the attention is installed, so names are translated both ways, and a configuration that
switches one of the other options on is refused.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.attention import install
from mouse_facelift.mvdiffusion.schedule import scheduler_class

_STOCK_BLOCKS = MappingProxyType(
    {
        "CrossAttnDownBlockMV2D": "CrossAttnDownBlock2D",
        "CrossAttnUpBlockMV2D": "CrossAttnUpBlock2D",
        "UNetMidBlockMV2DCrossAttn": "UNetMidBlock2DCrossAttn",
    }
)
_PUBLISHED_BLOCKS = MappingProxyType({stock: published for published, stock in _STOCK_BLOCKS.items()})

# FaceLift's additions to a UNet's configuration, with the values under which nothing but the attention differs.
_PUBLISHED_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "num_views": 6,
        "cd_attention_last": False,
        "cd_attention_mid": False,
        "multiview_attention": True,
        "sparse_mv_attention": True,
        "selfattn_block": "custom",
        "addition_downsample": False,
    }
)
# Options of other members of the same family (Era3D), which FaceLift leaves off.
_FOREIGN_OPTIONS = ("cross_domain_attention", "mvcd_attention", "row_wise_attention", "camera_embedding_type")

INDEX_HEAD: Mapping[str, str] = MappingProxyType({"_class_name": "StableUnCLIPImg2ImgPipeline"})
_PUBLISHED_UNET = ("mvdiffusion.models.unet_mv2d_condition", "UNetMV2DConditionModel")
_WEIGHTS = "diffusion_pytorch_model"


def read_unet(folder: Path) -> UNet2DConditionModel:
    """The stock UNet of a component folder, attention installed, weights loaded strictly and never initialised.

    Raises:
        InputError: the folder is incomplete, its options are not FaceLift's, or its weights have another shape.
    """
    file = folder / "config.json"
    config = stock_config(_read_json(file), str(file))
    with torch.device("meta"):
        try:
            unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config))
        except (ValueError, TypeError) as error:
            raise InputError(f"{file}: no UNet can be built from it ({error}); the configuration is damaged") from error
    weights, source = _read_weights(folder)
    expected = unet.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            raise InputError(f"{source}: '{name}' is missing; the file does not belong to the config.json beside it")
        if weights[name].shape != tensor.shape:
            raise InputError(
                f"{source}: '{name}' has shape {list(weights[name].shape)}, config.json says {list(tensor.shape)}; "
                "the two files do not belong together"
            )
    extra = sorted(set(weights) - set(expected))
    if extra:
        raise InputError(f"{source}: '{extra[0]}' is not part of the model; options of config.json are not FaceLift's")
    unet.load_state_dict(weights, assign=True)
    install(unet)
    return unet


def write_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write a UNet with FaceLift's names in its configuration."""
    unet.save_pretrained(folder)
    file = folder / "config.json"
    config = published_config(_read_json(file))
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def stock_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A published UNet configuration in stock diffusers' words.

    Raises:
        InputError: it switches on what the stock classes cannot do.
    """
    stock = {}
    for name, value in config.items():
        if name in _PUBLISHED_OPTIONS or name in _FOREIGN_OPTIONS:
            wanted = _PUBLISHED_OPTIONS.get(name)
            if value != wanted and (value or wanted) and name != "num_views":
                raise InputError(
                    f"{source}: option {name} is {value!r}; FaceLift's pipeline has {wanted!r}, others cannot be read"
                )
        elif name != "addition_channels":
            stock[name] = _translated(value, _STOCK_BLOCKS)
    return stock | {"_class_name": "UNet2DConditionModel"}


def published_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stock UNet configuration in FaceLift's words; the inverse of `stock_config`."""
    published = {name: _translated(value, _PUBLISHED_BLOCKS) for name, value in config.items()}
    widths = [config["block_out_channels"][-1]] * 3
    return published | dict(_PUBLISHED_OPTIONS) | {"addition_channels": widths, "_class_name": _PUBLISHED_UNET[1]}


def _translated(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_translated(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def published_class(name: str, component: Any) -> tuple[str, str]:
    """Library and class of a component as `model_index.json` names them."""
    named = {
        "unet": _PUBLISHED_UNET,
        "image_normalizer": ("stable_diffusion", "StableUnCLIPImageNormalizer"),
        "feature_extractor": ("transformers", "CLIPImageProcessor"),
    }
    return named.get(name) or (type(component).__module__.partition(".")[0], type(component).__name__)


def _read_scheduler(folder: Path) -> SchedulerMixin:
    file = folder / "scheduler_config.json"
    config = _read_json(file)
    kind = scheduler_class(str(config.get("_class_name")))
    return kind.from_config(config)


def _read_model(kind: type[Any], **options: Any) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        try:
            loaded, facts = kind.from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True, **options
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise _damaged(folder, str(error)) from error
        return _complete(loaded, facts, folder)

    return read


def _read_plain(kind: type[Any]) -> Callable[[Path], Any]:
    """A component without weights: settings or a vocabulary."""

    def read(folder: Path) -> Any:
        try:
            return kind.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder, str(error)) from error

    return read


READERS: Mapping[str, Callable[[Path], Any]] = MappingProxyType(
    {
        "feature_extractor": _read_plain(CLIPImageProcessorPil),
        "image_encoder": _read_model(CLIPVisionModelWithProjection),
        "image_noising_scheduler": _read_scheduler,
        "image_normalizer": _read_model(StableUnCLIPImageNormalizer, low_cpu_mem_usage=False),
        "scheduler": _read_scheduler,
        "text_encoder": _read_model(CLIPTextModel),
        "tokenizer": _read_plain(CLIPTokenizer),
        "unet": read_unet,
        "vae": _read_model(AutoencoderKL, low_cpu_mem_usage=False),
    }
)
"""How each component of a folder is read."""


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """The libraries draw a bar for every component they read; an application has its own."""
    shown = [
        (logging, logging.is_progress_bar_enabled())
        for logging in (diffusers.utils.logging, transformers.utils.logging)
    ]
    for logging, _ in shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, was_shown in shown:
            if was_shown:
                logging.enable_progress_bar()


def _complete(loaded: Any, facts: Mapping[str, Any], folder: Path) -> Any:
    """The component, when its file gave every weight and no other."""
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if facts.get(what):
            raise _damaged(folder, f"{what.replace('_', ' ')}: {sorted(map(str, facts[what]))[0]}")
    return loaded


def _damaged(folder: Path, detail: str) -> InputError:
    return InputError(f"{folder}: component cannot be read ({detail.strip()}); copy the folder anew")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); the component is incomplete") from error
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({error}); the component is damaged") from error


def _read_weights(folder: Path) -> tuple[dict[str, torch.Tensor], Path]:
    safe, pickled = folder / f"{_WEIGHTS}.safetensors", folder / f"{_WEIGHTS}.bin"
    file = safe if safe.is_file() or not pickled.is_file() else pickled
    if not file.is_file():
        raise InputError(f"{safe}: is missing; the UNet has no weights, copy the file")
    try:
        weights = load_file(file) if file == safe else torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the file is damaged, copy it anew") from error
    return weights, file
