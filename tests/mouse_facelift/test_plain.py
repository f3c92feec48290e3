"""Properties of the strict conversion between dataclasses and plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from mouse_facelift.errors import InputError
from mouse_facelift.plain import from_plain, to_plain


@dataclass(frozen=True)
class Inner:
    width: int = 3
    rate: float = 0.5
    mode: Literal["a", "b", 1] = "a"


@dataclass(frozen=True)
class Outer:
    path: Path
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "x")
    limit: int | None = None
    zoom: float | Literal["fit"] = 1.0
    weights: dict[str, float] = field(default_factory=dict)
    several: tuple[Inner, ...] = ()
    flag: bool = False


@pytest.mark.parametrize(
    "value",
    [
        Outer(Path("/a")),
        Outer(Path("b/c"), Inner(7, 1e-7, 1), (), (2.5, ""), 4, "fit", {"l2": 1.0}, (Inner(1), Inner(2)), True),
        Outer(Path("x"), zoom=float("inf"), limit=-1),
    ],
)
def test_yaml_round_trip_is_exact(value: Outer) -> None:
    assert from_plain(Outer, yaml.safe_load(yaml.safe_dump(to_plain(value)))) == value


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"path": "a", "inner": {"widht": 1}}, ["f.yaml", "unknown key 'inner.widht'", "did you mean 'inner.width'?"]),
        ({"path": "a", "zzz": 1}, ["unknown key 'zzz'", "valid: path, inner"]),
        ({}, ["'path' is missing"]),
        ({"path": 3}, ["'path' is 3", "a path"]),
        ({"path": "a", "inner": {"width": True}}, ["'inner.width' is True", "a whole number"]),
        ({"path": "a", "inner": {"width": 2.0}}, ["'inner.width' is 2.0", "a whole number"]),
        ({"path": "a", "inner": {"rate": "fast"}}, ["'inner.rate' is 'fast'", "a number"]),
        ({"path": "a", "inner": {"mode": "c"}}, ["'inner.mode' is 'c'", "one of 'a', 'b', 1"]),
        ({"path": "a", "inner": {"mode": True}}, ["'inner.mode' is True", "one of"]),
        ({"path": "a", "inner": 3}, ["'inner' must hold keys and values"]),
        ({"path": "a", "sizes": [1, "b"]}, ["'sizes[1]' is 'b'"]),
        ({"path": "a", "pair": [1.0]}, ["'pair' has 1 values; it needs 2"]),
        ({"path": "a", "limit": "many"}, ["'limit' is 'many'", "a whole number"]),
        ({"path": "a", "zoom": "wide"}, ["'zoom' is 'wide'", "a number or one of 'fit'"]),
        ({"path": "a", "several": [{"rate": 1}, {"rat": 1}]}, ["unknown key 'several[1].rat'"]),
        ({"path": "a", "flag": 1}, ["'flag' is 1", "true or false"]),
        ([1], ["the file must hold keys and values"]),
    ],
)
def test_refuses_what_does_not_fit(plain: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        from_plain(Outer, plain, source="f.yaml")
    for word in words:
        assert word in str(caught.value)


def test_yaml_number_without_dot_is_a_number() -> None:
    assert from_plain(Inner, yaml.safe_load("rate: 1e-4")) == Inner(rate=1e-4)


def test_whole_number_becomes_float_where_a_float_is_asked_for() -> None:
    rate = from_plain(Inner, {"rate": 2}).rate
    assert rate == 2.0 and isinstance(rate, float)
