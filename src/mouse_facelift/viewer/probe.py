"""Questions to a browser: whether it shows a picture yet, and how long Gaussians would take it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import cv2
import numpy as np
import viser
from jaxtyping import UInt8

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.viewer.splats import splats

# A capture of this width decides whether a picture is shown: if, where the picture is not white by so many levels, it
# is nearer to it than to white by this share. Half of a small animal is edge, which both sample differently.
_SMALL_PX = 160
_LEVELS = 16
_NEARER = 0.75
_BETWEEN_S = 0.02
# Software takes a quarter of a second longer for a capture of this many pixels with this many Gaussians than without,
# a graphics card about as long.
_PROBE_PX = 448
_PROBE_GAUSSIANS = 3000
_CAPTURES = 3


def await_picture(client: viser.ClientHandle, picture: UInt8[np.ndarray, "h w 3"], seconds: float) -> None:
    """Until the browser, which unpacks it in its own time, shows its background picture; ``seconds`` at most."""
    height, width = picture.shape[:2]
    size = (_SMALL_PX, max(1, round(_SMALL_PX * height / width)))
    wanted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(int)
    drawn = (wanted < 255 - _LEVELS).any(axis=-1)
    end = time.monotonic() + seconds
    while drawn.any() and (left := end - time.monotonic()) > 0:
        shown = _capture(client, size, left)
        if shown is None or np.abs(shown - wanted)[drawn].mean() < _NEARER * (255 - wanted)[drawn].mean():
            return
        time.sleep(_BETWEEN_S)


def await_frames(client: viser.ClientHandle, seconds: float) -> None:
    """Until the browser has drawn what it was sent: twice, because it sorts Gaussians beside drawing the first time."""
    for _ in range(2):
        _capture(client, (_SMALL_PX, _SMALL_PX), seconds)


def seconds_per_frame(client: viser.ClientHandle, scene: Mapping[str, Gaussians], timeout: float) -> float:
    """How long the browser would draw at a scene, judged by a few of its Gaussians.

    Returns:
        0 for a scene of a few, and for a browser that does not answer at all within ``timeout`` seconds: a hidden tab.
    """
    total = sum(map(len, scene.values()))
    if total <= _PROBE_GAUSSIANS:
        return 0.0
    without = _capture_seconds(client, timeout)
    few = splats(Gaussians.concatenate([*scene.values()]).map(lambda values: values[:: -(-total // _PROBE_GAUSSIANS)]))
    node = client.scene.add_gaussian_splats("/probe", few.centers, few.covariances, few.rgbs, few.opacities)
    within = _capture_seconds(client, timeout)
    node.remove()
    if without is None:
        return 0.0
    return math.inf if within is None else max(0.0, within - without) * total / len(few.centers)


def _capture_seconds(client: viser.ClientHandle, timeout: float) -> float | None:
    taken = []
    for _ in range(1 + _CAPTURES):
        began = time.monotonic()
        if _capture(client, (_PROBE_PX, _PROBE_PX), timeout) is None:
            return None
        taken.append(time.monotonic() - began)
    # The first also waits for what was sent before it; of the others the least is the browser's own time.
    return min(taken[1:])


def _capture(client: viser.ClientHandle, size: tuple[int, int], timeout: float) -> UInt8[np.ndarray, "h w 3"] | None:
    """What the browser shows, in another width and height; None from a hidden tab and from a closed one."""
    try:
        return client.get_render(size[1], size[0], timeout=timeout)
    except (TimeoutError, RuntimeError):
        return None
