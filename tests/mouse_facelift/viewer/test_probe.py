from __future__ import annotations

import math
import time
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
import viser

from mouse_facelift.viewer.probe import await_picture, seconds_per_frame
from tests.synthetic import blob


class Browser:
    """Shows a picture from some capture on, and takes longer for captures with Gaussians; or never answers."""

    def __init__(self, picture: np.ndarray, shown_from: int = 0, slow: float = 0.0, answers: int = 1000) -> None:
        self.picture, self.shown_from, self.slow, self.answers = picture, shown_from, slow, answers
        self.captures, self.nodes = 0, 0
        self.scene = self

    def get_render(self, height: int, width: int, timeout: float) -> np.ndarray:
        self.captures += 1
        if self.captures > self.answers:
            raise TimeoutError
        time.sleep(self.slow * self.nodes)
        if self.captures <= self.shown_from:
            return np.full((height, width, 3), 255, np.uint8)
        return cv2.resize(self.picture, (width, height), interpolation=cv2.INTER_NEAREST)

    def add_gaussian_splats(self, *_: Any) -> Browser:
        self.nodes += 1
        return self

    def remove(self) -> None:
        self.nodes -= 1


def client(browser: Browser) -> viser.ClientHandle:
    return cast(viser.ClientHandle, browser)


def small_animal() -> np.ndarray:
    """An ellipse over one part in 400 of a wide page."""
    picture = np.full((357, 900, 3), 255, np.uint8)
    return cv2.ellipse(picture, (450, 180), (24, 11), 20, 0, 360, (40, 40, 45), -1)


def test_a_picture_is_awaited_until_it_is_shown_even_a_small_one() -> None:
    browser = Browser(small_animal(), shown_from=3)
    await_picture(client(browser), small_animal(), 20.0)
    assert browser.captures == 4


def test_nobody_waits_for_a_browser_that_does_not_answer_or_does_not_show_it() -> None:
    await_picture(client(Browser(small_animal(), answers=0)), small_animal(), 60.0)
    began = time.monotonic()
    await_picture(client(Browser(small_animal(), shown_from=10_000)), small_animal(), 0.2)
    assert time.monotonic() - began < 10
    assert seconds_per_frame(client(Browser(small_animal(), answers=0)), {"a": blob(0, 4000)}, 1.0) == 0.0


def test_a_frame_is_judged_by_a_few_of_its_gaussians() -> None:
    parts = {"a": blob(0, 20_000), "b": blob(1, 10_000)}
    browser = Browser(small_animal(), slow=0.05)
    assert seconds_per_frame(client(browser), parts, 1.0) == pytest.approx(0.5, rel=0.4)
    assert browser.nodes == 0
    assert seconds_per_frame(client(browser), {"a": blob(0, 50)}, 1.0) == 0.0
    assert seconds_per_frame(client(Browser(small_animal(), answers=5)), parts, 1.0) == math.inf
    assert torch.equal(parts["a"].means, blob(0, 20_000).means)
