"""A recording of the procedural mouse in MAMMAL's layout, with its truth: for the demo, the tests, and for trying out.

The folder holds what a real recording holds (``new_cam.pkl``, ``videos_undist``, ``simpleclick_undist``) and
``truth.npz``. It appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mouse_facelift.cameras.camera import Camera, stack_cameras
from mouse_facelift.cameras.mammal import write_mammal
from mouse_facelift.capture.mouse.arena import Arena, rig_cameras, shadow_map
from mouse_facelift.capture.mouse.coat import Coat, PosedCoat, grow_coat, pose_coat
from mouse_facelift.capture.mouse.gait import Motion
from mouse_facelift.capture.mouse.skeleton import (
    CHEST,
    HEAD,
    LEGS,
    PELVIS,
    SNOUT_X,
    SPINE_JOINTS,
    TAIL,
    TAIL_BASE,
    TAIL_BONE_LENGTH,
    Bones,
    leg_bones,
    leg_shape,
)
from mouse_facelift.capture.video import EncodeOptions, VideoWriter
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render

MASK_ALPHA = 0.5
# Nearly lossless: a model should see the mouse, not the codec.
ENCODING = EncodeOptions(crf=14)
# Written last into the finished folder: the configuration that made it.
MARKER = "recording.json"
# Places on the head in body axes of the standing animal (mm), and the spine joint nearest to the body's middle.
SNOUT = np.array([SNOUT_X, 0.0, 11.6])
EAR_MIDDLE = np.array([17.7, 8.5, 26.5])
SPINE_MIDDLE = 3


@dataclass(frozen=True)
class MouseRecordingConfig:
    """What to film.

    Attributes:
        frames: Number of frames.
        fps: Frames per second; 12.5 is every eighth frame of the real rig's 100.
        width, height: Size in pixels (even); the rig's own is 1152 x 1024, others show the same picture resampled.
        seed: Draws the path, the habits and the coat of the animal.
        gaussians: Number of hairs, about.
    """

    frames: int = 48
    fps: float = 12.5
    width: int = 1152
    height: int = 1024
    seed: int = 0
    gaussians: int = 9000

    def __post_init__(self) -> None:
        if min(self.frames, self.width, self.height, self.gaussians) < 1 or not self.fps > 0:
            raise InputError("a mouse recording needs at least one frame, a size, a coat and fps above 0")
        if self.width % 2 or self.height % 2:
            raise InputError(f"a mouse recording of {self.width}x{self.height}: H.264 needs even sides")


@dataclass(frozen=True)
class MouseFrame:
    """One moment as the six cameras see it: RGB images and masks (255 on the animal)."""

    images: UInt8[np.ndarray, "v h w 3"]
    masks: UInt8[np.ndarray, "v h w"]


class MouseFilm:
    """Films the mouse of a configuration; frames can be asked for in any order."""

    def __init__(self, config: MouseRecordingConfig, backend: Backend = "auto") -> None:
        self.config = config
        self.cameras: list[Camera] = rig_cameras(config.width, config.height)
        self._backend: Backend = backend
        self._motion = Motion(config.seed)
        self._coat: Coat = grow_coat(config.seed, config.gaussians)
        self._arenas = [Arena(camera) for camera in self.cameras]
        w2c, fxfycxcy = stack_cameras(self.cameras)
        self._w2c, self._fxfycxcy = torch.from_numpy(w2c).float(), torch.from_numpy(fxfycxcy).float()

    def posed(self, frame: int) -> PosedCoat:
        """The mouse in a frame, in world millimetres."""
        return pose_coat(self._motion.pose(frame / self.config.fps), self._coat)

    def shoot(self, posed: PosedCoat) -> MouseFrame:
        """The mouse through all cameras, in the arena."""
        c = self.config
        with torch.no_grad():
            rendering = render(
                posed.gaussians,
                self._w2c,
                self._fxfycxcy,
                c.width,
                c.height,
                background=torch.zeros(3),
                backend=self._backend,
            )
        alpha = rendering.alpha.numpy()
        shadow = shadow_map(posed.means, posed.area)
        layers = zip(self._arenas, rendering.rgb.numpy(), alpha, strict=True)
        views = [arena.compose(colour, cover, shadow) for arena, colour, cover in layers]
        images = np.round(np.clip(np.stack(views), 0, 1) * 255).astype(np.uint8)
        return MouseFrame(images, np.where(alpha > MASK_ALPHA, 255, 0).astype(np.uint8))


def mouse_gaussians(config: MouseRecordingConfig, frame: int) -> Gaussians:
    """The mouse itself in a frame: what a perfect reconstruction would be, world mm, lit as in the videos."""
    return _posed(config, frame).gaussians


def mouse_truth(
    config: MouseRecordingConfig, frame: int
) -> tuple[Float[np.ndarray, " 3"], dict[str, Float[np.ndarray, " 3"]]]:
    """(centre, keypoints) of the mouse in a frame, world mm. The centre is the centroid of its surface."""
    posed = _posed(config, frame)
    return posed.centre, keypoints(posed.bones)


def _posed(config: MouseRecordingConfig, frame: int) -> PosedCoat:
    return pose_coat(Motion(config.seed).pose(frame / config.fps), grow_coat(config.seed, config.gaussians))


def keypoints(bones: Bones) -> dict[str, Float[np.ndarray, " 3"]]:
    """Named places on (snout, ears, paws) and in (spine, tail) a posed mouse, world mm."""
    nape = SPINE_JOINTS[HEAD]
    half = len(TAIL) // 2
    places = {
        "ear_left": (HEAD, EAR_MIDDLE - nape),
        "ear_right": (HEAD, EAR_MIDDLE * [1, -1, 1] - nape),
        "snout": (HEAD, SNOUT - nape),
        "spine_front": (CHEST, np.zeros(3)),
        "spine_middle": (SPINE_MIDDLE, np.zeros(3)),
        "tail_base": (PELVIS, TAIL_BASE - SPINE_JOINTS[PELVIS]),
        "tail_middle": (TAIL[half], np.zeros(3)),
        "tail_end": (TAIL[-1], np.array([TAIL_BONE_LENGTH - 1.0, 0.0, 0.0])),
    }
    for leg in LEGS:
        places[f"paw_{leg}"] = (leg_bones(leg)[2], np.array([0.5 * leg_shape(leg)[0].foot, 0.0, 0.0]))
    return {name: bones.point(bone, local) for name, (bone, local) in places.items()}


def write_mouse_capture(
    config: MouseRecordingConfig, out_dir: str | Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Film a mouse into ``out_dir``; the same configuration gives the same files, byte for byte.

    Args:
        config: What to film.
        out_dir: The new capture's folder. One that this configuration already filled is left as it is.
        progress: Called with (frames done, frames in all).

    Returns:
        The capture's folder.

    Raises:
        InputError: The folder holds something else.
    """
    out = Path(out_dir)
    if _is_finished(config, out):
        return out
    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)  # left by a run that was killed
    partial.mkdir(parents=True)
    _film(config, partial, progress)
    (partial / MARKER).write_text(_marker_text(config))
    os.replace(partial, out)
    return out


def _is_finished(config: MouseRecordingConfig, out: Path) -> bool:
    """Whether the folder is this very recording; InputError when it is in the way."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    marker = out / MARKER
    if marker.is_file() and marker.read_text() == _marker_text(config):
        return True
    what = "a mouse recording of another configuration" if marker.is_file() else "something else"
    raise InputError(f"{out}: already holds {what}; choose another folder or remove it")


def _marker_text(config: MouseRecordingConfig) -> str:
    return json.dumps(asdict(config), indent=1) + "\n"


def _film(config: MouseRecordingConfig, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    """All files but the marker."""
    film = MouseFilm(config)
    write_mammal(folder / "new_cam.pkl", film.cameras)
    centres, places = [], []
    size = {"width": config.width, "height": config.height, "fps": config.fps}
    with ExitStack() as stack:

        def writers(kind: str) -> list[VideoWriter]:
            paths = [folder / kind / f"{camera.name}.mp4" for camera in film.cameras]
            return [stack.enter_context(VideoWriter(path, **size, options=ENCODING)) for path in paths]

        videos, masks = writers("videos_undist"), writers("simpleclick_undist")
        for frame in range(config.frames):
            posed = film.posed(frame)
            shot = film.shoot(posed)
            for view in range(len(film.cameras)):
                videos[view].write(shot.images[view])
                masks[view].write(np.repeat(shot.masks[view][..., None], 3, axis=2))
            centres.append(posed.centre)
            places.append(keypoints(posed.bones))
            if progress is not None:
                progress(frame + 1, config.frames)
    np.savez(
        folder / "truth.npz",
        centres=np.stack(centres),
        keypoints=np.stack([np.stack(list(p.values())) for p in places]),
        names=np.array(list(places[0])),
        times=np.arange(config.frames) / config.fps,
    )
