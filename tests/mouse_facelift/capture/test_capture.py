"""Recognising a recording, and saying what is wrong with one."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

from mouse_facelift.cameras.camera import Camera, intrinsics_to_pixel_centre
from mouse_facelift.cameras.mammal import write_mammal
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.video import VideoWriter
from mouse_facelift.errors import InputError

WIDTH, HEIGHT, COUNT = 64, 48, 6


def _video(path: Path, count: int = COUNT, width: int = WIDTH, fps: float = 25) -> None:
    with VideoWriter(path, width, HEIGHT, fps) as writer:
        for number in range(count):
            writer.write(np.full((HEIGHT, width, 3), 40 * number, np.uint8))


def _cameras(count: int) -> list[Camera]:
    rig = [c.resized(WIDTH, HEIGHT) for c in turntable(count, radius=300)]
    return [replace(c, name=str(i)) for i, c in enumerate(rig)]


def _mammal(path: Path, views: int = 3, masks: bool = True) -> Path:
    _video(path / "videos_undist" / "0.mp4")
    for number in range(1, views):
        shutil.copy(path / "videos_undist" / "0.mp4", path / "videos_undist" / f"{number}.mp4")
    if masks:
        shutil.copytree(path / "videos_undist", path / "simpleclick_undist")
    write_mammal(path / "new_cam.pkl", _cameras(views))
    return path


def _matlab(camera: Camera) -> dict[str, Any]:
    K = intrinsics_to_pixel_centre(camera.K).T
    return {"K": K, "RDistort": [[0.1, 0.2]], "TDistort": [[0, 0]], "r": camera.R.T, "t": camera.t.reshape(1, 3)}


def _label3d(path: Path, names: list[str] | None, views: int) -> None:
    cells = np.empty((views, 1), dtype=object)
    for i, camera in enumerate(_cameras(views)):
        cells[i, 0] = _matlab(camera)
    content: dict[str, Any] = {"params": cells}
    if names is not None:
        content["camnames"] = np.array([[name] for name in names], dtype=object)
    scipy.io.savemat(path, content)


def test_mammal_with_masks(tmp_path: Path) -> None:
    capture = open_capture(_mammal(tmp_path / "walk", views=11))
    assert (capture.name, capture.layout, capture.frame_count, capture.fps) == ("walk", "mammal", COUNT, 25)
    assert [view.name for view in capture.views] == [str(i) for i in range(11)]
    assert capture.segments == ((0, COUNT),) and capture.mask_source == "video"
    for view, camera in zip(capture.views, _cameras(11), strict=True):
        assert view.video == tmp_path / "walk" / "videos_undist" / f"{view.name}.mp4"
        assert view.mask_video == tmp_path / "walk" / "simpleclick_undist" / f"{view.name}.mp4"
        np.testing.assert_allclose(view.camera.K, camera.K)
        assert (view.camera.width, view.camera.height) == (WIDTH, HEIGHT)


def test_mammal_without_masks_from_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mammal(tmp_path / "walk", masks=False)
    monkeypatch.chdir(tmp_path)
    capture = open_capture("walk")
    assert capture.mask_source == "estimated" and all(view.mask_video is None for view in capture.views)
    assert capture.path.is_absolute() and all(view.video.is_absolute() for view in capture.views)


def test_travels_to_workers(tmp_path: Path) -> None:
    capture = open_capture(_mammal(tmp_path / "walk"))
    again = pickle.loads(pickle.dumps(capture))
    assert (again.path, again.segments) == (capture.path, capture.segments)
    np.testing.assert_array_equal(again.views[2].camera.w2c, capture.views[2].camera.w2c)


@pytest.mark.parametrize("place", ["{}.mp4", "videos/{}/0.mp4", "videos/{}/long name.mp4", "videos/{}.mp4"])
@pytest.mark.parametrize("source", ["params", "label3d", "names"])
def test_dannce_in_its_forms(tmp_path: Path, source: str, place: str) -> None:
    names = ["Camera1", "Camera2"] if source == "label3d" else ["left", "right"]
    for name, camera in zip(names, _cameras(2), strict=True):
        _video(tmp_path / place.format(name))
        if source == "params":
            scipy.io.savemat(tmp_path / f"{name}_params.mat", _matlab(camera))
    if source != "params":
        _label3d(tmp_path / "label3d_dannce.mat", names if source == "names" else None, 2)
    capture = open_capture(tmp_path)
    assert (capture.layout, capture.mask_source) == ("dannce", "estimated")
    assert [view.name for view in capture.views] == names
    for view, camera in zip(capture.views, _cameras(2), strict=True):
        assert view.video == tmp_path / place.format(view.name)
        np.testing.assert_allclose(view.camera.w2c, camera.w2c)
        np.testing.assert_array_equal(view.camera.distortion, [0.1, 0.2, 0, 0, 0])


def _fails(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_capture(path)
    assert "\n" not in str(caught.value)


def test_a_missing_view_is_named(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    (path / "videos_undist" / "1.mp4").unlink()
    _fails(path, r"no video of view 1: new_cam.pkl calibrates 3 cameras.*videos_undist has 2 videos \(0, 2\)")


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    (path / "simpleclick_undist" / "2.mp4").unlink()
    _fails(path, r"no video of view 2: .*simpleclick_undist has 2 videos")


def test_a_calibration_of_another_rig_is_named(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    write_mammal(path / "new_cam.pkl", _cameras(2))
    _fails(path, "no camera for video 2: new_cam.pkl calibrates 2 cameras.*has 3 videos")
    write_mammal(path / "new_cam.pkl", _cameras(5))
    _fails(path, "no video of view 3, 4: new_cam.pkl calibrates 5 cameras.*has 3 videos")


def test_a_missing_dannce_video_is_named(tmp_path: Path) -> None:
    for name in ("left", "right"):
        scipy.io.savemat(tmp_path / f"{name}_params.mat", _matlab(_cameras(1)[0]))
    _video(tmp_path / "left.mp4")
    _fails(tmp_path, "no video of view right")


def test_unequal_frame_counts_are_listed(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    for kind in ("videos_undist", "simpleclick_undist"):
        _video(path / kind / "1.mp4", count=4)
    _fails(path, r"different numbers of frames \(0: 6, 1: 4, 2: 6\); cut")


def test_masks_short_of_frames_are_listed(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    _video(path / "simpleclick_undist" / "0.mp4", count=5)
    _fails(path, r"view 0 has different numbers of frames \(6 in its video and 5 masks\)")


def test_masks_of_another_size_are_named(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    _video(path / "simpleclick_undist" / "2.mp4", width=32)
    _fails(path, "simpleclick_undist/2.mp4: the masks of view 2 are 32x48 and its video is 64x48")


def test_other_rates_are_listed(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    _video(path / "videos_undist" / "2.mp4", fps=50)
    _fails(path, "different frame rates .0: 25, 1: 25, 2: 50.")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_unreadable_video_is_named(tmp_path: Path, share: float) -> None:
    path = _mammal(tmp_path / "walk")
    video = path / "videos_undist" / "2.mp4"
    video.write_bytes(video.read_bytes()[: int(share * video.stat().st_size)])
    _fails(path, "videos_undist/2.mp4: ")


def test_an_untrusted_calibration_does_not_run(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'witness'}",)

    path = _mammal(tmp_path / "walk")
    (path / "new_cam.pkl").write_bytes(pickle.dumps([Runs()]))
    _fails(path, rf"new_cam.pkl: refused: the pickle asks for {os.system.__module__}\.system")
    assert not (tmp_path / "witness").exists()


def test_several_videos_of_one_camera_name_the_cure(tmp_path: Path) -> None:
    _label3d(tmp_path / "label3d_dannce.mat", None, 2)
    for name in ("Camera1/0.mp4", "Camera1/3500.mp4", "Camera2/0.mp4"):
        _video(tmp_path / "videos" / name)
    _fails(tmp_path, r"Camera1: holds 2 videos \(0.mp4, 3500.mp4\); join them")


def test_one_view_is_not_enough(tmp_path: Path) -> None:
    _fails(_mammal(tmp_path / "walk", views=1), "has 1 view; reconstruction needs at least two")


def test_what_is_not_a_recording_says_what_would_be(tmp_path: Path) -> None:
    _fails(tmp_path, "holds no recording; expected new_cam.pkl with videos_undist/N.mp4")
    _fails(tmp_path / "none", "is not a folder")
    for name in ("label3d_dannce.mat", "old_dannce.mat"):
        _label3d(tmp_path / name, None, 2)
    _fails(tmp_path, r"several calibrations \(label3d_dannce.mat, old_dannce.mat\)")


def test_the_recordings_at_hand(shared_data: Path) -> None:
    rendered, real = open_capture(shared_data / "capture_a"), open_capture(shared_data / "mouse5")
    assert (rendered.layout, len(rendered.views), rendered.frame_count, rendered.fps) == ("mammal", 6, 160, 100)
    assert (real.layout, [v.name for v in real.views], real.frame_count) == ("dannce", list("ELRSU"), 2758)
    assert real.fps == pytest.approx(120, abs=0.01) and real.mask_source == "estimated"
    assert all(view.camera.distortion is not None for view in real.views)


def _mask_images(path: Path, names: Sequence[str], pattern: str = "{:06d}.png", numbers: Sequence[int] = range(COUNT)):
    for name in names:
        folder = path / "masks" / name
        folder.mkdir(parents=True)
        for number in numbers:
            cv2.imwrite(str(folder / pattern.format(number)), np.full((HEIGHT, WIDTH), 40 * number, np.uint8))


@pytest.mark.parametrize("pattern", ["{:06d}.png", "{}.png", "{:02d}.png"])
@pytest.mark.parametrize("layout", ["mammal", "dannce"])
def test_mask_images_in_either_layout(tmp_path: Path, layout: str, pattern: str) -> None:
    names = ["0", "1", "2"]
    if layout == "mammal":
        _mammal(tmp_path, masks=False)
    else:
        for name, camera in zip(names, _cameras(3), strict=True):
            _video(tmp_path / f"{name}.mp4")
            scipy.io.savemat(tmp_path / f"{name}_params.mat", _matlab(camera))
    _mask_images(tmp_path, names, pattern, (0, 3, 5))
    capture = open_capture(tmp_path)
    assert (capture.layout, capture.mask_source) == (layout, "images")
    for view in capture.views:
        assert view.has_masks and view.mask_image(3) == tmp_path / "masks" / view.name / pattern.format(3)
        assert view.mask_image(3).exists() and not view.mask_image(1).exists()


def test_mask_images_that_do_not_belong_are_named(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk", masks=False)
    _mask_images(path, ["0", "1"])
    _fails(path, "walk/masks: has no folder of mask images of view 2")
    _mask_images(path, ["2"], numbers=range(1, COUNT + 1))
    _fails(path, "masks/2: has a mask of frame 6, but the video's frames are 0 to 5; number masks from 0")
    for file in (path / "masks" / "2").iterdir():
        file.unlink()
    _fails(path, "masks/2: mask images must be named .*; found none")
    (path / "masks" / "2" / "frame1.png").touch()
    _fails(path, "found frame1.png")
    shutil.rmtree(path / "masks" / "2")
    _mask_images(path, ["2"], "{:06d}.png", [3])
    (path / "masks" / "2" / "4.png").touch()
    _fails(path, "differ in their leading zeros")


def test_two_kinds_of_masks_are_one_too_many(tmp_path: Path) -> None:
    path = _mammal(tmp_path / "walk")
    _mask_images(path, ["0", "1", "2"])
    _fails(path, "has mask videos and mask images")
