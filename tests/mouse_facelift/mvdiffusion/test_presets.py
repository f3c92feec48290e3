"""Every named architecture can be built, and those over pixels without any download."""

from __future__ import annotations

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.presets import PRESETS, new_pipeline, preset
from mouse_facelift.mvdiffusion.unet import RAY_CHANNELS, build_unet


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_build(name: str) -> None:
    with torch.device("meta"):
        unet = build_unet(preset(name).unet)
    rays = RAY_CHANNELS if preset(name).unet.camera_conditioning == "rays" else 0
    assert unet.conv_in.in_channels == 2 * unet.conv_out.out_channels + rays
    assert (rays > 0) == (name in ("small", "facelift-512-rays"))


def test_the_small_one_is_small_and_starts_from_a_seed() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(new_pipeline(preset("small")).model)
    assert 1e6 < sum(p.numel() for p in made[0].parameters()) < 1e7
    first, second = (model.state_dict() for model in made)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_models_over_latents_need_a_folder() -> None:
    with pytest.raises(InputError, match="start from a pipeline folder"):
        new_pipeline(preset("facelift-512"))


def test_an_unknown_preset_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="facelift-512"):
        preset("facelift-1024")
