"""Spaces are refused whole, with one line, before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mouse_facelift.errors import InputError
from training.gslrm_settings import PRESETS
from tune.catalogue import SPACES
from tune.spaces import Axis, Space, apply, default_value, read_space

BASE = replace(PRESETS["demo"], data="d", out=Path("o"))


def space(**axes: Axis) -> Space:
    return Space(kind="gslrm", axes={path.replace("__", "."): axis for path, axis in axes.items()})


@pytest.mark.parametrize("name", [name for name, one in SPACES.items() if one.kind == "gslrm"])
def test_named_spaces_fit_the_configuration(name: str) -> None:
    for base in (BASE, replace(BASE, init_from=Path("checkpoint"))):
        SPACES[name].applicable(base).check(base, name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (space(losses__alhpa=Axis(0.1, 1.0)), "unknown key 'losses.alhpa' (did you mean 'losses.alpha'?)"),
        (space(losses__alpha=Axis(options=("much",))), "'losses.alpha' is 'much'; it must be a number"),
        (space(losses__alpha=Axis(1.0, 1.0)), "the range from 1 to 1 is empty"),
        (space(losses__alpha=Axis(0.0, 1.0, "log")), "a log scale cannot begin at 0"),
        (space(losses__alpha=Axis(-1.0, 1.0)), "alpha"),
        (space(losses__alpha=Axis(1.0)), "give either low and high, or options"),
        (space(views__num_inputs=Axis(1.5, 4.0, "int")), "not whole numbers"),
        (space(losses=Axis(options=(1,))), "is a group of settings"),
        (space(steps__few=Axis(options=(1,))), "is not searched"),
        (space(seed=Axis(options=(1, 2))), "is not searched"),
        (space(losses__ssim=Axis(options=(0.1, 0.1))), "named twice"),
        (space(losses__ssim=Axis(options=(0.1,), when={"losses.alpha": (1.0,)})), "must come before it"),
        (Space(kind="gslrm", axes={}), "no setting to search"),
    ],
)
def test_what_cannot_be_searched_is_named(wrong: Space, said: str) -> None:
    with pytest.raises(InputError) as caught:
        wrong.check(BASE, "mine.yaml")
    assert said in str(caught.value) and str(caught.value).startswith("mine.yaml") and "\n" not in str(caught.value)


def test_a_users_file_is_read_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "kind: gslrm\naxes:\n  losses.alpha: {low: 1e-2, high: 10, scale: log}\n"
        "  losses.ssim: {options: [0.0, 0.2]}\n  losses.ramps.ssim: {options: ['[0, 9]'], when: {losses.ssim: [0.2]}}\n"
    )
    found = read_space(file)
    found.check(BASE, str(file))
    chosen = apply(BASE, {"losses.alpha": 0.5, "losses.ssim": 0.2, "losses.ramps.ssim": "[0, 9]"})
    assert (chosen.losses.alpha, chosen.losses.ramps.ssim) == (0.5, (0, 9))
    assert chosen == replace(BASE, losses=chosen.losses), "nothing else changes"
    assert default_value(BASE, "losses.ramps.ssim") == "[0, 0]"
    file.write_text("kind: gslrm\naxes:\n  losses.alpha: {lo: 1, high: 10}\n")
    with pytest.raises(InputError, match="unknown key 'axes.losses.alpha.lo'"):
        read_space(file)


def test_a_grid_holds_every_combination_that_applies_once() -> None:
    points = SPACES["views"].grid()
    assert len(points) == 7
    assert [p["views.num_inputs"] for p in points if "views.min_inputs" in p] == [3, 3, 5, 5]
    with pytest.raises(InputError, match="is a range"):
        SPACES["loss-weights"].grid()
