"""A recording is MAMMAL's layout, agrees with its truth, and is the same byte for byte every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mouse_facelift.cameras.camera import stack_cameras
from mouse_facelift.cameras.mammal import read_mammal
from mouse_facelift.capture.mouse.arena import rig_cameras
from mouse_facelift.capture.mouse.recording import (
    MARKER,
    MouseFilm,
    MouseRecordingConfig,
    mouse_gaussians,
    mouse_truth,
    write_mouse_capture,
)
from mouse_facelift.capture.video import read_frames
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.rendering import render

CONFIG = MouseRecordingConfig(frames=2, width=288, height=256, gaussians=3000)


@pytest.fixture(scope="module")
def film() -> MouseFilm:
    return MouseFilm(CONFIG)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mouse_capture(CONFIG, tmp_path_factory.mktemp("mouse") / "capture")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_is_a_capture_and_repeats_bit_for_bit(capture: Path, tmp_path: Path) -> None:
    files = contents(capture)
    videos = {f"{kind}/{i}.mp4" for kind in ("videos_undist", "simpleclick_undist") for i in range(6)}
    assert set(files) == videos | {"new_cam.pkl", "truth.npz", MARKER}
    assert contents(write_mouse_capture(CONFIG, tmp_path / "again")) == files
    other = contents(write_mouse_capture(replace(CONFIG, seed=1), tmp_path / "other"))
    assert other["videos_undist/0.mp4"] != files["videos_undist/0.mp4"]


def test_open_capture_reads_it(capture: Path) -> None:
    opened = pytest.importorskip("mouse_facelift.capture.capture").open_capture(capture)
    assert (opened.layout, opened.frame_count, len(opened.views)) == ("mammal", CONFIG.frames, 6)
    assert opened.fps == pytest.approx(CONFIG.fps)
    assert all(view.mask_video is not None for view in opened.views)


def test_calibration_round_trips(capture: Path) -> None:
    read = read_mammal(capture / "new_cam.pkl", (CONFIG.width, CONFIG.height))
    for camera, own in zip(read, rig_cameras(CONFIG.width, CONFIG.height), strict=True):
        np.testing.assert_allclose(camera.K, own.K, atol=1e-9)
        np.testing.assert_array_equal(camera.w2c, own.w2c)


def test_videos_hold_what_was_filmed(capture: Path, film: MouseFilm) -> None:
    shots = [film.shoot(film.posed(f)) for f in range(CONFIG.frames)]
    for view in (0, 4):
        decoded = dict(read_frames(capture / "videos_undist" / f"{view}.mp4", range(CONFIG.frames)))
        masks = dict(read_frames(capture / "simpleclick_undist" / f"{view}.mp4", range(CONFIG.frames)))
        for frame, shot in enumerate(shots):
            error = decoded[frame].astype(float) - shot.images[view]
            assert np.abs(error).mean() < 2.0
            wanted, found = shot.masks[view] > 0, masks[frame][..., 0] > 127
            assert (wanted & found).sum() / (wanted | found).sum() > 0.985


@pytest.mark.parametrize("frame", [0, 7, 24])
def test_truth_projects_onto_the_animal_in_every_view(film: MouseFilm, frame: int) -> None:
    """Through the calibration alone: keypoints in the (slightly grown) masks, the centre near their centroids."""
    centre, keypoints = mouse_truth(CONFIG, frame)
    shot = film.shoot(film.posed(frame))
    assert {"snout", "ear_left", "tail_end", "paw_hind_right"} < set(keypoints) and len(keypoints) == 12
    for camera, mask in zip(film.cameras, shot.masks, strict=True):
        grown = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
        for name, point in keypoints.items():
            x, y = camera.project(point).astype(int)
            assert grown[y, x], f"{name} is off the animal in view {camera.name}"
        rows, columns = np.nonzero(mask)
        length = np.hypot(np.ptp(rows), np.ptp(columns))
        offset = camera.project(centre) - [columns.mean() + 0.5, rows.mean() + 0.5]
        assert np.linalg.norm(offset) < 0.12 * length


def test_the_animal_is_opaque_and_its_gaussians_are_those_filmed(film: MouseFilm) -> None:
    gaussians = mouse_gaussians(CONFIG, 5)
    posed = film.posed(5)
    for one, other in zip(gaussians.tensors(), posed.gaussians.tensors(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    w2c, fxfycxcy = (torch.from_numpy(a).float() for a in stack_cameras(film.cameras))
    alpha = render(gaussians, w2c, fxfycxcy, CONFIG.width, CONFIG.height).alpha.numpy()
    for view, mask in zip(alpha, film.shoot(posed).masks, strict=True):
        np.testing.assert_array_equal(mask > 0, view > 0.5)
        inside = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0
        outside = cv2.dilate(mask, np.ones((7, 7), np.uint8)) == 0
        assert np.quantile(view[inside], 0.02) > 0.95 and view[outside].max() < 0.1


def test_the_animal_is_whole_in_every_view_and_frame(film: MouseFilm) -> None:
    for frame in range(48):
        means = film.posed(frame).means
        for camera in film.cameras:
            pixels = camera.project(means)
            assert (pixels > 8).all() and (pixels < np.array([camera.width, camera.height]) - 8).all()


def test_paws_are_near_the_floor_and_the_snout_is_up_when_rearing() -> None:
    _, walking = mouse_truth(CONFIG, 0)
    _, rearing = mouse_truth(CONFIG, 24)
    assert all(0 < p[2] < 9 for name, p in walking.items() if name.startswith("paw"))
    assert all(0 < rearing[f"paw_hind_{side}"][2] < 9 for side in ("left", "right"))
    assert rearing["snout"][2] > 50 > 20 > walking["snout"][2]


def test_stored_truth_is_the_truth(capture: Path) -> None:
    stored = np.load(capture / "truth.npz")
    np.testing.assert_allclose(stored["times"], [0.0, 1 / CONFIG.fps])
    centre, keypoints = mouse_truth(CONFIG, 1)
    np.testing.assert_array_equal(stored["centres"][1], centre)
    np.testing.assert_array_equal(stored["keypoints"][1], np.stack(list(keypoints.values())))
    assert list(stored["names"]) == list(keypoints)


def test_a_finished_recording_is_kept_and_anything_else_is_not_overwritten(capture: Path, tmp_path: Path) -> None:
    before = (capture / "new_cam.pkl").stat().st_mtime_ns
    frames: list[tuple[int, int]] = []
    assert write_mouse_capture(CONFIG, capture, lambda *done: frames.append(done)) == capture
    assert (capture / "new_cam.pkl").stat().st_mtime_ns == before and not frames
    with pytest.raises(InputError, match="another configuration"):
        write_mouse_capture(replace(CONFIG, frames=3), capture)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        write_mouse_capture(CONFIG, tmp_path)


def test_a_killed_run_leaves_no_capture_and_the_next_one_finishes(tmp_path: Path) -> None:
    out = tmp_path / "capture"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mouse_capture(CONFIG, out, stop)
    assert not out.exists()
    seen: list[tuple[int, int]] = []
    write_mouse_capture(CONFIG, out, lambda *done: seen.append(done))
    assert (out / MARKER).is_file() and seen == [(1, 2), (2, 2)]
    assert [p.name for p in tmp_path.iterdir()] == ["capture"]


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"fps": 0.0}, {"width": 289}])
def test_impossible_configurations_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(CONFIG, **wrong)
