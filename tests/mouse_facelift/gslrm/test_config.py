"""Contradictions in the architecture are refused with a line that names the cure."""

from __future__ import annotations

from typing import Any

import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 100}, "patch_size"),
        ({"width": 100}, "head_width"),
        ({"layers": 0}, "layers"),
        ({"free_gaussians": 0}, "free_gaussians"),
        ({"checkpoint_every": -1}, "checkpoint_every"),
        ({"depth_range": 0.0}, "depth_range"),
        ({"depth_range": float("nan")}, "depth_range"),
        ({"scale_bias": 0.0}, "scale_max"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GSLRMConfig(**fields)


def test_defaults_are_the_published_model() -> None:
    config = GSLRMConfig()
    assert config.heads == 16
    assert (config.width, config.layers, config.patch_size, config.free_gaussians) == (1024, 24, 8, 2)
    assert (config.scale_unit, config.colour_base, config.hard_pixelalign, config.clip_xyz) == (
        "world",
        "grey",
        True,
        False,
    )
