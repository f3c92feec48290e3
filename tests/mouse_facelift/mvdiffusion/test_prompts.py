"""Prompt embeddings: FaceLift's file, generated ones, and what is not prompt embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.prompts import SlotTokens, encode_slots, read_tokens, write_tokens
from mouse_facelift.mvdiffusion.unet import UNetConfig, build_unet, check_tokens
from tests.mouse_facelift.mvdiffusion.conftest import tiny_prompter


def test_facelifts_file_fits_facelifts_model(shared_data: Path) -> None:
    found = read_tokens(shared_data / "facelift_sample" / "clr_embeds.pt")
    assert found.tokens.shape == (6, 77, 1024) and found.tokens.dtype == torch.float16
    assert found.slots == FACELIFT_SLOTS and not found.learned
    # Sentences differ only from their slot's name on (the tenth token at the latest, the ninth for most).
    assert torch.equal(found.tokens[:, :9], found.tokens[:1, :9].expand(6, -1, -1))
    assert not torch.equal(found.tokens[0], found.tokens[1])
    with torch.device("meta"):
        check_tokens(build_unet(UNetConfig()), found.tokens, found.slots, "clr_embeds.pt")


def test_embeddings_of_another_encoder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mouse_embeds.pt"
    torch.save(torch.randn(6, 77, 768), file)
    found = read_tokens(file)
    with torch.device("meta"), pytest.raises(InputError, match="mouse_embeds.*width 1024.*768-wide.*ViT-L"):
        check_tokens(build_unet(UNetConfig()), found.tokens, found.slots, str(file))


def test_any_slots_can_be_encoded_and_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    prompter = tiny_prompter()
    found = encode_slots(prompter.text_encoder, prompter.tokenizer, ("front", "top", "front_right"))
    assert found.tokens.shape == (3, 77, 24) and found.slots == ("front", "top", "front_right")
    assert torch.equal(found.tokens[0, :10], found.tokens[2, :10])
    assert not torch.equal(found.tokens[0], found.tokens[1]) and not torch.equal(found.tokens[0], found.tokens[2])
    alone = encode_slots(prompter.text_encoder, prompter.tokenizer, ("top",))
    assert torch.allclose(alone.tokens[0], found.tokens[1], atol=1e-6)
    write_tokens(tmp_path / "tokens.safetensors", found)
    again = read_tokens(tmp_path / "tokens.safetensors")
    assert torch.equal(again.tokens, found.tokens) and again.slots == found.slots and again.learned is False


def test_a_sentence_without_the_slot_is_refused() -> None:
    prompter = tiny_prompter()
    with pytest.raises(InputError, match="no {view} in it"):
        encode_slots(prompter.text_encoder, prompter.tokenizer, prompt="a mouse")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tokens(tmp_path / "absent.pt")
    torch.save({"front": torch.zeros(77, 1024)}, tmp_path / "dict.pt")
    with pytest.raises(InputError, match="dict.pt: holds a dict"):
        read_tokens(tmp_path / "dict.pt")
    torch.save(torch.zeros(5, 77, 1024), tmp_path / "five.pt")
    with pytest.raises(InputError, match=r"holds shape \[5, 77, 1024\]"):
        read_tokens(tmp_path / "five.pt")
    torch.save(SlotTokens(torch.zeros(1), ("a",)), tmp_path / "code.pt")
    with pytest.raises(InputError, match="code.pt: cannot be read as a plain tensor"):
        read_tokens(tmp_path / "code.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(InputError, match="holds no prompt embeddings"):
        read_tokens(tmp_path / "broken.safetensors")
