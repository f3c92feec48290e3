from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.photos.reading import MAX_SIDE, find_pictures, read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 16, 4), np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def test_folders_files_and_folders_of_views_are_told_apart(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", ".hidden.png"):
        write(tmp_path / "photos" / name, PICTURE[..., :3])
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    write(tmp_path / "views" / "cam_000.png", PICTURE)
    single = write(tmp_path / "a.png", PICTURE)
    found = find_pictures([tmp_path / "photos", tmp_path / "views", single, single])
    assert [one.path.name for one in found] == ["a.JPG", "b.png", "views", "a.png"]
    assert [one.has_views for one in found] == [False, False, True, False]
    assert len({one.name for one in found}) == 4 and found[1].name == "b"


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for path, words in (("film.mp4", "is no picture"), ("empty", "holds no pictures"), ("gone.png", "no such picture")):
        with pytest.raises(InputError, match=f"{path}: {words}"):
            find_pictures([tmp_path / path])


def test_colours_and_alpha_come_in_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "p.png", PICTURE)
    assert (read_picture(path) == cv2.cvtColor(PICTURE, cv2.COLOR_BGRA2RGBA)).all()
    write(path, PICTURE[..., :3])
    assert (read_picture(path) == PICTURE[..., 2::-1]).all()
    write(path, PICTURE[..., 0])
    assert (read_picture(path) == PICTURE[..., :1]).all() and read_picture(path).shape == (12, 16, 3)
    write(path, PICTURE.astype(np.uint16) * 257)
    assert (read_picture(path) == cv2.cvtColor(PICTURE, cv2.COLOR_BGRA2RGBA)).all()


def test_huge_photos_are_averaged_down(tmp_path: Path) -> None:
    path = write(tmp_path / "huge.png", np.full((20, 2 * MAX_SIDE, 4), (10, 20, 30, 255), np.uint8))
    picture = read_picture(path)
    assert picture.shape == (10, MAX_SIDE, 4) and (picture == (30, 20, 10, 255)).all()


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_picture_is_refused(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "p.png", PICTURE)
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "text": b"hello"}[damage])
    with pytest.raises(InputError, match=r"p\.png: is not a picture, or is damaged"):
        read_picture(path)
