from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from mouse_facelift.evaluation.charts import HEIGHT, LEFT, WIDTH, Chart, Curve, line_chart_svg


def drawn_points(svg: str) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(svg).find("polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_chart_is_well_formed_and_points_keep_their_order() -> None:
    chart = Chart(
        'PSNR <on> "held-out"', "step", "dB", [Curve("a & b", [0, 10, 20], [1.0, 3.0, 2.0])], [("blank", 0.5)]
    )
    svg = line_chart_svg(chart)
    points = drawn_points(svg)
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs) and xs[0] >= LEFT and xs[-1] <= WIDTH
    assert ys[1] < ys[2] < ys[0], "larger values are drawn higher"
    assert all(0 <= y <= HEIGHT for y in ys)
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert "a & b" in texts and "blank" in texts and "dB" in texts


def test_values_that_are_not_finite_are_left_out() -> None:
    chart = Chart("t", "x", "y", [Curve("a", [0, 1, 2], [1.0, math.nan, 2.0])], [("blank", math.nan)])
    assert len(drawn_points(line_chart_svg(chart))) == 2


def test_chart_without_values_says_so() -> None:
    assert "no values" in line_chart_svg(Chart("t", "x", "y", [Curve("a", [], [])]))
