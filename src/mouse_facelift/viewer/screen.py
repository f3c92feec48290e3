"""What one browser is given: pictures drawn on this machine, or Gaussians to draw itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal

import numpy as np
import viser
from jaxtyping import UInt8

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.viewer.painter import Painter, Sight
from mouse_facelift.viewer.probe import await_frames, await_picture, seconds_per_frame
from mouse_facelift.viewer.splats import splats

Drawing = Literal["auto", "browser", "server"]
Scene = Mapping[str, Gaussians]
"""Gaussians in the viewer's world, by the names of their nodes."""

# Pixels of a picture's longest side: of one that is looked at, and of one that the next will soon replace.
_STILL_PX = 1920
_MOVING_PX = 640
# After this long without a change the picture is looked at.
_STILL_S = 0.25
_JPEG_QUALITY = 92
# How long a browser may take over one frame before this machine draws for it.
_SLOW_S = 0.5
# How long it may take to answer.
_PATIENCE_S = 10.0


class Screen:
    """A connected browser, served by a thread of its own until :meth:`stop`.

    The first picture is drawn here, so that it is there at once. After that, "browser" is sent the Gaussians and draws
    them; "server" is sent a picture for every move of the camera, smaller while it moves; "auto" is either, by how
    fast the browser draws: with a graphics card in no time, without one in seconds per frame.
    """

    def __init__(
        self, client: viser.ClientHandle, opening: Sight, painter: Painter, drawing: Drawing, scene: Scene
    ) -> None:
        self._client, self._opening, self._painter = client, opening, painter
        self._drawing: Drawing = drawing
        self._scene = scene
        self._begun = False
        self._sent: Scene | None = None
        self._painted = False
        self._nodes: dict[str, viser.GaussianSplatHandle] = {}
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._changed.set()
        client.camera.on_update(lambda _: self._changed.set())
        threading.Thread(target=self._serve, name=f"screen {client.client_id}", daemon=True).start()

    @property
    def drawing(self) -> Drawing:
        """Who draws; auto until that is known."""
        return self._drawing

    def show(self, scene: Scene) -> None:
        """Show these as soon as the browser can."""
        self._scene = scene
        self._changed.set()

    def stop(self) -> None:
        """The browser has gone."""
        self._stopped.set()
        self._changed.set()

    def _serve(self) -> None:
        while self._changed.wait() and not self._stopped.is_set():
            self._changed.clear()
            scene = self._scene
            if not scene:
                continue
            if not self._begun:
                self._begin(scene)
                self._begun = True
                self._changed.set()
            elif self._drawing == "server":
                self._paint_until_still(scene)
            else:
                if scene is not self._sent:
                    self._send(scene)
                self._unpaint()

    def _begin(self, scene: Scene) -> None:
        """The first picture, and who draws the next."""
        if self._painter.ready():
            await_picture(self._client, self._paint(scene, self._opening, _STILL_PX), _PATIENCE_S)
        slow = self._drawing == "auto" and seconds_per_frame(self._client, scene, _PATIENCE_S) > _SLOW_S
        if slow:
            self._client.gui.add_markdown("*This browser would take too long to draw: the server draws.*")
        if self._drawing == "auto":
            self._drawing = "server" if slow else "browser"

    def _paint_until_still(self, scene: Scene) -> None:
        self._paint(scene, Sight.of(self._client.camera), _MOVING_PX)
        if not self._changed.wait(_STILL_S):
            self._paint(scene, Sight.of(self._client.camera), _STILL_PX)

    def _paint(self, scene: Scene, sight: Sight, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        self._painted = True
        picture = self._painter.draw(list(scene.values()), sight, longest)
        self._client.scene.set_background_image(picture, "jpeg", jpeg_quality=_JPEG_QUALITY)
        self._client.flush()
        return picture

    def _unpaint(self) -> None:
        """Take the first picture away when the browser has drawn its own: behind that, edges would look too solid."""
        if self._painted:
            await_frames(self._client, _PATIENCE_S)
            self._client.scene.set_background_image(None)
            self._painted = False

    def _send(self, scene: Scene) -> None:
        with self._client.atomic():
            for name, gaussians in scene.items():
                drawn = splats(gaussians)
                arrays = (drawn.centers, drawn.covariances, drawn.rgbs, drawn.opacities)
                if name in self._nodes:
                    self._nodes[name].set_gaussians(*arrays)
                else:
                    self._nodes[name] = self._client.scene.add_gaussian_splats(name, *arrays)
        self._sent = scene
