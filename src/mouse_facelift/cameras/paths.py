"""Camera paths: where a camera stands at every moment of a video.

A path gives one camera per picture. An orbit circles a point; keyframes are cameras at given times, between which the
position and the lens go straight and the orientation turns evenly (slerp). One keyframe is a camera that stands still.
Keyframes come from a file in the layout of FaceLift's ``opencv_cameras.json`` (`w`, `h`, `fx`, `fy`, `cx`, `cy`, `w2c`
of every frame), with an optional `time` in each frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras.camera import Camera, intrinsics_from_fov
from mouse_facelift.cameras.exchange import quaternion_from_rotation, rotation_from_quaternion
from mouse_facelift.cameras.facelift import cameras_from_content, read_content
from mouse_facelift.cameras.poses import (
    FACELIFT_FRONT_AZIMUTH_DEGREES,
    FACELIFT_HFOV_DEGREES,
    FACELIFT_RADIUS,
    look_at,
)
from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class Orbit:
    """A camera that circles a point while time passes.

    Raises:
        InputError: numbers that place no camera.
    """

    turns: float = 1.0
    """Full turns from the first picture to the end, anticlockwise seen from above; 0 stands still, less goes back."""
    start_degrees: float = FACELIFT_FRONT_AZIMUTH_DEGREES
    """Azimuth of the first picture's camera."""
    elevation_degrees: float = 15.0
    """Height above the horizon of the point, at the first picture."""
    end_elevation_degrees: float | None = None
    """The same at the end, approached evenly; as at the first picture when None."""
    radius: float = FACELIFT_RADIUS
    """Distance from the point, world units."""
    hfov_degrees: float | None = None
    """Horizontal field of view; that of the recording's views where they are known, otherwise FaceLift's 50."""

    def __post_init__(self) -> None:
        heights = (self.elevation_degrees, self._end_elevation)
        if not (self.radius > 0 and 0 < self.lens() < 180 and math.isfinite(self.turns + self.start_degrees)):
            raise InputError(
                f"orbit: radius {self.radius} and field of view {self.hfov_degrees} degrees describe no camera; "
                "give radius > 0 and 0 < field of view < 180"
            )
        if not all(abs(height) <= 90 for height in heights):
            raise InputError(f"orbit: elevations {heights} degrees: give values from -90 to 90")

    def lens(self, views_degrees: float = FACELIFT_HFOV_DEGREES) -> float:
        """The field of view, that of the views being ``views_degrees``."""
        return views_degrees if self.hfov_degrees is None else self.hfov_degrees

    @property
    def _end_elevation(self) -> float:
        return self.elevation_degrees if self.end_elevation_degrees is None else self.end_elevation_degrees

    def cameras(
        self,
        count: int,
        width: int,
        height: int,
        centre: Float[np.ndarray, "3"] | None = None,
        views_degrees: float = FACELIFT_HFOV_DEGREES,
    ) -> list[Camera]:
        """``count`` cameras about ``centre`` (the origin when None); the end of the path is left out, so that whole
        turns repeat seamlessly. ``views_degrees``: the field of view where the orbit does not say it."""
        centre = np.zeros(3) if centre is None else np.asarray(centre, np.float64)
        K = intrinsics_from_fov(self.lens(views_degrees), width, height)
        cameras = []
        for i in range(count):
            azimuth = math.radians(self.start_degrees + 360 * self.turns * i / count)
            rise = (self._end_elevation - self.elevation_degrees) * i / count
            elevation = math.radians(self.elevation_degrees + rise)
            across = math.cos(elevation)
            direction = np.array([across * math.cos(azimuth), across * math.sin(azimuth), math.sin(elevation)])
            cameras.append(look_at(f"orbit_{i:05d}", centre + self.radius * direction, centre, K, width, height))
        return cameras


@dataclass(frozen=True, eq=False)
class Keyframes:
    """Pinhole cameras at increasing times; before the first and after the last the camera stands still.

    Raises:
        InputError: no camera, times that do not increase, or cameras with skew or distortion.
    """

    keys: Sequence[Camera]
    times: Float[np.ndarray, " k"]

    def __post_init__(self) -> None:
        times = np.asarray(self.times, np.float64)
        object.__setattr__(self, "times", times)
        if not len(self.keys) or times.shape != (len(self.keys),) or not np.isfinite(times).all():
            raise InputError(f"keyframes: {len(self.keys)} cameras at times of shape {times.shape}; give one each")
        if (np.diff(times) <= 0).any():
            raise InputError(f"keyframes: times must increase, not {times.tolist()}")
        if any(key.distortion is not None or key.K[0, 1] != 0 for key in self.keys):
            raise InputError("keyframes: cameras of a path have no skew and no distortion")

    def at(self, time: float) -> Camera:
        """The camera at one time, of the size of the keyframe before it."""
        after = int(np.searchsorted(self.times, time, side="right"))
        if after == 0 or after == len(self.keys):
            return self.keys[min(after, len(self.keys) - 1)]
        first, second = self.keys[after - 1], self.keys[after]
        share = float((time - self.times[after - 1]) / (self.times[after] - self.times[after - 1]))
        turned = slerp(quaternion_from_rotation(first.R), quaternion_from_rotation(second.R), share)
        R = rotation_from_quaternion(turned)
        second_lens = second.resized(first.width, first.height).K
        position = first.centre * (1 - share) + second.centre * share
        return replace(first, K=first.K * (1 - share) + second_lens * share, R=R, t=-R @ position)

    def cameras(self, count: int, width: int, height: int) -> list[Camera]:
        """``count`` cameras spread evenly from the first key to the last, both included, scaled to a picture's size."""
        times = np.linspace(self.times[0], self.times[-1], count)
        return [
            replace(self.at(float(time)).resized(width, height), name=f"path_{i:05d}") for i, time in enumerate(times)
        ]


def read_keyframes(path: str | Path) -> Keyframes:
    """Keyframes from a file; frames without a `time` follow one another a second apart.

    Raises:
        InputError: Not such a file, a frame that is no camera, or times that do not increase.
    """
    content = read_content(path)
    cameras, _ = cameras_from_content(path, content)
    try:
        times = np.array([float(frame.get("time", i)) for i, frame in enumerate(content["frames"])])
        return Keyframes(cameras, times)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a frame's time is no number ({error}); give seconds") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def slerp(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"], share: float) -> Float[np.ndarray, "4"]:
    """From one unit quaternion to another at even speed, the shorter way round (Shoemake 1985)."""
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-8:
        return a
    return (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
