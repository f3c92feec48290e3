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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

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
# Files that a component's weights may be in, the safer first.
_DIFFUSERS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
_WEIGHTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vae": _DIFFUSERS,
        "image_normalizer": _DIFFUSERS,
        "image_encoder": _TRANSFORMERS,
        "text_encoder": _TRANSFORMERS,
    }
)
_SETTINGS: Mapping[str, type[Any]] = MappingProxyType(
    {"image_encoder": CLIPVisionConfig, "text_encoder": CLIPTextConfig}
)


def read_unet(folder: Path) -> UNet2DConditionModel:
    """The stock UNet of a component folder, attention installed, weights loaded strictly and never initialised.

    Raises:
        InputError: the folder is incomplete, its options are not FaceLift's, or its weights have another shape.
    """
    unet = outlined_unet(folder)
    unet.load_state_dict(_read_weights(_weights_file(folder)), assign=True)
    install(unet)
    return unet


def outlined_unet(folder: Path) -> UNet2DConditionModel:
    """The stock UNet of a component folder without its weights (on the meta device), which were seen to fit.

    Of the weights' file the header alone is read, so this is quick whatever the model's size.

    Raises:
        InputError: as for `read_unet`.
    """
    file = folder / "config.json"
    config = stock_config(read_settings(file), str(file))
    with torch.device("meta"):
        try:
            unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config))
        except (ValueError, TypeError) as error:
            raise InputError(f"{file}: no UNet can be built from it ({error}); the configuration is damaged") from error
    source = _weights_file(folder)
    shapes = _weight_shapes(source)
    expected = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            raise InputError(f"{source}: '{name}' is missing; the file does not belong to the config.json beside it")
        if shapes[name] != shape:
            raise InputError(
                f"{source}: '{name}' has shape {list(shapes[name])}, config.json says {list(shape)}; "
                "the two files do not belong together"
            )
    extra = sorted(set(shapes) - set(expected))
    if extra:
        raise InputError(f"{source}: '{extra[0]}' is not part of the model; options of config.json are not FaceLift's")
    return unet


def write_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write a UNet with FaceLift's names in its configuration."""
    unet.save_pretrained(folder)
    file = folder / "config.json"
    config = published_config(read_settings(file))
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
    config = read_settings(file)
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
    """The libraries draw a bar for every component they read or write; an application has its own."""
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


def outline(folder: Path, name: str) -> dict[str, Any]:
    """The settings of a component that is all there, none of whose weights are read but their file's header.

    Args:
        folder: of the component.
        name: its name in `READERS`; not "unet", see `outlined_unet`.

    Raises:
        InputError: its settings cannot be read, or its weights are absent or cut short.
    """
    if name not in _WEIGHTED:
        READERS[name](folder)
        return {}
    settings = read_settings(folder / "config.json")
    stems = _WEIGHTED[name]
    present = [folder / f"{stem}{index}" for stem in stems for index in ("", ".index.json")]
    file = next((file for file in present if file.is_file()), None)
    if file is None:
        raise InputError(f"{folder / stems[0]}: is missing; the component has no weights, copy the file")
    if file.suffix == ".safetensors":
        _weight_shapes(file)
    # transformers leaves out of the file what has its default.
    return settings if name not in _SETTINGS else _SETTINGS[name].from_dict(settings).to_dict()


def read_settings(file: Path) -> dict[str, Any]:
    """A component's JSON file.

    Raises:
        InputError: it is absent or damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); the component is incomplete") from error
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({error}); the component is damaged") from error


def _weights_file(folder: Path) -> Path:
    files = [folder / name for name in _DIFFUSERS]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise InputError(f"{files[0]}: is missing; the UNet has no weights, copy the file")
    return file


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    with _damage_told(file):
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)


def _weight_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's tensors by name, without reading them; a safetensors file cut short is refused."""
    with _damage_told(file):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}
        tensors = torch.load(file, map_location="meta", weights_only=True, mmap=True)
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: cannot be read ({error}); the file is damaged, copy it anew") from error
