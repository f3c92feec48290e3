"""Every named architecture can be built."""

from __future__ import annotations

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.presets import PRESETS, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_build(name: str) -> None:
    with torch.device("meta"):
        model = GSLRM(preset(name))
    assert len(model.transformer_layers) == PRESETS[name].layers


def test_facelift_512_differs_from_the_defaults_in_memory_use_alone() -> None:
    assert preset("mouse-512") == preset("facelift-512") == GSLRMConfig(checkpoint_every=1)


def test_the_demo_is_small() -> None:
    with torch.device("meta"):
        model = GSLRM(preset("demo"))
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 1e7


def test_unknown_preset_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="facelift-512"):
        preset("facelift-1024")
