"""Results in a browser tab: one scene for all, a slider over time, play and pause."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
import viser
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.results import Result
from mouse_facelift.viewer.painter import Painter, Sight
from mouse_facelift.viewer.screen import Drawing, Scene, Screen
from mouse_facelift.viewer.splats import SCENE_RADIUS, extent, frustum

# Distance between results that stand side by side, in radii of the largest.
_APART = 2.4
# From how far the first picture is taken, in the same.
_AWAY = 3.2
_PLAYING_FPS = 10.0


@dataclass(frozen=True)
class ViewerConfig:
    """Where the page is served: this machine alone unless told otherwise; port 0 is any free one. And who draws."""

    host: str = "127.0.0.1"
    port: int = 8080
    draw: Drawing = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"view: port {self.port}: give a port from 0 to 65535")


class Viewer:
    """A running server that shows results; a context manager, or ended with :meth:`stop`.

    Every result's first moment is read before the server starts: what cannot be shown is refused at once.

    Raises:
        InputError: no results, one that cannot be read, or an address that cannot be listened at.
    """

    def __init__(self, results: Sequence[Result], config: ViewerConfig | None = None) -> None:
        config = config or ViewerConfig()
        if not results:
            raise InputError("view: nothing to look at; give a .ply, a sequence, a dataset or a folder of results")
        self._results = list(results)
        self._placing = _Placing.of(self._results)
        self._moments = max(map(len, self._results))
        self._showing = threading.Lock()
        self._scene: Scene = {}
        self._screens: dict[int, Screen] = {}
        self._frusta: dict[str, list[viser.CameraFrustumHandle]] = {}
        _require_address(config.host)
        self.server = viser.ViserServer(config.host, config.port, "mouse-facelift", verbose=False)
        self.url = f"http://{config.host}:{self.server.get_port()}"
        self._stopped = threading.Event()
        self._set_scene()
        self._add_controls()
        self.show(0)
        self._painter = Painter()
        self._draw: Drawing = config.draw
        self.server.on_client_connect(self._connect)
        self.server.on_client_disconnect(self._disconnect)

    def show(self, moment: int) -> None:
        """Show a moment of every result; of one with fewer moments, its last."""
        with self._showing, self.server.atomic():
            words, scene = [], {}
            for number, result in enumerate(self._results):
                position = min(moment, len(result) - 1)
                if result.gaussians is not None:
                    scene[f"/{number + 1}/gaussians"] = self._placing.place(number, result.gaussians(position))
                self._show_cameras(number, result, position)
                # A time just below 0 rounds to -0.
                when = f", {round(result.times[position], 3) + 0.0:.3f} s" if any(result.times) else ""
                words.append(f"**{number + 1}** {result.labels[position]}{when}")
            self._words.content = "\n\n".join(words)
            self._scene = scene
            for screen in self._screens.values():
                screen.show(scene)

    def drawing(self) -> list[Drawing]:
        """Who draws for each browser that is connected; auto until that is known."""
        with self._showing:
            return [screen.drawing for screen in self._screens.values()]

    def stop(self) -> None:
        """End the server."""
        self._stopped.set()
        for screen in list(self._screens.values()):
            screen.stop()
        self.server.stop()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _set_scene(self) -> None:
        self.server.scene.set_up_direction("+z")
        look_at = self._placing.middle
        reach = SCENE_RADIUS * (_AWAY + _APART / 2 * (len(self._results) - 1))
        self.server.initial_camera.position = tuple(look_at + reach * np.array([0.0, -0.95, 0.31]))
        self.server.initial_camera.look_at = tuple(look_at)
        self.server.initial_camera.fov = float(np.radians(50))

    def _add_controls(self) -> None:
        gui = self.server.gui
        # viser's button would send recordings through a server that nobody here knows.
        gui.configure_theme(show_share_button=False, show_logo=False)
        self._words = gui.add_markdown("")
        self.slider = gui.add_slider(
            "moment", min=0, max=max(self._moments - 1, 1), step=1, initial_value=0, visible=self._moments > 1
        )
        self._playing = gui.add_checkbox("play", False, visible=self._moments > 1)
        self._rate = gui.add_slider(
            "per second", min=1.0, max=60.0, step=1.0, initial_value=_PLAYING_FPS, visible=self._moments > 1
        )
        self.slider.on_update(lambda _: self.show(int(self.slider.value)))
        if self._moments > 1:
            threading.Thread(target=self._play, name="play", daemon=True).start()

    def _play(self) -> None:
        """Move the slider on while the box is ticked, as often as asked for or as fast as it can."""
        while not self._stopped.wait(0.05):
            while self._playing.value and not self._stopped.is_set():
                begun = time.monotonic()
                self.slider.value = (int(self.slider.value) + 1) % self._moments
                self._stopped.wait(max(0.0, begun + 1 / float(self._rate.value) - time.monotonic()))

    def _connect(self, client: viser.ClientHandle) -> None:
        with self._showing:
            opening = Sight.opening(self.server, client.camera)
            self._screens[client.client_id] = Screen(client, opening, self._painter, self._draw, self._scene)

    def _disconnect(self, client: viser.ClientHandle) -> None:
        with self._showing:
            screen = self._screens.pop(client.client_id, None)
        # A tab that is closed at once can be gone before its connection was dealt with, in another thread.
        if screen is not None:
            screen.stop()

    def _show_cameras(self, number: int, result: Result, position: int) -> None:
        if result.sample is None:
            return
        sample, name = result.sample(position), f"/{number + 1}/cameras"
        for handle in self._frusta.pop(name, []):
            handle.remove()
        self._frusta[name] = []
        for camera, image in zip(sample.cameras, sample.images, strict=True):
            shape = frustum(camera, image, self._placing.factor, self._placing.offset(number))
            handle = self.server.scene.add_camera_frustum(
                f"{name}/{camera.name}",
                shape.fov,
                shape.aspect,
                scale=0.25 * SCENE_RADIUS,
                thickness=0.01 * SCENE_RADIUS,
                image=shape.image,
                wxyz=shape.wxyz,
                position=shape.position,
            )
            self._frusta[name].append(handle)


@dataclass(frozen=True, eq=False)
class _Placing:
    """One scale for all results, and where each stands: `factor * X + offset`."""

    factor: float
    middles: Sequence[Float[np.ndarray, "3"]]

    @staticmethod
    def of(results: Sequence[Result]) -> _Placing:
        extents = [_extent(result) for result in results]
        return _Placing(SCENE_RADIUS / max(radius for _, radius in extents), [middle for middle, _ in extents])

    def offset(self, number: int) -> Float[np.ndarray, "3"]:
        """What moves the middle of a result's first moment into its place in the row along x."""
        return np.array([_APART * SCENE_RADIUS * number, 0.0, 0.0]) - self.factor * self.middles[number]

    def place(self, number: int, gaussians: Gaussians) -> Gaussians:
        """A result's Gaussians in the viewer's world, in single precision on the CPU."""
        offset = torch.from_numpy(self.offset(number))
        single = gaussians.detach().to("cpu", torch.float32)
        return single.transformed(self.factor, -offset / self.factor)

    @property
    def middle(self) -> Float[np.ndarray, "3"]:
        """The middle of the row."""
        return np.array([_APART * SCENE_RADIUS * (len(self.middles) - 1) / 2, 0.0, 0.0])


def _extent(result: Result) -> tuple[Float[np.ndarray, "3"], float]:
    """Middle and radius of a result's first moment: of its Gaussians, or of where its cameras stand."""
    if result.gaussians is not None:
        return extent(result.gaussians(0))
    if result.sample is None:
        raise InputError(f"{result.location}: has neither Gaussians nor cameras to show")
    centres = np.stack([camera.centre for camera in result.sample(0).cameras])
    return np.zeros(3), float(np.linalg.norm(centres, axis=1).max())


def _require_address(host: str) -> None:
    """Raises InputError for an address that is not this machine's: viser would try its ports for ever."""
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise InputError(f"view: cannot listen at {host} ({error}); give --host an address of this machine") from error
