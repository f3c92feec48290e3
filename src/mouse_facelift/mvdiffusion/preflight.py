"""A pipeline folder looked at before work starts: what is missing or does not fit, without reading any weights.

Settings and the headers of the weights' files say most of what `pipeline.load_pipeline` would refuse, in a second
instead of the minutes that gigabytes take, and in no memory. What only the weights themselves say is left to whoever
loads them: the shapes of other components than the UNet, and a pickled file that is damaged inside.
"""

from __future__ import annotations

from pathlib import Path

import torch

from mouse_facelift.mvdiffusion import components
from mouse_facelift.mvdiffusion.pipeline import (
    ImageEmbedder,
    Prompter,
    check_parts,
    component_folder,
    grouped,
    named_components,
    read_adapter,
    slot_tokens,
)
from mouse_facelift.mvdiffusion.prompts import SlotTokens
from mouse_facelift.mvdiffusion.unet import CameraConditioning, adapted, check_tokens

_LATENT_CHANNELS = 4
"""Of a VAE whose settings do not say (diffusers' default)."""


def check_pipeline(
    folder: Path,
    prompt_embeddings: Path | None = None,
    *,
    cameras: CameraConditioning | None = None,
    slots: tuple[str, ...] | None = None,
) -> None:
    """Refuse what `load_pipeline` would refuse with the same arguments, as far as can be said quickly.

    Raises:
        InputError: as for `load_pipeline`.
    """
    names = [name for name in named_components(folder) if name != "unet"]
    settings = {name: components.outline(component_folder(folder, name), name) for name in names}
    grouped(ImageEmbedder, settings, folder)
    text = grouped(Prompter, settings, folder)
    unet = components.outlined_unet(component_folder(folder, "unet"))
    if cameras is not None:
        unet = adapted(unet, cameras)

    def unencoded(names: tuple[str, ...]) -> SlotTokens:
        return SlotTokens(torch.empty(len(names), 1, settings["text_encoder"]["hidden_size"], device="meta"), names)

    tokens, source = slot_tokens(folder, prompt_embeddings, None if text is None else unencoded, slots)
    check_tokens(unet, tokens.tokens, tokens.slots, source)
    latent = unet.conv_out.out_channels // read_adapter(folder).patch ** 2
    made = settings["vae"].get("latent_channels", _LATENT_CHANNELS) if "vae" in settings else None
    embedding = settings["image_encoder"]["projection_dim"] if "image_encoder" in settings else 0
    check_parts(unet, latent, made, embedding, folder)
