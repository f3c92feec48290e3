"""`export-facelift` and `import-facelift` through a real local Ray: there and back again without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.facelift_folders import write_sample
from mouse_facelift.samples.schema import Sample
from pipelines.export_facelift import ExportConfig, export_facelift
from pipelines.import_facelift import ImportConfig, import_facelift, main
from tests.facelift_loader import load_list
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [ring_sample(blob(), number) for number in range(7)]


@pytest.fixture(scope="module")
def dataset(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("datasets") / "ring", {"train": samples[:5], "val": samples[5:]})


@pytest.fixture(scope="module")
def folders(dataset: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    out = tmp_path_factory.mktemp("folders") / "ring"
    export_facelift(ExportConfig(data=str(dataset), out=str(out)))
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_facelift_reads_what_was_exported(folders: Path, samples: list[Sample], monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert [len(load_list(folders / f"data_{split}.txt")) for split in ("train", "val")] == [5, 2]
    for scene, sample in zip(load_list(folders / "data_train.txt"), samples, strict=False):
        np.testing.assert_array_equal(scene["image"][:, 3], np.float32(sample.images[..., 3]) / 255)
        np.testing.assert_allclose(scene["c2w"], [c.c2w for c in sample.cameras], atol=1e-6)
    assert (folders / "data_train.txt").read_text().count("\n") == 5


def test_relative_lists_work_from_the_folder(dataset: Path, tmp_path: Path, monkeypatch, ray_session: None) -> None:
    export_facelift(ExportConfig(data=str(dataset), out=str(tmp_path / "out"), paths="relative"))
    monkeypatch.chdir(tmp_path / "out")
    assert Path("data_val.txt").read_text() == "sample_000005\nsample_000006\n"
    assert len(load_list(Path("data_val.txt"))) == 2


def test_there_and_back_again(folders: Path, samples: list[Sample], tmp_path: Path) -> None:
    """The folders moved to another place, as to another machine: pixels, cameras, ids and splits come back."""
    moved = folders.rename(tmp_path / "moved")
    try:
        manifest = import_facelift(ImportConfig(folder=(str(moved),), out=str(tmp_path / "back"), unit_samples=2))
    finally:
        moved.rename(folders)
    assert manifest["counts"] == {"train": 5, "val": 2, "rejected": 0, "gap": 0}
    assert manifest["gate"]["hull_iou"]["q50"] > 0.8
    back = open_dataset(str(tmp_path / "back"))
    for split, expected in (("train", samples[:5]), ("val", samples[5:])):
        for found, sample in zip(back.samples(split), expected, strict=True):
            assert (found.sample_id, found.frame, found.scale) == (sample.sample_id, sample.frame, sample.scale)
            np.testing.assert_array_equal(found.images, sample.images)
            np.testing.assert_array_equal(found.centre_mm, sample.centre_mm)
            for a, b in zip(found.cameras, sample.cameras, strict=True):
                assert a.name == b.name
                np.testing.assert_array_equal(a.w2c, b.w2c.astype(np.float32))
                np.testing.assert_array_equal(a.fxfycxcy, b.fxfycxcy.astype(np.float32))


def test_stopped_runs_go_on_and_complete_ones_do_nothing(
    dataset: Path, folders: Path, tmp_path: Path, monkeypatch, ray_session: None
) -> None:
    out = tmp_path / "out"
    config = ExportConfig(data=str(dataset), out=str(out), paths="relative")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.export_facelift.write_list", die)
    with pytest.raises(KeyboardInterrupt):
        export_facelift(config)
    assert not (out / "data_train.txt").exists()
    (out / "sample_000006" / "opencv_cameras.json").unlink()
    (out / "sample_000006" / "images" / "cam_002.png").write_bytes(b"half")
    kept = (out / "sample_000001" / "opencv_cameras.json").stat().st_mtime_ns
    monkeypatch.undo()
    export_facelift(config)
    assert (out / "sample_000001" / "opencv_cameras.json").stat().st_mtime_ns == kept
    made, whole = files(out), files(folders)
    assert {k: v for k, v in made.items() if "sample_" in k} == {k: v for k, v in whole.items() if "sample_" in k}
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    export_facelift(config)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")} and not (out / "_work").exists()
    with pytest.raises(InputError, match="another dataset or settings"):
        export_facelift(ExportConfig(data=str(dataset), out=str(out), paths="absolute"))

    back = ImportConfig(folder=(str(out),), out=str(tmp_path / "back"), unit_samples=3)
    monkeypatch.setattr("pipelines.import_facelift.finish_dataset", die)
    with pytest.raises(KeyboardInterrupt):
        import_facelift(back)
    shards = sorted((tmp_path / "back").glob("split=*/*.parquet"))
    (tmp_path / "back" / "_work" / "rejected" / shards[0].name).unlink()
    shards[0].unlink()
    kept = shards[-1].stat().st_mtime_ns
    monkeypatch.undo()
    assert import_facelift(back)["counts"]["train"] == 5
    assert shards[-1].stat().st_mtime_ns == kept and import_facelift(back)["counts"]["val"] == 2
    with pytest.raises(InputError, match="other settings"):
        import_facelift(ImportConfig(folder=(str(out),), out=str(tmp_path / "back"), unit_samples=2))


def test_one_broken_folder_is_counted_and_the_rest_is_written(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    for name, data in files(folders).items():
        (broken / name).parent.mkdir(parents=True, exist_ok=True)
        (broken / name).write_bytes(data)
    (broken / "sample_000003" / "images" / "cam_000.png").unlink()
    with pytest.raises(InputError, match=r"1 sample folders could not be read: .*sample_000003/images/cam_000.png"):
        main(["--folder", str(broken / "data_train.txt"), str(broken / "data_val.txt"), "--out", str(tmp_path / "out")])
    assert open_dataset(str(tmp_path / "out")).manifest["counts"] == {"train": 4, "val": 2, "rejected": 1, "gap": 0}
    assert "4 train + 2 val samples, 1 rejected" in capsys.readouterr().out


def test_pictures_without_masks_and_nothing_readable(
    samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str], ray_session: None
) -> None:
    folder = tmp_path / "set" / "sample_000000"
    opaque = samples[0].images.copy()
    opaque[..., 3] = 255
    write_sample(folder, replace(samples[0], images=opaque))
    edited = json.loads((folder / "opencv_cameras.json").read_text())
    del edited["mouse_facelift"]
    (folder / "opencv_cameras.json").write_text(json.dumps(edited))
    assert main(["--folder", str(folder), "--out", str(tmp_path / "out"), "--source", "real"]) == 0
    assert "no masks to measure" in capsys.readouterr().out
    (row,) = open_dataset(str(tmp_path / "out")).samples("train")
    assert (row.mask_source, row.source, row.scale) == ("none", "real", 1.0)
    json.loads((tmp_path / "out" / "dataset.json").read_text(), parse_constant=pytest.fail)  # nan is not JSON.
    (folder / "images" / "cam_000.png").unlink()
    with pytest.raises(InputError, match="1 sample folders could not be read"):
        main(["--folder", str(folder), "--out", str(tmp_path / "nothing")])
    assert open_dataset(str(tmp_path / "nothing")).manifest["counts"]["rejected"] == 1
    with pytest.raises(InputError, match="holds no samples to export"):
        export_facelift(ExportConfig(data=str(tmp_path / "nothing"), out=str(tmp_path / "folders")))


def test_the_published_sample_there_and_back(shared_data: Path, tmp_path: Path, ray_session: None) -> None:
    """Both of FaceLift's layouts; the ring is listed for training and validation and trains only."""
    published = shared_data / "facelift_sample"
    config = ImportConfig(folder=(str(published),), out=str(tmp_path / "data"))
    manifest = import_facelift(config)
    assert manifest["counts"] == {"train": 2, "val": 0, "rejected": 0, "gap": 0}
    assert ["_val.txt, line 1 repeats " in line for line in manifest["splits"]["repeated"]] == [True, True]
    export_facelift(ExportConfig(data=str(tmp_path / "data"), out=str(tmp_path / "out")))
    scenes = load_list(tmp_path / "out" / "data_train.txt")
    originals = load_list_beside(published / "gslrm" / "sample_000", tmp_path)
    assert [len(scene["image"]) for scene in scenes] == [32, 6]
    np.testing.assert_array_equal(scenes[0]["image"], originals["image"])
    np.testing.assert_allclose(scenes[0]["c2w"], originals["c2w"], atol=1e-6)
    sources = [s.source for s in open_dataset(str(tmp_path / "data")).samples("train")]
    assert sources == ["facelift", "facelift, cameras by convention"]
    assert json.loads((tmp_path / "out" / "sample_000000" / "opencv_cameras.json").read_text())["id"] == "sample_000000"


def load_list_beside(folder: Path, scratch: Path) -> dict[str, np.ndarray]:
    """One scene through FaceLift's rules, by its true path."""
    (scratch / "list.txt").write_text(str(folder))
    return load_list(scratch / "list.txt")[0]
