"""The viewer in a real browser: a picture, no errors, and a slider that changes it."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.results import Result, open_result
from mouse_facelift.viewer.viewer import Viewer, ViewerConfig
from tests.browser import Page, open_page
from tests.synthetic import blob, ring_sample, write_dataset

ANY_PORT = ViewerConfig(port=0)
# viser 1.1 gives the square behind its splats two coordinates per corner, and three.js, which expects three, says so;
# splats are never culled by that bound, so that nothing follows from it.
OF_VISER = "computeBoundingSphere(): Computed radius is NaN"


def ball(colour: tuple[float, float, float]) -> Gaussians:
    gaussians = blob(0, 400)
    return replace(gaussians, colours=torch.tensor([colour]).repeat(400, 1))


def errors(page: Page) -> list[str]:
    return [line for line in page.errors if OF_VISER not in line]


def two_moments() -> Result:
    moments = [ball((0.9, 0.05, 0.05)), ball((0.05, 0.05, 0.9))]
    return Result("film", ["a", "b"], [0.0, 0.1], gaussians=lambda i: moments[i])


def coloured(page: Page, channel: int) -> int:
    """Pixels of one strong colour, in the part of the window where nothing lies over the scene."""
    image = page.screenshot()[150:, 300:560].astype(int)
    others = [k for k in range(3) if k != channel]
    return int((image[..., channel] - image[..., others].max(-1) > 80).sum())


def wait_for_colour(page: Page, channel: int) -> int:
    end = time.monotonic() + 90
    while not (seen := coloured(page, channel)) and time.monotonic() < end:
        time.sleep(0.5)
    return seen


def test_a_browser_shows_it_and_the_slider_changes_the_picture(tmp_path: Path) -> None:
    with Viewer([two_moments()], ANY_PORT) as viewer, open_page(viewer.url, tmp_path / "profile", (900, 500)) as page:
        assert wait_for_colour(page, 0) > 200 and coloured(page, 2) == 0
        page.evaluate("document.querySelector('[role=slider]').focus()")
        page.press("ArrowRight")
        assert wait_for_colour(page, 2) > 200 and coloured(page, 0) == 0
        assert viewer.slider.value == 1
        assert errors(page) == []


def test_several_stand_side_by_side_with_cameras(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", {"train": [ring_sample(ball((0.05, 0.8, 0.05)), size=64)], "val": []})
    write_ply(tmp_path / "red.ply", ball((0.9, 0.05, 0.05)))
    results = [open_result(str(tmp_path / "red.ply")), open_result(str(folder))]
    with Viewer(results, ANY_PORT) as viewer:
        names = [name for name in viewer.server.scene._handle_from_node_name if "camera" in name or "gauss" in name]
        assert sum("/2/cameras/" in name for name in names) == 4 and "/1/gaussians" in names
        with open_page(viewer.url, tmp_path / "profile", (900, 500)) as page:
            assert wait_for_colour(page, 0) > 50 and wait_for_colour(page, 1) > 10
            assert errors(page) == []


def test_moments_and_words_follow_the_slider() -> None:
    short = Result("one", ["only"], [0.0], gaussians=lambda _: ball((0.1, 0.9, 0.1)))
    with Viewer([two_moments(), short], ANY_PORT) as viewer:
        buffer = viewer._nodes["/1/gaussians"].rgbs.copy()
        viewer.slider.value = 1
        end = time.monotonic() + 20
        while "b, 0.100 s" not in viewer._words.content and time.monotonic() < end:
            time.sleep(0.05)
        assert viewer._words.content == "**1** b, 0.100 s\n\n**2** only"
        assert np.abs(viewer._nodes["/1/gaussians"].rgbs.astype(int) - buffer).max() > 100


def test_it_listens_at_this_machine_alone_unless_told_otherwise() -> None:
    with Viewer([two_moments()], ANY_PORT) as viewer:
        assert viewer.url.startswith("http://127.0.0.1:")
        port = int(viewer.url.rsplit(":", 1)[1])
        with socket.socket() as probe:
            # The port is free at every other address of this machine.
            probe.bind(("127.0.0.2", port))
        with Viewer([two_moments()], ViewerConfig(port=port)) as other:
            assert other.url != viewer.url


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to look at"):
        Viewer([], ANY_PORT)
    with pytest.raises(InputError, match="cannot listen at 203.0.113.7"):
        Viewer([two_moments()], ViewerConfig(host="203.0.113.7"))
    with pytest.raises(InputError, match="port 70000"):
        ViewerConfig(port=70000)
