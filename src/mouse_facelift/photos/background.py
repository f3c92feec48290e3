"""Taking a plain background away by its colour.

The picture's border is background. GrabCut (Rother, Kolmogorov and Blake, 2004) learns the mixture of colours there and
that of what lies inside, and cuts between the two where the picture has edges. Kept is the largest part that comes
out, with its holes filled and its edge made soft. Colour cannot tell apart what has no colours of its own: where the
result is no animal this says so, and a picture with alpha (or `rembg`) is the cure.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mouse_facelift.errors import InputError
from mouse_facelift.photos.matting import one_animal, soft_cutout

Method = Literal["auto", "alpha", "colour", "rembg"]

_CURE = "give a picture with alpha, crop it around the animal, or use --photo.background rembg"
_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class BackgroundConfig:
    """How the animal is told from what is behind it."""

    working_size: int = 320
    """Longer side of the picture that is cut (pixels): finer than any generator's view of a mouse, coarse enough for
    half a second on one core. The soft edge is made at full size."""
    border: float = 0.03
    """Width of the border that is background, as a share of the shorter side."""
    rounds: int = 5
    """Times that colours are learnt and the picture is cut."""
    least_contrast: float = 8.0
    """Least difference of the animal's median colour from that of its surroundings (CIELAB units; 2 can just be seen).
    """
    min_area: float = 0.002
    """Share of the picture that the animal covers at least."""


def cut_out(
    picture: UInt8[np.ndarray, "h w c"], name: str, method: Method = "auto", config: BackgroundConfig | None = None
) -> UInt8[np.ndarray, "h w 4"]:
    """The animal of a picture on nothing.

    Args:
        picture: RGB or RGBA, straight alpha.
        name: Whose picture it is, for messages.
        method: ``alpha`` uses the picture's own, ``colour`` removes a plain background, ``rembg`` asks the package of
            that name; ``auto`` uses alpha that hides something and otherwise colour.
        config: For ``colour``.

    Raises:
        InputError: There is no animal to be found in it, or no alpha or no ``rembg`` although asked for.
    """
    config = config or BackgroundConfig()
    hidden = picture.shape[2] == 4 and bool((picture[..., 3] < 128).any())
    if method == "alpha" and not hidden:
        raise InputError(f"{name}: has no transparent background; give a picture with alpha, or another background")
    if method == "rembg":
        return _checked(_with_rembg(picture[..., :3]), name, config)
    if hidden and method != "colour":
        return _checked(_own_alpha(picture), name, config)
    return remove_plain_background(picture[..., :3], name, config)


def remove_plain_background(
    picture: UInt8[np.ndarray, "h w 3"], name: str, config: BackgroundConfig
) -> UInt8[np.ndarray, "h w 4"]:
    """The largest thing inside the border that has other colours, with a soft edge.

    Raises:
        InputError: Nothing stands out.
    """
    height, width = picture.shape[:2]
    factor = min(1.0, config.working_size / max(height, width))
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = one_animal(_grab_cut(small, config))
    _check_animal(small, found, name, config)
    # Linear between the small pixels: their stairs would show in the soft edge.
    solid = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    band = max(1, round(1 / factor))
    hole = cv2.dilate(solid.astype(np.uint8), _NEIGHBOURS, iterations=2 * band)
    return soft_cutout(picture.astype(np.float32) / 255, _filled_in(picture, hole), solid, band)


def _grab_cut(picture: UInt8[np.ndarray, "h w 3"], config: BackgroundConfig) -> Bool[np.ndarray, "h w"]:
    """What GrabCut takes for foreground when the border alone is known."""
    height, width = picture.shape[:2]
    margin = max(2, round(config.border * min(height, width)))
    if min(height, width) < 3 * margin:
        return np.zeros((height, width), bool)
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[margin:-margin, margin:-margin] = cv2.GC_PR_FGD
    behind, before = np.zeros((1, 65)), np.zeros((1, 65))
    # Its colours start from k-means: a fixed start gives a picture the same cut-out every time.
    cv2.setRNGSeed(1)
    cv2.grabCut(picture, labels, (0, 0, 0, 0), behind, before, config.rounds, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _check_animal(
    picture: UInt8[np.ndarray, "h w 3"], found: Bool[np.ndarray, "h w"], name: str, config: BackgroundConfig
) -> None:
    """Refuse a mere speck, and a part of the background that differs from the rest by its noise."""
    _check_area(found, name, config)
    reach = max(2, round(0.04 * max(picture.shape[:2])))
    around = cv2.dilate(found.astype(np.uint8), _NEIGHBOURS, iterations=reach).astype(bool) & ~found
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    contrast = float(np.linalg.norm(np.median(lab[found], axis=0) - np.median(lab[around], axis=0)))
    if contrast < config.least_contrast:
        raise InputError(f"{name}: no animal stands out from the background (contrast {contrast:.1f}); {_CURE}")


def _filled_in(picture: UInt8[np.ndarray, "h w 3"], hole: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """The picture with a hole closed by the colours around it, in [0, 1]."""
    known = (hole == 0).astype(np.float32)[..., None]
    values = picture.astype(np.float32) / 255
    filled, weight = values * known, known[..., 0]
    # Averages of known pixels over growing windows: the first that knows something decides.
    result, open_ = values.copy(), hole.astype(bool)
    side = 9
    while open_.any() and side < 2 * max(picture.shape[:2]):
        share = cv2.blur(weight, (side, side), borderType=cv2.BORDER_REPLICATE)
        mean = cv2.blur(filled, (side, side), borderType=cv2.BORDER_REPLICATE) / np.maximum(share, 1e-6)[..., None]
        now = open_ & (share > 0.05)
        result[now] = mean[now]
        open_ &= ~now
        side = 2 * side + 1
    return result


def _own_alpha(picture: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
    """A picture with alpha, without the specks that lie apart from its largest part."""
    near = cv2.dilate(one_animal(picture[..., 3] > 127).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    kept = picture.copy()
    kept[~near] = 0
    return kept


def _with_rembg(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    try:
        rembg: Any = importlib.import_module("rembg")
    except ImportError as error:
        raise InputError(
            "rembg is not installed; pip install 'mouse-facelift[photos]', or leave out --photo.background rembg"
        ) from error
    return _own_alpha(np.asarray(rembg.remove(picture)))


def _checked(cutout: UInt8[np.ndarray, "h w 4"], name: str, config: BackgroundConfig) -> UInt8[np.ndarray, "h w 4"]:
    _check_area(cutout[..., 3] > 127, name, config)
    return cutout


def _check_area(solid: Bool[np.ndarray, "h w"], name: str, config: BackgroundConfig) -> None:
    share = float(solid.mean())
    if share < config.min_area:
        raise InputError(f"{name}: no animal found (what stands out covers {share:.2%} of the picture); {_CURE}")
