"""How long a person waits for the viewer's first picture, by number of Gaussians.

    python -m tests.benchmarks.viewer [--gaussians 1000 10000 100000] [--rounds 3]

A ball of one colour is served and opened in headless Chromium, which draws on the CPU; a screen with a graphics card is
faster. "opened" is the time to read the file and to serve it; "picture" is counted from the page's navigation until a
screenshot shows the ball, so that one screenshot's own time is in it; "bytes" is what the file holds.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.results import open_result
from mouse_facelift.viewer.viewer import Viewer, ViewerConfig
from tests.browser import Page, open_page
from tests.synthetic import blob

_LIMIT_S = 120.0
# Pixels of the ball from which there is a picture.
_SEEN = 200


@dataclass(frozen=True)
class Config:
    """What is opened."""

    gaussians: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Numbers of them; of the fewest the time is that of the page and of the browser."""
    rounds: int = 3
    """Pages opened for each; all are printed."""


def red_ball(count: int) -> Gaussians:
    """As large as an animal, of Gaussians as small as a large model's."""
    gaussians = blob(0, count)
    return replace(
        gaussians, scales=torch.full((count, 3), 0.01), colours=torch.tensor([[0.9, 0.05, 0.05]]).repeat(count, 1)
    )


def first_picture(page: Page) -> float:
    """Seconds from navigation until a screenshot shows something red.

    Raises:
        TimeoutError: nothing came.
    """
    while True:
        image = page.screenshot()[150:, 300:560].astype(int)
        seconds = page.evaluate("performance.now()") / 1e3
        if (image[..., 0] - image[..., 1:].max(-1) > 80).sum() > _SEEN:
            return seconds
        if seconds > _LIMIT_S:
            raise TimeoutError(f"no picture after {seconds:.0f} s; the console says: {page.errors}")


def main(config: Config) -> None:
    """Print the table."""
    print(f"{'Gaussians':>10}{'bytes':>12}{'opened s':>10}  picture s")
    for count in config.gaussians:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ball.ply"
            write_ply(file, red_ball(count))
            seconds, began = [], time.perf_counter()
            with Viewer([open_result(str(file))], ViewerConfig(port=0)) as viewer:
                opened = time.perf_counter() - began
                for number in range(config.rounds):
                    with open_page(viewer.url, Path(folder) / f"profile{number}", (900, 500)) as page:
                        seconds.append(first_picture(page))
            words = " ".join(f"{s:.2f}" for s in seconds)
            print(f"{count:>10}{file.stat().st_size:>12}{opened:>10.2f}  {words}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
