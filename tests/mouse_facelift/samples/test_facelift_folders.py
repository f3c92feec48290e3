"""FaceLift's folders: what is written is read back equal, what is odd is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig, turntable
from mouse_facelift.errors import InputError
from mouse_facelift.samples.facelift_folders import read_origin, read_sample, write_sample
from mouse_facelift.samples.facelift_lists import find_samples, write_list
from mouse_facelift.samples.schema import Agreement, Sample, row_from_sample, sample_from_row
from mouse_facelift.storage import Store
from tests.facelift_loader import load_list


def made_sample(number: int = 3, views: int = 4, size: int = 48) -> Sample:
    """A disc with soft edges, seen by every camera of a ring alike, in noise that fills all four channels."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (views, size, size, 4), dtype=np.uint8)
    rows, columns = np.indices((size, size))
    distance = np.hypot(rows + 0.5 - size / 2, columns + 0.5 - size / 2)
    images[..., 3] = np.clip(128 + 60 * (size / 4 - distance), 0, 255).astype(np.uint8)
    unknown = np.full(views, np.nan, np.float32)
    sample = Sample(
        sample_id=f"mouse-{number:06d}",
        capture="mouse",
        frame=number,
        time_s=number / 7,
        segment=2,
        images=images,
        cameras=tuple(turntable(views, size, elevation_degrees=13.0)),
        centre_mm=np.array([1 / 3, -2.0, 40.25]),
        scale=0.0091,
        agreement=Agreement(unknown, unknown, unknown, 0.0, unknown, unknown, unknown),
        mask_source="video",
        source="rendered",
    )
    return sample_from_row(row_from_sample(sample))


def assert_same(a: Sample, b: Sample) -> None:
    np.testing.assert_array_equal(a.images, b.images)
    assert [c.name for c in a.cameras] == [c.name for c in b.cameras]
    for x, y in zip(a.cameras, b.cameras, strict=True):
        np.testing.assert_array_equal(x.w2c.astype(np.float32), y.w2c.astype(np.float32))
        np.testing.assert_array_equal(x.fxfycxcy.astype(np.float32), y.fxfycxcy.astype(np.float32))
    for name in ("sample_id", "capture", "frame", "time_s", "segment", "scale", "mask_source", "source"):
        assert getattr(a, name) == getattr(b, name), name
    np.testing.assert_array_equal(a.centre_mm, b.centre_mm)


@pytest.mark.parametrize("views", [1, 2, 6, 9])
def test_what_is_written_is_read_back_equal(tmp_path: Path, views: int) -> None:
    sample = made_sample(views=views)
    write_sample(tmp_path / "sample_000007", sample)
    again = read_sample(tmp_path / "sample_000007")
    assert_same(again, sample)
    if views > 1:
        assert again.agreement.hull_iou > 0.9 and again.agreement.epipolar_px < 1e-3
        np.testing.assert_allclose(again.agreement.mask_fraction, np.pi / 16, rtol=0.05)


def test_the_files_are_what_facelift_reads(tmp_path: Path) -> None:
    sample = made_sample()
    write_sample(tmp_path / "sample_000000", sample)
    write_list(Store.at(tmp_path), "data_train.txt", [str(tmp_path / "sample_000000")])
    assert (tmp_path / "data_train.txt").read_text().endswith("sample_000000\n")
    (scene,) = load_list(tmp_path / "data_train.txt")
    np.testing.assert_array_equal(scene["image"][:, 3], sample.images[..., 3].astype(np.float32) / 255)
    np.testing.assert_allclose(scene["c2w"], [c.c2w for c in sample.cameras], atol=1e-6)
    np.testing.assert_array_equal(scene["fxfycxcy"], np.array([c.fxfycxcy for c in sample.cameras], np.float32))
    frames = json.loads((tmp_path / "sample_000000" / FILE_NAME).read_text())["frames"]
    assert [list(f) for f in frames] == [["w", "h", "fx", "fy", "cx", "cy", "w2c", "file_path", "view_id"]] * 4
    assert [f["file_path"] for f in frames] == [f"images/cam_{i:03d}.png" for i in range(4)]
    with pytest.raises(InputError, match="48x32 px, FaceLift's images are square"):
        write_sample(tmp_path / "b", replace(sample, images=sample.images[:, :32]))


def test_a_folder_of_other_software_is_in_facelifts_units(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "heads" / "sample_004")
    assert read_origin(folder) is None
    sample = read_sample(folder)
    assert (sample.sample_id, sample.capture, sample.scale) == ("heads-sample_004", "heads", 1.0)
    assert not sample.centre_mm.any() and (sample.mask_source, sample.source) == ("images", "facelift")
    assert [c.name for c in sample.cameras] == [f"cam_{i:03d}" for i in range(4)]


def foreign(folder: Path, sample: Sample | None = None) -> Path:
    """A sample folder without this software's entry."""
    write_sample(folder, sample or made_sample())
    edit(folder, lambda content: content.pop("mouse_facelift"))
    return folder


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / FILE_NAME).read_text())
    change(content)
    (folder / FILE_NAME).write_text(json.dumps(content))


def test_images_without_masks_are_opaque_and_not_measured(tmp_path: Path) -> None:
    sample = made_sample()
    folder = foreign(tmp_path / "sample_000000", sample)
    for view, image in enumerate(sample.images):
        Image.fromarray(image[..., :3]).save(folder / f"images/cam_{view:03d}.png")
    again = read_sample(folder)
    np.testing.assert_array_equal(again.images[..., :3], sample.images[..., :3])
    assert (again.images[..., 3] == 255).all() and again.mask_source == "none"
    assert np.isnan(again.agreement.hull_iou) and np.isnan(again.agreement.mask_fraction).all()


def test_sixteen_bits_are_read_as_pillow_reads_them(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "sample_000000")
    path = folder / "images/cam_001.png"
    deep = np.random.default_rng(0).integers(0, 2**16, (48, 48, 4), dtype=np.uint16)
    assert cv2.imwrite(str(path), deep)
    np.testing.assert_array_equal(read_sample(folder).images[1], np.asarray(Image.open(path)))


def test_six_images_without_cameras_get_facelifts_rig_and_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "sample_000"
    folder.mkdir()
    for slot, image in enumerate(made_sample(views=6, size=32).images):
        Image.fromarray(image).save(folder / f"cam_{slot:03d}.png")
    sample = read_sample(folder)
    assert [c.name for c in sample.cameras] == list(FACELIFT_SLOTS) and "by convention" in sample.source
    for camera, published in zip(sample.cameras, facelift_rig(), strict=True):
        np.testing.assert_array_equal(camera.w2c, published.w2c)
        np.testing.assert_allclose(camera.fxfycxcy, published.fxfycxcy / 16)
    (folder / "cam_005.png").unlink()
    with pytest.raises(InputError, match=r"has no opencv_cameras.json, .* \(found cam_000.png.*\); add the cameras"):
        read_sample(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["frames"][2].update(file_path="../../secret.png"), r"'../../secret.png' would leave its folder"),
        (lambda c: c["frames"][2].update(file_path="/etc/passwd"), r"would leave its folder"),
        (
            lambda c: c["frames"][2].update(file_path="images/cam_099.png"),
            r"cam_099.png: cannot be read \(No such",
        ),
        (lambda c: c["frames"][2].pop("file_path"), r"would leave its folder"),
        (lambda c: c["frames"][2].pop("fx"), r"frame 2 is not a camera"),
        (lambda c: c["frames"][2].update(w=float("inf")), r"frame 2 is not a camera"),
        (lambda c: c["frames"][2].update(w=1e300), r"w and h must be from 1 to 65535 pixels"),
        (lambda c: c["frames"][2]["w2c"][3].__setitem__(3, 2.0), r"the last row of w2c is \[0.0, 0.0, 0.0, 2.0\]"),
        (lambda c: c["mouse_facelift"].update(sample_id="../x"), r"'../x' would leave its folder"),
        (lambda c: c["frames"][2].update(w=512), r"cam_002.png: is 48x48, its camera says 512x48"),
        (lambda c: c["frames"][2].update(file_path=FILE_NAME), r"is not a whole image"),
        (lambda c: c["mouse_facelift"].update(camera=["a"]), r"names 1 cameras for 4 frames"),
        (lambda c: c["mouse_facelift"].update(scale=-1.0), r"a scale above 0"),
        (lambda c: c["mouse_facelift"].update(frame=2**31), r"out of range"),
        (lambda c: c["mouse_facelift"].update(surprise=1), r"surprise"),
    ],
)
def test_odd_folders_are_refused(tmp_path: Path, change: Callable[[dict], object], message: str) -> None:
    folder = tmp_path / "sample_000000"
    write_sample(folder, made_sample())
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        read_sample(folder)


def test_odd_images_are_refused(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "sample_000000")
    path = folder / "images/cam_003.png"
    Image.new("RGBA", (48, 40)).save(path)
    with pytest.raises(InputError, match=r"cam_003.png: is 48x40, FaceLift's images are square"):
        read_sample(folder)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"cam_003.png: is not a whole image"):
        read_sample(folder)
    whole = (folder / "images/cam_000.png").read_bytes()
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    with pytest.raises(InputError, match=r"cam_003.png: is not a whole image"):
        read_sample(folder)
    Image.new("RGBA", (24, 24)).save(path)
    edit(folder, lambda c: c["frames"][3].update(w=24, h=24))
    with pytest.raises(InputError, match=r"cam_003.png: is 24x24, another view 48x48"):
        read_sample(folder)
    Image.new("RGBA", (48, 48)).save(tmp_path / "outside.png")
    path.unlink()
    path.symlink_to(tmp_path / "outside.png")
    with pytest.raises(InputError, match=r"is a link that leaves"):
        read_sample(folder)


def test_lists_of_other_machines_are_found_beside_the_list(tmp_path: Path) -> None:
    samples = [foreign(tmp_path / name) for name in ("set/a/sample_000", "set/b/sample_000", "set/sample_001")]
    lines = ["/mnt/elsewhere/set/a/sample_000", "  b/sample_000  ", "", r"C:\data\sample_001"]
    (tmp_path / "set" / "data_train.txt").write_text("\r\n".join(lines))  # And no newline at the end.
    found = find_samples(tmp_path / "set" / "data_train.txt")
    assert [f.folder for f in found] == samples and [f.split for f in found] == ["train"] * 3
    assert found[2].named_in.endswith("data_train.txt, line 4")


@pytest.mark.parametrize(
    ("name", "split"),
    [("data_mouse_val.txt", "val"), ("training.txt", "train"), ("all.txt", None), ("train_and_val.txt", None)],
)
def test_the_lists_name_decides_the_split(tmp_path: Path, name: str, split: str | None) -> None:
    foreign(tmp_path / "sample_000")
    (tmp_path / name).write_text("sample_000\n")
    assert [f.split for f in find_samples(tmp_path / name)] == [split]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "/mnt/elsewhere/sample_009",
            r"line 2: no folder '/mnt/elsewhere/sample_009' below .*; put the list",
        ),
        ("../other/sample_000", r"leaves the list's folder"),
        ("linked", r"is a link that leaves"),
    ],
)
def test_lists_do_not_lead_elsewhere(tmp_path: Path, line: str, message: str) -> None:
    foreign(tmp_path / "set" / "sample_000")
    outside = foreign(tmp_path / "other" / "sample_000")
    (tmp_path / "set" / "linked").symlink_to(outside)
    (tmp_path / "set" / "list.txt").write_text(f"sample_000\n{line}\n")
    with pytest.raises(InputError, match=message):
        find_samples(tmp_path / "set" / "list.txt")


def test_folders_are_searched(tmp_path: Path) -> None:
    samples = [foreign(tmp_path / name) for name in ("one/sample_000", "one/sample_001", "two/sample_000")]
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "round").symlink_to(tmp_path)
    assert [f.folder for f in find_samples(tmp_path)] == samples
    assert [f.folder for f in find_samples(samples[1])] == [samples[1]]
    (tmp_path / "one" / "data_val.txt").write_text("sample_001")
    assert [(f.folder, f.split) for f in find_samples(tmp_path / "one")] == [(samples[1], "val")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no FaceLift samples"):
        find_samples(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist"):
        find_samples(tmp_path / "absent")


def test_the_published_samples(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "facelift_sample"
    (ring,) = find_samples(root / "gslrm" / "data_gslrm_val.txt")
    (slots,) = find_samples(root / "mvdiffusion" / "data_mvdiff_train.txt")
    assert (ring.split, slots.split) == ("val", "train")
    sample = read_sample(ring.folder)
    assert sample.images.shape == (32, 512, 512, 4) and sample.agreement.hull_iou > 0.98
    np.testing.assert_array_equal(
        sample.images[24], np.asarray(Image.open(ring.folder / "images" / "cam_024.png").convert("RGBA"))
    )
    write_sample(tmp_path / "sample_000000", sample)
    assert_same(read_sample(tmp_path / "sample_000000"), sample)
    six = read_sample(slots.folder)
    assert six.images.shape == (6, 512, 512, 4) and six.agreement.hull_iou > 0.95
