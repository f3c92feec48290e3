from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from mouse_facelift.evaluation.search_charts import (
    BEST,
    DEFAULT,
    FAINT,
    finalists_svg,
    learning_curves_svg,
    pareto_svg,
    views_svg,
)
from mouse_facelift.evaluation.search_numbers import pareto_front, views_curves
from mouse_facelift.evaluation.trials import Objective, Search
from tests.searches import PSNR, views_search, weights_search


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def points_of(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def lines(svg: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Colour and points of every line."""
    return [
        (
            line.attrib["stroke"],
            points_of(line),
        )
        for line in ElementTree.fromstring(svg).iter("polyline")
    ]


def test_a_learning_curve_per_trial_with_best_and_default_on_top() -> None:
    search = weights_search()
    drawn = lines(learning_curves_svg(search))
    with_curve = [t for t in search.trials if t.stage == "search" and t.curve]
    assert len(drawn) == len(with_curve)
    assert drawn[-1][0] == BEST and drawn[-2][0] == DEFAULT
    assert sum(colour == FAINT for colour, _ in drawn) == sum(t.status != "completed" for t in with_curve)
    assert len(drawn[-1][1]) == len(search.trial(search.best_trial).curve)
    assert drawn[-1][1][-1][1] < drawn[-2][1][-1][1], "the best ends above the default"
    assert "foreground PSNR (dB)" in texts(learning_curves_svg(search))


def test_the_end_of_every_good_curve_lies_in_the_chart() -> None:
    search = weights_search()
    diverged = dataclasses.replace(
        search.trials[7],
        trial_id="low",
        curve=tuple(dataclasses.replace(p, scores={"psnr_foreground": -80.0}) for p in search.trials[7].curve),
    )
    svg = learning_curves_svg(dataclasses.replace(search, trials=(*search.trials, diverged)))
    inside = [points[-1][1] for _, points in lines(svg)]
    assert sum(y > 320 for y in inside) <= 2, "only what diverged or failed runs out"
    assert all(34 < points[-1][1] < 294 for colour, points in lines(svg) if colour in (BEST, DEFAULT))


def test_no_curve_yet() -> None:
    assert "no values yet" in texts(learning_curves_svg(dataclasses.replace(weights_search(), trials=())))


def test_every_seed_of_every_finalist_is_a_dot() -> None:
    search = weights_search()
    svg = finalists_svg(search)
    assert len(list(ElementTree.fromstring(svg).iter("circle"))) == 9
    assert {"best (trial 6)", "default"} <= set(texts(svg))


def test_quality_by_views_draws_what_was_measured() -> None:
    curves = views_curves(views_search())
    svg = views_svg(PSNR, curves)
    assert len(lines(svg)) == len(curves) and all(len(points) == 5 for _, points in lines(svg))
    rings = [dot for dot in ElementTree.fromstring(svg).iter("circle") if dot.attrib["fill"] == "#ffffff"]
    assert len(rings) == len(curves), "one where evaluation is as training"
    assert {"1 view", "5 views", "1–5 views", "input views at evaluation"} <= set(texts(svg))
    ends = [
        float(e.attrib["y"]) for e in ElementTree.fromstring(svg).iter("text") if re.search("view(s)?$", e.text or "")
    ]
    assert min(b - a for a, b in zip(sorted(ends), sorted(ends)[1:], strict=False)) >= 13, "labels keep apart"


def test_the_front_is_named_and_the_rest_is_not() -> None:
    base = weights_search()
    trials = tuple(dataclasses.replace(t, seconds_train=100.0 + 37 * t.number % 90) for t in base.trials)
    search = dataclasses.replace(base, trials=trials, objectives=(PSNR, Objective("seconds_train", "min", "s")))
    svg = pareto_svg(search)
    assert {str(t.number) for t in pareto_front(search) if t.number} <= set(texts(svg))
    assert "training time (s)" in texts(svg) and "0 default" in texts(svg)


@pytest.mark.parametrize("draw", [learning_curves_svg, finalists_svg])
def test_charts_have_names_for_screen_readers(draw: Callable[[Search], str]) -> None:
    assert ElementTree.fromstring(draw(weights_search())).attrib["aria-label"]
