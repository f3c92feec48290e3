"""Prompt embeddings: the fixed tokens by which a FaceLift-style model tells its views apart.

FaceLift ships them as one tensor [6, 77, 1024], made from a sentence per slot with the text encoder of Stable
Diffusion 2.1 (CLIP ViT-H). Here they are read from that file, or made from any text encoder for any slot names, and
kept as safetensors with the slots' names beside the numbers.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.errors import InputError

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

PROMPT = "a rendering image of 3D models, {view} view, color map."
"""FaceLift's sentence for a slot."""

_TENSOR = "tokens"


@dataclass(frozen=True)
class SlotTokens:
    """One set of tokens per slot."""

    tokens: Float[Tensor, "s n d"]
    slots: tuple[str, ...]
    learned: bool = False
    """Whether they were trained with the model rather than made from text."""


def read_tokens(file: Path) -> SlotTokens:
    """Tokens from our `.safetensors`, or from FaceLift's `.pt` (six slots, in FaceLift's order).

    Raises:
        InputError: the file is absent, damaged, or holds something else.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; give prompt embeddings (FaceLift's clr_embeds.pt or a .safetensors)")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    try:
        tokens = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: cannot be read as a plain tensor ({error}); use FaceLift's clr_embeds.pt") from error
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or len(tokens) != len(FACELIFT_SLOTS):
        found = f"shape {list(tokens.shape)}" if isinstance(tokens, Tensor) else f"a {type(tokens).__name__}"
        raise InputError(
            f"{file}: holds {found}, not prompt embeddings [6, tokens, width]; use FaceLift's clr_embeds.pt"
        )
    return SlotTokens(tokens, FACELIFT_SLOTS)


def _read_safetensors(file: Path) -> SlotTokens:
    try:
        with safe_open(file, framework="pt") as content:
            facts: dict[str, Any] = json.loads((content.metadata() or {})["slot_tokens"])
            return SlotTokens(content.get_tensor(_TENSOR), tuple(facts["slots"]), bool(facts["learned"]))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{file}: holds no prompt embeddings ({error}); make them anew") from error


def write_tokens(file: Path, tokens: SlotTokens) -> None:
    """Write tokens as safetensors."""
    facts = json.dumps({"slots": tokens.slots, "learned": tokens.learned})
    save_file({_TENSOR: tokens.tokens.detach().cpu().contiguous()}, file, metadata={"slot_tokens": facts})


@torch.no_grad()
def encode_slots(
    text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, slots: Sequence[str] = FACELIFT_SLOTS, prompt: str = PROMPT
) -> SlotTokens:
    """Tokens of any slots from a text encoder: its last hidden state over the padded sentence, no attention mask.

    Args:
        text_encoder: CLIP's text tower.
        tokenizer: its tokenizer.
        slots: names; `_` stays as it is, as in FaceLift's sentences.
        prompt: a sentence with `{view}` in it.

    Raises:
        InputError: the sentence has no place for the slot's name.
    """
    if "{view}" not in prompt:
        raise InputError(f"prompt '{prompt}' has no {{view}} in it: every slot would get the same tokens; put it in")
    length = text_encoder.config.max_position_embeddings
    sentences = [prompt.format(view=slot) for slot in slots]
    ids = tokenizer(sentences, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    states = text_encoder(ids.to(text_encoder.device)).last_hidden_state
    return SlotTokens(states, tuple(slots))
