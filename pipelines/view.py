"""`mouse-facelift view PATH ...`: results in a browser tab, in 3-D, side by side and over time.

A `.ply` or `.splat`, a sequence file, a folder of reconstructed samples, or a dataset (its cameras and pictures).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.results import Units, open_result
from mouse_facelift.viewer.screen import Drawing
from mouse_facelift.viewer.viewer import Viewer, ViewerConfig


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Settings of `view`."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """What to look at: .ply, .splat, *.sequence.parquet, a folder of reconstructed samples, a dataset; paths or URIs.
    Several stand side by side."""
    units: Units = "normalised"
    """normalised keeps the animal in place; mm shows it walk through the recording's world, where a similarity lies
    beside the Gaussians."""
    host: str = ViewerConfig.host
    """Address to listen at. The default reaches this machine alone; 0.0.0.0 lets the network in, without a password."""
    port: int = ViewerConfig.port
    """Port to listen at; the next free one is taken where it is in use. 0: any free port."""
    draw: Drawing = ViewerConfig.draw
    """browser: it draws, with its graphics card, after a first picture drawn here. server: every picture is drawn here
    and sent. auto: the server for a browser without a graphics card, as in a remote desktop."""


def view(config: ViewConfig) -> Viewer:
    """Open the results and serve them; the server runs until it is stopped.

    Raises:
        InputError: a path that cannot be shown, or an address that cannot be listened at.
    """
    server = ViewerConfig(config.host, config.port, config.draw)
    return Viewer([open_result(path, config.units) for path in config.paths], server)


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: serves until Ctrl-C, which is how it is meant to end."""
    config = parse(
        ViewConfig,
        argv,
        prog="mouse-facelift view",
        description="Results in a browser tab: Gaussians, sequences, cameras and pictures, side by side.",
    )
    # viser warns of every message to a tab that has been closed, which is how tabs end.
    warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)
    with view(config) as viewer:
        print(f"view: open {viewer.url} in a browser; Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    run_verb(main)
