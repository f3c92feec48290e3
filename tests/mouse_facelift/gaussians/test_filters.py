from __future__ import annotations

import pytest
import torch

from mouse_facelift.gaussians.filters import FILTERS, FilterConfig, animal_mask
from mouse_facelift.gaussians.gaussians import Gaussians


def one(
    x: float = 0.0, y: float = 0.0, z: float = 0.0, scale: float = 0.01, opacity: float = 0.5, red: float = 0.5
) -> Gaussians:
    return Gaussians(
        torch.tensor([[x, y, z]]),
        torch.tensor([[0.001, scale, 0.001]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([opacity]),
        torch.tensor([[red, 0.5, 0.5]]),
    )


@pytest.mark.parametrize(
    ("gaussian", "kept"),
    [
        (one(), True),
        (one(opacity=0.04), False),
        (one(opacity=0.0401), True),
        (one(scale=0.0999, z=-0.1), True),
        (one(scale=0.1, z=-0.1), False),
        (one(scale=0.1, z=0.0), False),
        (one(scale=0.5, z=0.1), True),
        (one(x=0.7, y=-0.7, z=-0.7), False),
        (one(x=0.6, y=-0.7, z=-0.7), True),
        (one(x=0.7, y=0.7, z=-0.6), True),
        (one(x=0.91, y=-0.91, z=1.0), True),
        (one(x=0.911), False),
        (one(y=-0.911), False),
        (one(z=-1.001), False),
        (one(scale=float("nan"), z=0.5), False),
        (one(red=float("inf")), False),
    ],
)
def test_each_rule_at_its_edge(gaussian: Gaussians, kept: bool) -> None:
    assert animal_mask(gaussian).tolist() == [kept]


def test_thresholds_can_be_changed_and_apply_row_by_row() -> None:
    pair = Gaussians.concatenate([one(opacity=0.2), one(opacity=0.4)])
    assert animal_mask(pair).tolist() == [True, True]
    assert animal_mask(pair, FilterConfig(min_opacity=0.3)).tolist() == [False, True]
    assert animal_mask(Gaussians.empty()).tolist() == []


@pytest.mark.parametrize(
    ("gaussian", "kept"),
    [
        (one(scale=0.19, z=-0.1), (False, True)),
        (one(scale=0.2, z=-0.1), (False, False)),
        (one(x=0.7, y=-0.7, z=-0.7), (False, True)),
        (one(x=0.76, y=-0.76, z=-0.7), (False, True)),
        (one(x=0.76, y=-0.76, z=-0.76), (False, False)),
        (one(opacity=0.04), (False, False)),
    ],
)
def test_the_web_demo_keeps_more(gaussian: Gaussians, kept: tuple[bool, bool]) -> None:
    found = tuple(bool(animal_mask(gaussian, FILTERS[name])) for name in ("facelift", "facelift-gradio"))
    assert found == kept
