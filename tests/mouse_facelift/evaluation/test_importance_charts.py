from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from mouse_facelift.evaluation.importance import Parameter, importances
from mouse_facelift.evaluation.importance_charts import MOST_SLICES, importance_svg, slices_svg
from mouse_facelift.evaluation.search_numbers import varied
from tests.searches import weights_search


def test_bars_are_as_long_as_the_shares() -> None:
    found = importances([Parameter("all", list(range(20))), Parameter("none", [0, 1, 1, 0] * 5)], list(range(20)))
    root = ElementTree.fromstring(importance_svg(found))
    bars = [float(bar.attrib["width"]) for bar in root.iter("rect")]
    assert len(bars) == 2 and bars[0] > 100
    assert bars[1] / bars[0] == round(found[1].share / found[0].share, 1) == 0.0
    texts = [text.text for text in root.iter("text")]
    assert texts.index("all") < texts.index("none") and "more is better" in texts and "no effect seen" in texts


def test_few_trials_are_said_without_a_bar() -> None:
    svg = importance_svg(importances([Parameter("x", [1, 2, 3])], [1, 2, 3]))
    assert "too few trials to tell" in svg and "<rect" not in svg


def test_slices_show_every_comparable_trial_of_each_setting() -> None:
    search = weights_search()
    root = ElementTree.fromstring(slices_svg(search, varied(search)))
    dots = list(root.iter("circle"))
    # 18 trials have a score where they are compared, and none of them is far off.
    assert len(dots) == 18 * MOST_SLICES
    hints = [dot.findtext("title") or "" for dot in dots]
    assert sum("losses.alpha" in hint for hint in hints) == 18
    best = [d for d in dots if (d.findtext("title") or "").startswith("trial 6: losses.foreground_weight 8.8")]
    worst = [d for d in dots if (d.findtext("title") or "").startswith("trial 0: losses.foreground_weight")]
    assert float(best[0].attrib["cx"]) > float(worst[0].attrib["cx"])
    assert float(best[0].attrib["cy"]) < float(worst[0].attrib["cy"])
