"""`preprocess` on bad recordings and settings: one clear line that says what, where and the cure, or counted frames.

Every case spoils a sound recording of a ball in one way and runs the real verb on it.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from mouse_facelift import cli
from mouse_facelift.capture.video import EncodeOptions, VideoWriter, read_frames
from mouse_facelift.samples.dataset import open_dataset
from tests.refusals import refusal, rejections
from tests.worlds import write_ball_recording

FRAMES, VIEWS, SIZE = 8, 4, (160, 128)
PREPROCESS = "preprocess --image-size 64 --unit-frames 8 --split.val-fraction 0.25 --split.gap-s 0"
Spoil = Callable[[Path], object]
TIMES = [f"{n / 25}" for n in range(FRAMES)]


class Case(NamedTuple):
    """What is wrong, what the line says (a regular expression), and the options given besides."""

    spoil: Spoil | None
    says: str
    options: str = ""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_recording(tmp_path_factory.mktemp("sound") / "ball", FRAMES, VIEWS, size=SIZE)


@pytest.fixture
def recording(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "ball"))


def film(name: str, count: int = FRAMES, size: tuple[int, int] = SIZE, level: int = 120) -> Spoil:
    """Put a video of one grey in a file's place."""

    def spoil(folder: Path) -> None:
        with VideoWriter(folder / name, *size, 25, EncodeOptions(preset="ultrafast")) as video:
            for _ in range(count):
                video.write(np.full((size[1], size[0], 3), level, np.uint8))

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


def removed(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes | str) -> Spoil:
    data = content.encode() if isinstance(content, str) else content

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return spoil


def cut(name: str) -> Spoil:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-2000])


def cameras(change: Callable[[list[dict[str, Any]]], object]) -> Spoil:
    """Change the calibration's entries in place, or put what ``change`` returns in their place."""

    def spoil(folder: Path) -> None:
        entries = pickle.loads((folder / "new_cam.pkl").read_bytes())
        changed = change(entries)
        (folder / "new_cam.pkl").write_bytes(pickle.dumps(entries if changed is None else changed))

    return spoil


def entry(key: str, change: Callable[[np.ndarray], np.ndarray], views: tuple[int, ...] = (1,)) -> Spoil:
    return cameras(lambda entries: [entries[v].update({key: change(entries[v][key])}) for v in views] and None)


def mask_images(folder: Path) -> None:
    """The masks as PNG instead of videos."""
    for view in range(VIEWS):
        (folder / f"masks/{view}").mkdir(parents=True)
        for frame, image in read_frames(folder / f"simpleclick_undist/{view}.mp4", range(FRAMES)):
            cv2.imwrite(str(folder / f"masks/{view}/{frame:06d}.png"), image[..., 0])
    shutil.rmtree(folder / "simpleclick_undist")


class Trap:
    """What a pickle with code in it looks like; the test looks for the folder that it would make."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def stamps(*lines: str) -> Spoil:
    return both(*(holding(f"timestamps/{view}.csv", "\n".join(lines)) for view in range(VIEWS)))


V73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128) + b"\x89HDF"
VIDEO, MASK = "videos_undist/1.mp4", "simpleclick_undist/1.mp4"
FILES = {
    "a missing video": Case(
        removed(VIDEO), "ball: no video of view 1: new_cam.pkl calibrates 4 .*; add what is missing"
    ),
    "a missing mask video": Case(removed(MASK), "ball: no video of view 1: .*simpleclick_undist has 3 videos"),
    "a video cut short": Case(cut(VIDEO), "videos_undist/1.mp4: the file is cut short: .*8 frames.*; copy it again"),
    "an empty file": Case(holding(VIDEO, b""), "videos_undist/1.mp4: the file is empty; copy it again"),
    "no video at all": Case(holding(VIDEO, "no video" * 99), "videos_undist/1.mp4: is not a readable video"),
    "a view of another length": Case(
        both(film(VIDEO, 6), film(MASK, 6)), r"different numbers of frames \(0: 8, 1: 6, .*; cut all videos .*--sync.by"
    ),
    "a mask of another length": Case(film(MASK, 7), r"view 1 has different numbers .*\(8 in its video and 7 masks\)"),
    "a mask of another size": Case(
        film(MASK, size=(96, 80)), "1.mp4: the masks of view 1 are 96x80 and its video is 160x128; make the masks"
    ),
    "a video of another size": Case(
        film(VIDEO, size=(96, 80)), "the masks of view 1 are 160x128 and its video is 96x80"
    ),
    "no calibration": Case(removed("new_cam.pkl"), "ball: holds no recording; expected new_cam.pkl with"),
    "a camera too few": Case(cameras(lambda e: e[:3]), "no camera for video 3: new_cam.pkl calibrates 3"),
    "code in the pickle": Case(cameras(lambda e: Trap()), "new_cam.pkl: refused: the pickle asks for posix.mkdir"),
    "a class in the pickle": Case(
        cameras(lambda e: [dict(c, name=Path("x")) for c in e]), "refused: the pickle asks for pathlib.PosixPath"
    ),
    "no pickle": Case(holding("new_cam.pkl", "K = 1"), "new_cam.pkl: is not a readable pickle .*; copy it again"),
    "nan in K": Case(entry("K", lambda K: K * np.nan), "camera 1: K holds values that are not finite; calibrate"),
    "a K transposed": Case(entry("K", np.transpose), "camera 1: K is not upper triangular .*; is it transposed"),
    "a mirrored R": Case(entry("R", lambda R: -R), r"camera 1: R is not a rotation \(det -1.0000, .*; check"),
    "an R that shears": Case(entry("R", lambda R: R + np.eye(3)[::-1] / 9), "camera 1: R is not a rotation"),
    "a T that is no vector": Case(entry("T", lambda T: T[:2]), r"camera 1: T has shape \(2, 1\), expected"),
    "MATLAB's v7.3": Case(
        both(removed("new_cam.pkl"), holding("label3d_dannce.mat", V73)),
        r"label3d_dannce.mat: is in MATLAB's v7.3 .* -v7",
    ),
    "time stamps that go back": Case(
        stamps(*TIMES[:3], "0.01", *TIMES[4:]),
        r"timestamps/0.csv: time does not go on at frame 3 \(0.08 s, then 0.01 s\); times must increase",
        "--sync.by time",
    ),
    "time stamps with words": Case(
        stamps("time", *TIMES), "timestamps/0.csv: cannot be read as numbers .*no heading", "--sync.by time"
    ),
    "time stamps with nan": Case(
        stamps(*TIMES[:3], "nan", *TIMES[4:]), "0.csv: the time of frame 3 is no number", "--sync.by time"
    ),
    "too few time stamps": Case(
        stamps(*TIMES[:3]), "0.csv: holds 3 times, and the view has 8 frames; give", "--sync.by time"
    ),
    "centres of another length": Case(
        lambda folder: np.save(folder / "com.npy", np.zeros((5, 3))),
        r"com.npy: holds centres of shape \(5, 3\), but the recording has 8 frames",
        "--centre.source com.npy",
    ),
    "code in the centres": Case(
        lambda folder: np.save(folder / "com.npy", np.array([Trap()], object), allow_pickle=True),
        "com.npy: is not a .npy array of plain numbers",
        "--centre.source com.npy",
    ),
    "centres in v7.3": Case(holding("com.mat", V73), "com.mat: is in MATLAB's v7.3", "--centre.source com.mat"),
}
SETTINGS = {
    "frames outside": Case(None, "--frames 4:99: .*ball has frames 0 to 7", "--frames 4:99"),
    "frames that are words": Case(None, "--frames all: expected a frame number or START:STOP", "--frames all"),
    "a view that is not there": Case(None, "ball: no camera 9; it has 0, 1, 2, 3", "--views 0 9"),
    "one view": Case(None, "at least two views are needed", "--views 0"),
    "a cut outside": Case(None, r"cuts \[99\] lie outside its 8 frames", "--cuts 99"),
    "more samples than frames": Case(None, "has 8 frames to choose from, not 99", "--num-samples 99"),
    "a segment that is not there": Case(None, "no selected frames in segment 7", "--split.val-segments 7"),
    "an unknown decoder": Case(None, "invalid choice 'vlc' for argument '--decoder'", "--decoder vlc"),
    "an unknown method": Case(None, "--method magic: there is no such method; choose exact or", "--method magic"),
    "a misspelt option": Case(None, "unknown option --zoon .did you mean --zoom", "--zoon 2"),
    "no zoom": Case(None, "zoom must be above 0 and finite, or 'fit', not 0.0", "--zoom 0"),
    "a zoom without end": Case(None, "zoom must be above 0 and finite", "--zoom inf"),
    "a zoom of nan": Case(None, "zoom must be above 0 and finite", "--zoom nan"),
    "a scale of nan": Case(None, "world-scale must be above 0 and finite, or 'auto', not nan", "--world-scale nan"),
    "a threshold of nan": Case(None, "--gate.min-hull-iou is not a number .nan.", "--gate.min-hull-iou nan"),
    "a smoothing of nan": Case(None, "--centre.smoothing-s is not a number .nan.", "--centre.smoothing-s nan"),
    "nan in a file": Case(
        holding("c.yaml", "gate: {min_hull_iou: .nan}\n"), "--gate.min-hull-iou is not a", "{config}"
    ),
    "pictures too large": Case(None, "image-size .100000. must be from 16 to 8192", "--image-size 100000"),
    "an unknown key": Case(
        holding("c.yaml", "image_sice: 9\n"), "c.yaml: unknown key 'image_sice' .did you mean 'image_size'", "{config}"
    ),
    "a value of another type": Case(
        holding("c.yaml", "views: 3\n"), "c.yaml: 'views' is 3; it must be a list", "{config}"
    ),
    "code in YAML": Case(
        holding("c.yaml", "!!python/object/apply:os.mkdir [sprung]\n"),
        "c.yaml: is not valid YAML: .*os.mkdir",
        "{config}",
    ),
    "broken YAML": Case(holding("c.yaml", "views: [1\nup: }"), "c.yaml: is not valid YAML", "{config}"),
    "no settings": Case(None, "c.yaml: cannot be read .No such file", "{config}"),
    "an offset of no camera": Case(None, "ball has no camera 9, it has 0, 1, 2, 3", "--sync.offset-s 9=0.1"),
    "an offset of nan": Case(None, "1=nan: expected NAME=SECONDS", "--sync.offset-s 1=nan"),
    "views at other times": Case(None, "the views share no time at all; check", "--sync.offset-s 1=99"),
}


@pytest.mark.parametrize("name", [*FILES, *SETTINGS])
def test_it_is_refused_in_one_line(name, recording, tmp_path, capsys, monkeypatch, ray_session):
    case = (FILES | SETTINGS)[name]
    if case.spoil is not None:
        case.spoil(recording)
    monkeypatch.chdir(tmp_path)
    options = case.options.format(config=f"--config {recording}/c.yaml")
    line = refusal(capsys, f"{PREPROCESS} {options}", "--capture", recording, "--out", "out")
    assert re.search(case.says, line), line
    assert not Path("sprung").exists() and not Path("out/dataset.json").exists()


PLACES = {
    "another dataset": (lambda out: holding("dataset.json", "{}")(out), "schema version None"),
    "somebody's notes": (lambda out: holding("notes.txt", "mine")(out), "out is not empty .*; choose another --out"),
    "a run that is damaged": (lambda out: holding("_work/run.json", "{")(out), "run.json: is not JSON"),
    "another run": (lambda out: holding("_work/run.json", "{}")(out), "an unfinished run with other settings; choose"),
    "a file": (lambda out: out.rmdir() or out.write_text("mine"), "Not a directory; check the place"),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_lies_where_the_dataset_should_go_is_left_alone(name, recording, tmp_path, capsys):
    spoil, says = PLACES[name]
    out = tmp_path / "out"
    out.mkdir()
    spoil(out)
    before = {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}
    assert re.search(says, refusal(capsys, PREPROCESS, "--capture", recording, "--out", out))
    assert before == {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}


@pytest.mark.parametrize(
    ("out", "says"),
    [("/proc/nowhere/out", "cannot be written: no such place"), ("nowhere://lab/out", "cannot open nowhere://lab/out")],
)
def test_a_place_that_cannot_be_written_is_refused(out, says, recording, capsys):
    assert says in refusal(capsys, PREPROCESS, "--capture", recording, "--out", out)


def test_recordings_that_are_absent_or_of_one_name_are_refused(recording, tmp_path, capsys):
    assert "absent: is not a folder" in refusal(capsys, PREPROCESS, "--capture", tmp_path / "absent", "--out", "out")
    twin = shutil.copytree(recording, tmp_path / "other" / "ball")
    line = refusal(capsys, PREPROCESS, "--capture", recording, twin, "--out", "out")
    assert "two recordings have the same name (ball, ball): rename their folders" in line


COUNTED = {
    "masks that are black in one view": (film(MASK, level=0), 8, "no animal in the mask of view 1"),
    "masks that are white in one view": (film(MASK, level=255), 8, "no animal in the mask of view 1"),
    "cameras in another order": (cameras(lambda e: e[1:] + e[:1]), 8, "silhouette centres disagree"),
    "two cameras swapped": (cameras(lambda e: [e[2], e[1], e[0], e[3]]), 8, "silhouette centres disagree"),
    "one camera in metres": (entry("T", lambda T: T / 1000), 8, "the silhouettes meet nowhere in front of the cameras"),
    "a calibration for twice the size": (
        entry("K", lambda K: np.diag([2.0, 2, 1]) @ K, (0, 1, 2, 3)), 8, "no animal to speak of"
    ),
    "a missing mask image": (
        both(mask_images, removed("masks/1/000003.png")), 1, "masks/1/000003.png: there is no mask image of this frame"
    ),
    "a corrupt mask image": (
        both(mask_images, holding("masks/1/000003.png", b"\x89PNG\r\n\x1a\nrubbish")), 1, "3.png: is not a readable"
    ),
    "a mask image of another size": (
        both(mask_images, lambda f: cv2.imwrite(str(f / "masks/1/000003.png"), np.zeros((9, 9), np.uint8))),
        1,
        "000003.png: the mask is 9x9 and its video 160x128; make the masks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_frames_that_cannot_be_used_are_counted_with_the_reason(name, recording, tmp_path, capsys, ray_session):
    spoil, count, reason = COUNTED[name]
    spoil(recording)
    out = tmp_path / "out"
    line = refusal(capsys, f"{PREPROCESS} --zoom 3", "--capture", recording, "--out", out)
    if not (out / "dataset.json").exists():
        assert reason in line and count == FRAMES
        return
    found = rejections(out)
    assert len(found) == count and all(reason in said for said in found)
    counts = open_dataset(str(out)).manifest["counts"]
    assert counts["train"] + counts["val"] == FRAMES - count


def test_a_calibration_in_metres_is_warned_of(recording, tmp_path, capsys, ray_session):
    """All cameras alike: the views agree with each other, and only lengths are wrong."""
    entry("T", lambda T: T / 1000, (0, 1, 2, 3))(recording)
    out = str(tmp_path / "out")
    assert cli.main([*PREPROCESS.split(), "--zoom", "3", "--capture", str(recording), "--out", out]) == 0
    verdict = open_dataset(out).manifest["verdict"]
    assert verdict["status"] == "warn" and "in millimetres?" in verdict["reasons"][0]["reason"]
    assert "is the calibration in millimetres?" in capsys.readouterr().out
