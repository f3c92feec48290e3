"""The pipeline: every component that takes part in sampling, and the folder they are kept in.

The folder is FaceLift's `pipeckpts`, a diffusers pipeline directory, read component by component into stock classes:
configurations and safetensors only, nothing named in a file is imported, every weight must fit. It is written in the
same layout, with the tokens of the slots beside (`prompt_embeddings.safetensors`). A model over pixels has no VAE, one
without an image encoder no CLIP: those components are then null in `model_index.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion import components
from mouse_facelift.mvdiffusion.prompts import SlotTokens, encode_slots, read_tokens, write_tokens
from mouse_facelift.mvdiffusion.unet import Adapter, CameraConditioning, MultiViewUNet, adapted, check_tokens
from mouse_facelift.plain import from_plain

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_utils import SchedulerMixin
    from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

INDEX_FILE = "model_index.json"
TOKENS_FILE = "prompt_embeddings.safetensors"
ADAPTER_FILE = "adapter.json"
"""How latents enter the UNet; absent where nothing stands between, as in FaceLift's folder."""


@dataclass(frozen=True)
class ImageEmbedder:
    """The CLIP branch: what makes the image vector. All four components come together or not at all."""

    feature_extractor: CLIPImageProcessorPil
    image_encoder: CLIPVisionModelWithProjection
    image_normalizer: StableUnCLIPImageNormalizer
    image_noising_scheduler: DDPMScheduler


@dataclass(frozen=True)
class Prompter:
    """The text branch, needed only to make tokens for new slots."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


@dataclass(frozen=True)
class FrozenParts:
    """All of a pipeline but its denoiser: what training needs beside the model, and never changes."""

    scheduler: SchedulerMixin
    vae: AutoencoderKL | None = None
    embedder: ImageEmbedder | None = None
    prompter: Prompter | None = None

    def around(self, model: MultiViewUNet) -> MVDiffusion:
        """The pipeline of these parts and a denoiser."""
        return MVDiffusion(model, self.scheduler, self.vae, self.embedder, self.prompter)

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> FrozenParts:
        """Move every part (in place, as modules move); returns self."""
        networks: list[Any] = [self.vae, self.prompter and self.prompter.text_encoder]
        if self.embedder is not None:
            networks += [self.embedder.image_encoder, self.embedder.image_normalizer]
        for network in networks:
            # diffusers warns of every change of type, also of none.
            if network is not None:
                network.to(device) if network.dtype == dtype else network.to(device, dtype)
        return self


@dataclass(frozen=True)
class MVDiffusion:
    """The components of multi-view diffusion. Only `model` is ever trained.

    Attributes:
        model: UNet and tokens.
        scheduler: the noise schedule that the weights were trained with, and the default sampler.
        vae: None for a model over pixels: RGB, or RGBA with colours laid over the background and the mask beside.
        embedder: None for a model without image vector.
        prompter: None where no text encoder is at hand.
    """

    model: MultiViewUNet
    scheduler: SchedulerMixin
    vae: AutoencoderKL | None = None
    embedder: ImageEmbedder | None = None
    prompter: Prompter | None = None

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return self.model.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """The denoiser's type."""
        return self.model.unet.dtype

    @property
    def vae_scale(self) -> float | None:
        """The latents' scaling factor; None without a VAE."""
        return None if self.vae is None else cast(Any, self.vae.config).scaling_factor

    @property
    def image_channels(self) -> int:
        """Channels of the pictures that go in and come out: 3, or 4 for a model that makes the mask as well."""
        return 3 if self.vae is not None else self.model.latent_channels

    @property
    def cell(self) -> int:
        """Pixels per side of a cell of the denoised grid."""
        return 1 if self.vae is None else 2 ** (len(cast(Any, self.vae.config).block_out_channels) - 1)

    def to(self, device: str | torch.device, dtype: torch.dtype) -> MVDiffusion:
        """Move every component (in place, as modules move); returns self."""
        self.model.to(device, dtype)
        FrozenParts(self.scheduler, self.vae, self.embedder, self.prompter).to(device, dtype)
        return self


def load_pipeline(
    folder: Path,
    prompt_embeddings: Path | None = None,
    *,
    cameras: CameraConditioning | None = None,
    slots: tuple[str, ...] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MVDiffusion:
    """Read a pipeline folder: FaceLift's published one, or one of `save_pipeline`.

    Args:
        folder: holds `model_index.json`.
        prompt_embeddings: tokens of the slots; by default the folder's own, else made by its text encoder for
            FaceLift's six slots.
        cameras: the camera conditioning to give the denoiser; one without it, or that of a single-image pipeline
            (Stable Diffusion 2.1-unCLIP), gets the input channels it lacks, of zero weight. None takes it as it is.
        slots: names of the slots; tokens for others than the folder's are made by its text encoder.
        device: where to.
        dtype: type of all components (FaceLift samples in float16).

    Raises:
        InputError: a component is missing, damaged or of another shape, or the tokens do not fit.
    """
    frozen = load_frozen(folder)
    unet = components.read_unet(component_folder(folder, "unet"))
    if cameras is not None:
        unet = adapted(unet, cameras)
    prompter = frozen.prompter
    encode = None if prompter is None else partial(encode_slots, prompter.text_encoder, prompter.tokenizer)
    tokens, source = slot_tokens(folder, prompt_embeddings, encode, slots)
    check_tokens(unet, tokens.tokens, tokens.slots, source)
    model = MultiViewUNet(unet, tokens.tokens, tokens.slots, learned=tokens.learned, adapter=read_adapter(folder))
    pipeline = frozen.around(model)
    embedder, vae = frozen.embedder, cast(Any, frozen.vae)
    embedding = 0 if embedder is None else embedder.image_encoder.config.projection_dim
    check_parts(unet, model.latent_channels, None if vae is None else vae.config.latent_channels, embedding, folder)
    pipeline.model.eval()
    return pipeline.to(device, dtype)


def load_frozen(folder: Path, *, prompter: bool = True) -> FrozenParts:
    """Read all components of a pipeline folder but the denoiser, on the CPU, in evaluation mode.

    Args:
        folder: holds `model_index.json`.
        prompter: read the text branch as well; only making tokens needs it.

    Raises:
        InputError: a component is missing or damaged.
    """
    text = {field.name for field in fields(Prompter)}
    named = [n for n in named_components(folder) if n != "unet" and (prompter or n not in text)]
    with components.without_progress_bars():
        present = {name: components.READERS[name](component_folder(folder, name)) for name in named}
    parts = FrozenParts(
        present["scheduler"],
        present.get("vae"),
        grouped(ImageEmbedder, present, folder),
        grouped(Prompter, present, folder),
    )
    for part in (parts.vae, parts.embedder and parts.embedder.image_encoder):
        if part is not None:
            cast(Any, part).eval()
    return parts


def save_pipeline(pipeline: MVDiffusion, folder: Path) -> None:
    """Write every component, as it is, in FaceLift's layout (the caller chooses a new folder and moves it into place).

    FaceLift's own code reads the result too, except for a model that takes rays, has no VAE or image encoder, or has
    something between latents and UNet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Any] = {"scheduler": pipeline.scheduler, "vae": pipeline.vae}
    for group, kind in ((pipeline.embedder, ImageEmbedder), (pipeline.prompter, Prompter)):
        parts |= {field.name: None if group is None else getattr(group, field.name) for field in fields(kind)}
    index: dict[str, Any] = dict(components.INDEX_HEAD)
    for name in sorted([*parts, "unet"]):
        absent = name != "unet" and parts[name] is None
        index[name] = [None, None] if absent else list(components.published_class(name, parts.get(name)))
        if not absent and name != "unet":
            with components.without_progress_bars():
                parts[name].save_pretrained(folder / name)
    components.write_unet(pipeline.model.unet, folder / "unet")
    model = pipeline.model
    write_tokens(folder / TOKENS_FILE, SlotTokens(model.tokens, model.slots, model.learned))
    if model.adapter != Adapter():
        (folder / ADAPTER_FILE).write_text(json.dumps(asdict(model.adapter), indent=2) + "\n", encoding="utf-8")
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _read_index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX_FILE
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give a diffusers pipeline folder") from error
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({error}); the pipeline folder is damaged") from error
    if not isinstance(index, dict):
        raise InputError(f"{file}: is not a diffusers pipeline's index; give a pipeline folder such as pipeckpts")
    return index


def read_adapter(folder: Path) -> Adapter:
    """What a folder says of how latents enter its UNet.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / ADAPTER_FILE
    if not file.is_file():
        return Adapter()
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({error}); the pipeline folder is damaged") from error
    return from_plain(Adapter, plain, source=str(file))


def _named(index: dict[str, Any], name: str) -> bool:
    """Whether the index says that the folder has this component; `[null, null]` says it has not."""
    entry = index.get(name)
    return isinstance(entry, list) and any(part is not None for part in entry)


def named_components(folder: Path) -> list[str]:
    """The components that a pipeline folder's index names.

    Raises:
        InputError: there is no index, or it lacks what every pipeline needs.
    """
    index = _read_index(folder)
    named = [name for name in components.READERS if _named(index, name)]
    for name in ("unet", "scheduler"):
        if name not in named:
            raise InputError(f"{folder}: component '{name}' is missing from {INDEX_FILE}; the pipeline needs it")
    return named


def component_folder(folder: Path, name: str) -> Path:
    """Where a component that the index names is.

    Raises:
        InputError: it is not there.
    """
    if not (folder / name).is_dir():
        raise InputError(f"{folder}: component '{name}' is named in {INDEX_FILE} but its folder is missing; copy it")
    return folder / name


def grouped(kind: type[Any], present: Mapping[str, Any], folder: Path) -> Any:
    """Components that work only together; None when there are none of them.

    Raises:
        InputError: some are there and some are not.
    """
    names = [field.name for field in fields(kind)]
    there = [name for name in names if name in present]
    if there and len(there) < len(names):
        missing = next(name for name in names if name not in present)
        raise InputError(f"{folder}: component '{missing}' is missing; '{there[0]}' is of no use without it")
    return kind(*(present[name] for name in names)) if there else None


def slot_tokens(
    folder: Path,
    given: Path | None,
    encode: Callable[[tuple[str, ...]], SlotTokens] | None,
    slots: tuple[str, ...] | None,
) -> tuple[SlotTokens, str]:
    """A pipeline's tokens, and where they come from.

    Args:
        folder: of the pipeline.
        given: a file of tokens to use instead of the folder's own.
        encode: makes tokens of slots' names; None where there is no text encoder.
        slots: the names wanted; None takes those that there are, or FaceLift's.

    Raises:
        InputError: there are none, or none of those slots.
    """
    own = folder / TOKENS_FILE
    if given is not None or own.is_file():
        file = own if given is None else given
        tokens = read_tokens(file)
        if slots is None or tokens.slots == slots:
            return tokens, str(file)
        if given is not None or tokens.learned:
            raise InputError(
                f"{file}: its tokens are of the slots {', '.join(tokens.slots)}, wanted are {', '.join(slots)}; "
                "give tokens of those slots"
            )
    if encode is None:
        raise InputError(f"{folder}: has neither {TOKENS_FILE} nor a text encoder; give the prompt embeddings' file")
    return encode(slots or FACELIFT_SLOTS), str(folder / "text_encoder")


def check_parts(
    unet: UNet2DConditionModel, latent: int, vae_channels: int | None, embedding: int, folder: Path
) -> None:
    """Refuse components that belong to different models.

    Args:
        unet: the denoiser.
        latent: channels that it denoises.
        vae_channels: latent channels of the VAE; None without one.
        embedding: width of the image encoder's embeddings; 0 without one.
        folder: for the message.

    Raises:
        InputError: they do.
    """
    # Four channels of a model with an image encoder are Stable Diffusion's latents, not pixels with their mask.
    pixels = (3,) if embedding else (3, 4)
    made = pixels if vae_channels is None else (vae_channels,)
    if latent not in made:
        maker = "pixels have" if vae_channels is None else "the VAE makes"
        raise InputError(
            f"{folder}: the UNet denoises {latent} channels, but {maker} {' or '.join(map(str, made))}; use the VAE it "
            "was trained with"
        )
    takes, width = cast(Any, unet.config).projection_class_embeddings_input_dim or 0, 2 * embedding
    if takes != width:
        raise InputError(
            f"{folder}: the UNet takes image vectors of width {takes}, the image encoder makes {width}; "
            "use the image encoder it was trained with"
        )
