from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import write_png
from mouse_facelift.evaluation.search_report import FramePanel, headline, write_search_report
from mouse_facelift.evaluation.trials import Objective, Search
from tests.browser import open_page
from tests.searches import PSNR, views_search, weights_search


def panels(search: Search, folder: Path) -> list[FramePanel]:
    """Truth as an array, one finalist's picture as a file."""
    truth = np.full((16, 16, 4), 0.5)
    renders: dict[str, np.ndarray | Path] = {f.repeats: truth * 0.9 for f in search.finalists}
    renders[search.best_trial] = write_png(folder / "best.png", np.full((16, 16, 3), 0.7))
    return [FramePanel(f"frame {n}, view 3", truth, renders) for n in (812, 1440)]


def titles(page: str) -> list[str]:
    return [part.split("</h2>")[0] for part in page.split("<h2>")[1:]]


def test_the_page_of_a_search_has_each_part(tmp_path: Path) -> None:
    search = weights_search()
    page = write_search_report(tmp_path / "report.html", search, panels(search, tmp_path)).read_text()
    assert titles(page) == [
        "Best and default",
        "The finalists on the same frames",
        "Which settings decide",
        "All trials",
        "What failed, and why",
        "How it was searched and judged",
    ]
    assert headline(search)[0].replace("'", "&#x27;") in page
    assert page.count("<svg") == 5 and page.count("<img") == 2
    assert "out of memory: the worker took 7.9 GB of 8 GB" in page
    assert "The default alone would have given 17." in page
    assert "<script" not in page and "http" not in page and ">nan" not in page


def test_the_table_puts_the_best_first_and_the_failed_last(tmp_path: Path) -> None:
    search = weights_search()
    page = write_search_report(tmp_path / "report.html", search).read_text()
    table = page.split("<h2>All trials</h2>")[1].split("</table>")[0]
    rows = [row.split("</td>")[0].split(">")[-1] for row in table.split("<tr")[2:]]
    assert len(rows) == len(search.trials)
    assert rows[0] == "6 best" and rows.index("0 default") < rows.index("16") < rows.index("5") < rows.index("3")
    assert "<tr class=best><td>6 best" in table and "<tr class=default><td>0 default" in table


def test_views_and_costs_have_sections_where_they_were_measured(tmp_path: Path) -> None:
    page = write_search_report(tmp_path / "views.html", views_search()).read_text()
    assert "Quality by number of views" in titles(page) and "What failed, and why" not in titles(page)
    assert "<td>1–5</td>" in page and "given 5" in page and "reconstruction (s)" in page
    assert "Too few to tell what decides" in page
    costly = dataclasses.replace(weights_search(), objectives=(PSNR, Objective("seconds_train", "min", "s")))
    page = write_search_report(tmp_path / "cost.html", costly).read_text()
    assert "Quality and cost" in titles(page) and "not beaten in both foreground PSNR and training time" in page


def test_finalists_by_views_are_named_where_their_training_does_not_differ_in_views(tmp_path: Path) -> None:
    search = weights_search()
    by_views = {n: {"psnr_foreground": 10.0 + n, "seconds": 0.1 * n, "memory_mib": 9.0} for n in (1, 2, 3)}
    trials = tuple(dataclasses.replace(t, by_views=by_views) if t.stage == "final" else t for t in search.trials)
    page = write_search_report(tmp_path / "report.html", dataclasses.replace(search, trials=trials)).read_text()
    section = page.split("<h2>Quality by number of views</h2>")[1].split("<h2>")[0]
    assert "<td>default</td>" in section and "<td>best, trial 6</td>" in section and "<th>settings</th>" in section
    assert "trained with<" not in section and "Ring" not in section and "#0072b2" in section and "#d55e00" in section


def test_a_search_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    begun = dataclasses.replace(weights_search(), trials=(), finalists=(), default_trial="", best_trial="", seconds=0.0)
    page = write_search_report(tmp_path / "report.html", begun).read_text()
    assert titles(page) == ["Best and default", "All trials", "How it was searched and judged"]
    failed = dataclasses.replace(weights_search().trials[3], number=0, trial_id="t000", overrides={})
    one = dataclasses.replace(begun, trials=(failed,), default_trial="t000")
    assert "Nothing can be compared yet" in write_search_report(tmp_path / "report.html", one).read_text()


def test_sheets_that_hold_their_own_truth_are_shown_as_they_are(tmp_path: Path) -> None:
    search = weights_search()
    sheets = [FramePanel("sample 0", None, {f.repeats: np.full((20, 90, 3), 0.4) for f in search.finalists})]
    page = write_search_report(tmp_path / "report.html", search, sheets).read_text()
    assert page.count("<img") == 3 and "sample 0: default" in page and "sample 0: best (trial 6)" in page


def test_an_absent_picture_is_one_clear_line(tmp_path: Path) -> None:
    search = weights_search()
    panel = FramePanel("frame 1", tmp_path / "absent.png", {search.best_trial: np.zeros((4, 4, 3))})
    with pytest.raises(InputError, match=r"absent\.png"):
        write_search_report(tmp_path / "report.html", search, [panel])


def test_a_browser_shows_it_without_a_complaint_or_overlapping_labels(tmp_path: Path) -> None:
    search = weights_search()
    path = write_search_report(tmp_path / "report.html", search, panels(search, tmp_path))
    with open_page(path.as_uri(), tmp_path / "profile", size=(1240, 900)) as page:
        assert page.errors == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        overlaps = page.evaluate(_OVERLAPS)
        assert overlaps == [], overlaps


# Pairs of labels in one chart whose boxes touch by more than a pixel, and labels that stick out of their chart.
_OVERLAPS = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect(), found = [];
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  boxes.forEach(([a, p], i) => {
    if (p.left < frame.left - 2 || p.right > frame.right + 2) found.push(a + ' sticks out');
    boxes.slice(i + 1).forEach(([b, q]) => {
      const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (x > 1 && y > 4) found.push(a + ' | ' + b);
    });
  });
  return found;
})"""
