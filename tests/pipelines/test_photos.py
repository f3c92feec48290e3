from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.ply import read_ply
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.samples.facelift_folders import write_sample
from pipelines import photos
from pipelines.photos import PhotosConfig, main, reconstruct_photos
from tests.generators import write_generator, write_gslrm
from tests.synthetic import blob, ring_sample, write_dataset

SAMPLES = [ring_sample(blob(seed), seed, views=6, size=32) for seed in range(3)]
QUICK = PhotoOptions(steps=2, guidance=1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator, a GS-LRM, two photos and a folder of six views."""
    folder = tmp_path_factory.mktemp("photos")
    data = write_dataset(folder / "data", {"train": SAMPLES[:2], "val": SAMPLES[2:]})
    write_generator(folder / "generator", data)
    write_gslrm(folder / "gslrm", data)
    (folder / "in").mkdir()
    for number, sample in enumerate(SAMPLES[:2]):
        write_photo(folder / "in" / f"photo{number}.png", sample.images[number])
    write_sample(folder / "views", SAMPLES[2])
    return folder


def write_photo(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA))


def settings(place: Path, out: Path, *images: str) -> PhotosConfig:
    return PhotosConfig(
        image=tuple(place / name for name in images),
        checkpoint=place / "gslrm",
        generator=place / "generator",
        out=out,
        turntable_views=2,
        turntable_size=32,
        photo=QUICK,
    )


def test_from_photos_to_splats_and_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["--checkpoint", str(place / "gslrm"), "--generator", str(place / "generator"), "--out", str(out)]
    words += ["--turntable-views", "2", "--turntable-size", "32", "--photo.steps", "2", "--photo.guidance", "1"]
    words += ["--image", str(place / "in"), str(place / "views")]
    assert main(words) == 0
    assert "next: mouse-facelift view" in capsys.readouterr().out
    folders = sorted((out / "samples").iterdir())
    assert [folder.name for folder in folders] == ["photo0", "photo1", "views"]
    for folder in folders:
        assert {"gaussians.ply", "pictures.png", "turntable.mp4", "sample.json"} <= {p.name for p in folder.iterdir()}
        assert len(read_ply(folder / "gaussians.ply")) == json.loads((folder / "sample.json").read_text())["gaussians"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "photo1" in page and "What the photo does not show is invented" in page

    # What is finished stays; what is missing, and only that, is made again and comes out the same.
    kept, lost, _ = folders
    before, made = (kept / "sample.json").stat().st_mtime_ns, (lost / "gaussians.ply").read_bytes()
    shutil.rmtree(lost)
    asked = []
    monkeypatch.setattr(photos, "prepare", lambda one, *rest: asked.append(one.name) or PREPARE(one, *rest))
    assert main(words) == 0
    assert asked == ["photo1"] and (kept / "sample.json").stat().st_mtime_ns == before
    assert (lost / "gaussians.ply").read_bytes() == made


PREPARE = photos.prepare


def test_one_photo_alone_gives_what_it_gave_among_others(place: Path, tmp_path: Path) -> None:
    reconstruct_photos(settings(place, tmp_path / "all", "in"), QUICK)
    reconstruct_photos(settings(place, tmp_path / "one", "in/photo1.png"), QUICK)
    both = [tmp_path / name / "samples" / "photo1" / "gaussians.ply" for name in ("all", "one")]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_bad_photos_are_counted_and_the_others_are_done(place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "in", tmp_path / "in")
    (folder / "broken.png").write_bytes((folder / "photo0.png").read_bytes()[:90])
    write_photo(folder / "empty.png", np.zeros((20, 20, 4), np.uint8))
    config = replace(settings(place, tmp_path / "out", "in"), image=(folder,))
    with pytest.raises(InputError, match=r"2 of 4 pictures could not be used, the others are done: .*broken\.png"):
        reconstruct_photos(config, QUICK)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Not used" in page and "no animal found" in page and "photo0" in page
    with pytest.raises(InputError, match=r"empty\.png: no animal found"):
        reconstruct_photos(replace(config, image=(folder / "empty.png",)), QUICK)


def test_what_cannot_work_stops_before_any_work(place: Path, tmp_path: Path) -> None:
    config = settings(place, tmp_path / "out", "in")
    for change, words in (
        ({"checkpoint": place / "generator"}, "kind 'mvdiffusion', not gslrm"),
        ({"generator": place / "gslrm"}, "kind 'gslrm', not mvdiffusion"),
        ({"generator": None}, "give --generator"),
        ({"image": (place / "nowhere.png",)}, "no such picture"),
    ):
        with pytest.raises(InputError, match=words):
            reconstruct_photos(replace(config, **change), QUICK)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    # All views are given: no generator is needed.
    given = replace(settings(place, tmp_path / "given", "views"), generator=None)
    assert reconstruct_photos(given).sections[0].title == "views"


def test_a_model_of_wider_views_is_given_wider_views(place: Path, tmp_path: Path) -> None:
    wide = [replace(s, cameras=tuple(replace(c, t=3 * c.t) for c in s.cameras)) for s in SAMPLES]
    model = write_gslrm(tmp_path / "gslrm", write_dataset(tmp_path / "wide", {"train": wide}))
    config = replace(settings(place, tmp_path / "out", "views", "in/photo0.png"), checkpoint=model)
    report = reconstruct_photos(config, QUICK)
    assert "so that they are widened to that" in report.summary
    for name in ("views", "photo0"):
        sheet = cv2.imread(str(tmp_path / "out" / "samples" / name / "inputs.png"))
        assert sheet is not None
        # Of pictures a third as wide, a third of each side is animal at most.
        assert (sheet.min(axis=2) < 128).mean() < 1 / 9
