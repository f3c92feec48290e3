from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.evaluation.charts import Chart, Curve
from mouse_facelift.evaluation.report import (
    Picture,
    Report,
    Section,
    Table,
    Verdict,
    Video,
    report_html,
    verdict_lines,
    write_report,
)

VOID = {"meta", "img", "link"}


class Outline(HTMLParser):
    """Checks that tags close in order, and collects every address the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def page(folder: Path, verdicts: list[Verdict] | None = None) -> Report:
    video = folder / "sample 0" / "turntable.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    video.write_bytes(b"video")
    picture = np.zeros((2, 3, 3), dtype=np.uint8)
    picture[..., 0] = 200
    items = [
        Picture(picture, "a <caption> & 'quotes'"),
        Video(video, "turn"),
        Chart("curve", "x", "y", [Curve("a", [0, 1], [0, 1])]),
        Table(["stage", "seconds"], [["train", "150"]]),
    ]
    return Report(
        "Mouse <1>",
        "what was done",
        verdicts or [],
        [Section("Pictures", items)],
        {"config.yaml": "a: <b>\n"},
        {"ray": "2"},
    )


@pytest.mark.parametrize(
    ("value", "blank", "nearest", "status"),
    [
        (20.0, 5.0, 15.0, "good"),
        (12.0, 5.0, 15.0, "nearest"),
        (4.0, 5.0, 15.0, "blank"),
        (5.0, 5.0, 1.0, "blank"),
        (math.nan, 5.0, 15.0, "undefined"),
        (1.0, math.nan, math.nan, "good"),
    ],
)
def test_verdict(value: float, blank: float, nearest: float, status: str) -> None:
    assert Verdict("PSNR", value, blank, nearest).status == status


def test_baselines_that_there_are_stand_beside_a_score() -> None:
    """One image to many views knows no blank picture but a mean one; a 3-D model the other way round."""
    invented = Verdict("PSNR", 12.0, math.nan, 9.0, mean=13.0)
    assert invented.status == "mean" and Verdict("PSNR", 12.0, math.nan, 9.0, mean=11.0).status == "good"
    head, line = verdict_lines([invented])
    assert head.split("  ")[-1] == "verdict" and "mean training image" in head and "blank" not in head
    assert "13.00" in line and "–" not in line
    head, _ = verdict_lines([Verdict("PSNR", 12.0, 1.0, 9.0)])
    assert "blank picture" in head and "nearest input view" in head and "mean" not in head


def test_page_is_well_formed_and_self_contained(tmp_path: Path) -> None:
    found = outline(report_html(page(tmp_path, [Verdict("PSNR", 20.0, 5.0, 15.0, "dB")]), tmp_path))
    assert "script" not in found.tags and "link" not in found.tags
    kinds = sorted(address.split(":")[0] if ":" in address else "file" for address in found.addresses)
    assert kinds == ["data", "file"]
    relative = next(address for address in found.addresses if not address.startswith("data:"))
    assert relative == "sample%200/turntable.mp4"


def test_pictures_travel_inside_the_page(tmp_path: Path) -> None:
    html = write_report(tmp_path / "report.html", page(tmp_path)).read_text(encoding="utf-8")
    match = re.search(r"data:image/png;base64,([^']+)'", html)
    assert match is not None
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(match[1]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape == (2, 3, 3) and (decoded[..., 2] == 200).all()


def test_text_is_escaped(tmp_path: Path) -> None:
    html = report_html(page(tmp_path), tmp_path)
    assert "<caption>" not in html and "&lt;caption&gt;" in html and "a: &lt;b&gt;" in html


def test_rows_below_the_baselines_are_flagged(tmp_path: Path) -> None:
    verdicts = [
        Verdict("good", 3, 1, 2),
        Verdict("low", 1.5, 1, 2),
        Verdict("lost", 0.5, 1, 2),
        Verdict("none", math.nan, 1, 2),
    ]
    html = report_html(page(tmp_path, verdicts), tmp_path)
    flags = re.findall(r"<tr class='(\w+)'><td>(\w+)</td>", html)
    assert flags == [("good", "good"), ("nearest", "low"), ("blank", "lost"), ("undefined", "none")]
    assert "nan" not in html.split("<style>")[0] + html.split("</style>")[1]


def test_videos_must_lie_beside_the_page(tmp_path: Path) -> None:
    report = page(tmp_path)
    with pytest.raises(ValueError, match="beside it"):
        report_html(report, tmp_path / "elsewhere")
    (tmp_path / "sample 0" / "turntable.mp4").unlink()
    with pytest.raises(ValueError, match="beside it"):
        report_html(report, tmp_path)
