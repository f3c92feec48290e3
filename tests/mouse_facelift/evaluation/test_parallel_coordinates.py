from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from mouse_facelift.evaluation.charts import PALETTE
from mouse_facelift.evaluation.parallel_coordinates import MOST_AXES, WIDTH, parallel_coordinates_svg
from mouse_facelift.evaluation.search_numbers import varied
from mouse_facelift.evaluation.trials import Knob
from tests.searches import views_search, weights_search


def points_of(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def drawn(svg: str) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Colour, hint and points of every line, in the order in which they are drawn."""
    return [
        (
            line.attrib["stroke"],
            line.findtext("title") or "",
            points_of(line),
        )
        for line in ElementTree.fromstring(svg).iter("polyline")
    ]


def test_every_trial_is_a_line_through_all_axes_to_its_score() -> None:
    search = weights_search()
    lines = drawn(parallel_coordinates_svg(search, varied(search)))
    assert len(lines) == 20
    # Six settings and the score; the two that failed before the samples all are compared at have no score.
    assert sorted(len(points) for *_, points in lines) == [6] * 2 + [7] * 18
    assert lines[-1][0] == PALETTE[0] and lines[-2][0] == PALETTE[1], "best and default are on top"
    assert lines[-1][2][-1][1] < lines[-2][2][-1][1]
    assert len({points[0][0] for *_, points in lines}) == 1 and lines[0][2][-1][0] < WIDTH


def test_better_trials_are_darker() -> None:
    search = weights_search()
    lines = drawn(parallel_coordinates_svg(search, varied(search)))[:-2]
    scored = sorted((points[-1][1], colour) for colour, _, points in lines if len(points) == 7)
    reds = [int(colour[1:3], 16) for _, colour in scored]
    assert reds == sorted(reds), "higher up is darker"


def test_names_do_not_overlap_and_axes_are_limited() -> None:
    search = weights_search()
    knobs = [Knob(f"losses.a_rather_long_name_{i}", "choice", 0, options=(0, 1)) for i in range(14)]
    root = ElementTree.fromstring(parallel_coordinates_svg(search, knobs))
    names = [text for text in root.iter("text") if (text.text or "").startswith("a_rather")]
    assert len(names) == MOST_AXES
    for row in {text.attrib["y"] for text in names}:
        middle = sorted(float(text.attrib["x"]) for text in names if text.attrib["y"] == row)
        assert all(b - a > 150 for a, b in zip(middle, middle[1:], strict=False))


def test_a_default_that_is_best_is_drawn_once() -> None:
    svg = parallel_coordinates_svg(views_search(), varied(views_search()))
    assert "best, which is the default" in svg and len(drawn(svg)) == 7
