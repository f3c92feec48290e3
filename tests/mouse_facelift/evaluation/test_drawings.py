"""Drawings are well-formed SVG that shows every camera and every stretch of frames."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from mouse_facelift.cameras.poses import turntable
from mouse_facelift.evaluation.drawings import Stretch, rig_svg, stretches, timeline_svg
from tests.worlds import MIDDLE, make_ring


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(kind)


@pytest.mark.parametrize("floor", [0.0, None])
def test_a_rig_is_drawn_whole_and_inside_its_frame(floor):
    svg = rig_svg(make_ring(5), MIDDLE[None] + [[0, 0, 0], [5, 5, 0]], floor)
    assert {text.text for text in elements(svg, "text")} == {"0", "1", "2", "3", "4"}
    assert len(elements(svg, "circle")) == 2
    # Eight edges of a pyramid and a plumb line per camera; the grid only where there is a floor.
    assert len(elements(svg, "line")) == 5 * 9 + (18 if floor is not None else 0)
    width, height = (float(v) for v in ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
    for line in elements(svg, "line"):
        assert all(0 <= float(line.attrib[k]) <= width for k in ("x1", "x2"))
        assert all(0 <= float(line.attrib[k]) <= height for k in ("y1", "y2"))


def test_higher_cameras_are_drawn_higher():
    low, high = (rig_svg(turntable(1, elevation_degrees=e), np.zeros((1, 3)), None) for e in (-50, 50))

    def below(svg: str) -> bool:
        dot, label = elements(svg, "circle")[0], elements(svg, "text")[0]
        return float(label.attrib["y"]) > float(dot.attrib["cy"])

    assert below(low) and not below(high)


def test_names_cannot_break_the_page():
    cameras = [type(c)("<b>&", c.width, c.height, c.K, c.R, c.t) for c in make_ring(2)]
    assert elements(rig_svg(cameras, MIDDLE[None]), "text")[0].text == "<b>&"
    assert elements(timeline_svg({"<r>": [Stretch("train", 0, 3)]}, {"<r>": 10}), "text")[-1].text == "<r>, 10 frames"


def test_frames_become_stretches():
    found = stretches({"train": [0, 2, 4, 6, 20, 22], "val": [30, 32], "set aside": [8]})
    assert found == [
        Stretch("train", 0, 6),
        Stretch("set aside", 8, 8),
        Stretch("train", 20, 22),
        Stretch("val", 30, 32),
    ]
    assert stretches({"train": [7]}) == [Stretch("train", 7, 7)]
    assert stretches({}) == []


def test_a_timeline_is_to_scale():
    svg = timeline_svg({"a": [Stretch("train", 0, 49), Stretch("val", 75, 99)]}, {"a": 100})
    bars = [r for r in elements(svg, "rect") if r.attrib["height"] == "16" and r.attrib["fill"] != "none"]
    train, val = ((float(r.attrib["x"]), float(r.attrib["width"])) for r in bars)
    assert train[0] == 0 and val[0] / train[1] == pytest.approx(1.5) and train[1] / val[1] == pytest.approx(2)
    assert bars[0].attrib["fill"] != bars[1].attrib["fill"]
