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


def scene_of(page: Page) -> np.ndarray:
    """The part of the window where nothing lies over the scene."""
    return page.screenshot()[150:, 300:560].astype(int)


def coloured(page: Page, channel: int) -> np.ndarray:
    """Where there is one strong colour."""
    image = scene_of(page)
    others = [k for k in range(3) if k != channel]
    return image[..., channel] - image[..., others].max(-1) > 80


def wait_for_colour(page: Page, channel: int) -> int:
    end = time.monotonic() + 90
    while not (seen := int(coloured(page, channel).sum())) and time.monotonic() < end:
        time.sleep(0.5)
    return seen


def settled(page: Page) -> np.ndarray:
    """The scene once it no longer changes."""
    end, before = time.monotonic() + 90, scene_of(page)
    while time.monotonic() < end:
        time.sleep(1.0)
        now = scene_of(page)
        if np.array_equal(before, now):
            return now
        before = now
    raise AssertionError("the page never comes to rest")


def test_the_slider_changes_the_picture_and_browser_and_server_draw_the_same(tmp_path: Path) -> None:
    """Silhouettes of both ways of drawing are compared as the page opens, and at another moment from elsewhere."""
    pictures = {}
    for drawing in ("browser", "server"):
        config = ViewerConfig(port=0, draw=drawing)
        with Viewer([two_moments()], config) as viewer, open_page(viewer.url, tmp_path / drawing, (900, 500)) as page:
            assert wait_for_colour(page, 0) > 200 and not coloured(page, 2).any()
            opened = settled(page)
            page.evaluate("document.querySelector('[role=slider]').focus()")
            page.press("ArrowRight")
            assert wait_for_colour(page, 2) > 200 and not coloured(page, 0).any()
            assert viewer.slider.value == 1
            # The key may have moved the camera, too.
            camera = next(iter(viewer.server.get_clients().values())).camera
            camera.position, camera.look_at = (15.0, -20.0, 15.0), (0.0, 0.0, 0.0)
            time.sleep(0.5)
            pictures[drawing] = [opened, settled(page)]
            assert errors(page) == []
    for ours, theirs in zip(pictures["server"], pictures["browser"], strict=True):
        ours, theirs = ours.min(-1) < 128, theirs.min(-1) < 128
        assert (ours & theirs).sum() > 0.95 * (ours | theirs).sum() > 1000


def test_a_browser_without_a_graphics_card_is_drawn_for(tmp_path: Path) -> None:
    many = replace(blob(0, 20_000), colours=torch.tensor([[0.9, 0.05, 0.05]]).repeat(20_000, 1))
    result = Result("one", ["only"], [0.0], gaussians=lambda _: many)
    with Viewer([result], ANY_PORT) as viewer, open_page(viewer.url, tmp_path / "profile", (900, 500)) as page:
        assert wait_for_colour(page, 0) > 200
        end = time.monotonic() + 90
        while viewer.drawing() == ["auto"] and time.monotonic() < end:
            time.sleep(0.2)
        assert viewer.drawing() == ["server"]
        assert wait_for_colour(page, 0) > 200
        assert errors(page) == []


def test_several_stand_side_by_side_with_cameras(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", {"train": [ring_sample(ball((0.05, 0.8, 0.05)), size=64)], "val": []})
    write_ply(tmp_path / "red.ply", ball((0.9, 0.05, 0.05)))
    results = [open_result(str(tmp_path / "red.ply")), open_result(str(folder))]
    with Viewer(results, ANY_PORT) as viewer:
        names = [name for name in viewer.server.scene._handle_from_node_name if "camera" in name]
        assert sum("/2/cameras/" in name for name in names) == 4
        with open_page(viewer.url, tmp_path / "profile", (900, 500)) as page:
            assert wait_for_colour(page, 0) > 50 and wait_for_colour(page, 1) > 10
            assert errors(page) == []


def test_moments_and_words_follow_the_slider() -> None:
    short = Result("one", ["only"], [0.0], gaussians=lambda _: ball((0.1, 0.9, 0.1)))
    with Viewer([two_moments(), short], ANY_PORT) as viewer:
        viewer.slider.value = 1
        end = time.monotonic() + 20
        while "b, 0.100 s" not in viewer._words.content and time.monotonic() < end:
            time.sleep(0.05)
        assert viewer._words.content == "**1** b, 0.100 s\n\n**2** only"


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
