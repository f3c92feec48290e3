"""Bad datasets and FaceLift folders: `inspect`, `export-facelift` and `import-facelift` say what is wrong with them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.facelift_folders import write_sample
from tests.refusals import refusal, rejections
from tests.synthetic import blob, ring_sample, write_dataset

Spoil = Callable[[Path], object]
SHARD = "split=train/part.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [ring_sample(blob(), number, size=24) for number in range(5)]
    return write_dataset(tmp_path_factory.mktemp("sound") / "rings", {"train": samples[:4], "val": samples[4:]})


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "rings"))


def manifest(**changes: Any) -> Spoil:
    """Change entries of dataset.json; None takes one out."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text()) | changes
        (folder / "dataset.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return spoil


def rewritten(change: Callable[[Any], Any]) -> Spoil:
    """The training shard as another program might write it."""
    return lambda folder: pq.write_table(change(pq.ParquetFile(folder / SHARD).read()), folder / SHARD)


def corrupted(where: float) -> Spoil:
    """One wrong bit in the shard, at a share of its length."""

    def spoil(folder: Path) -> None:
        data = bytearray((folder / SHARD).read_bytes())
        data[int(where * len(data))] ^= 8
        (folder / SHARD).write_bytes(data)

    return spoil


DATASETS: dict[str, tuple[Spoil, str]] = {
    "a newer schema": (manifest(schema_version=99), "dataset.json: schema version 99, this software .*; update the"),
    "an older schema": (manifest(schema_version=0), "dataset.json: schema version 0, .*; preprocess the capture again"),
    "a manifest that is cut": (lambda d: (d / "dataset.json").write_text("{"), "dataset.json: is not JSON"),
    "a manifest that is none": (lambda d: (d / "dataset.json").write_text("[]"), "dataset.json: holds no JSON object"),
    "a manifest without shards": (manifest(shards=None), "dataset.json: has no shards; restore"),
    "a shard that leads elsewhere": (manifest(shards={"split=train/../../x": 3}), "would leave its folder"),
    "a deleted shard": (lambda d: (d / SHARD).unlink(), f"{SHARD} does not exist"),
    "a shard with a corrupted page": (corrupted(0.5), f"{SHARD}: is damaged .*CRC.*; copy it again"),
    "a shard with a corrupted page of cameras": (corrupted(0.3), f"{SHARD}: is damaged"),
    "a shard that is cut short": (
        lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-99]), f"{SHARD}: is damaged .*; copy it again"
    ),
    "a shard of fewer rows": (rewritten(lambda t: t.slice(1)), f"{SHARD}: holds 3 rows, dataset.json says 4 samples"),
    "a shard without cameras": (rewritten(lambda t: t.drop_columns(["w2c"])), f"{SHARD}: has no column w2c"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_a_damaged_dataset_is_refused_in_one_line(name, dataset, tmp_path, capsys):
    spoil, says = DATASETS[name]
    spoil(dataset)
    line = refusal(capsys, "inspect", dataset, "--out", tmp_path / "page")
    assert re.search(says, line), line
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("name", ["a deleted shard", "a shard with a corrupted page", "a shard of fewer rows"])
def test_what_a_worker_cannot_read_is_one_line_too(name, dataset, tmp_path, capsys, ray_session):
    spoil, says = DATASETS[name]
    spoil(dataset)
    line = refusal(capsys, "export-facelift --data", dataset, "--out", tmp_path / "out")
    assert re.search(says, line), line
    assert not (tmp_path / "out" / "export.json").exists()


def test_what_is_no_dataset_is_refused(dataset, tmp_path, capsys):
    (dataset / "dataset.json").unlink()
    out = str(tmp_path / "out")
    assert "give its command again to finish" in refusal(capsys, "inspect", dataset, "--out", out)
    assert "not a complete dataset" in refusal(capsys, "export-facelift --data", dataset, "--out", out)
    assert "cannot open" in refusal(capsys, "export-facelift --data nowhere://lab/rings --out", out)
    assert not Path(out).exists()


def test_a_report_cannot_take_a_files_place(dataset, capsys):
    line = refusal(capsys, "inspect", dataset, "--out", dataset / "dataset.json")
    assert "dataset.json: is a file; give --out a folder" in line


def test_an_export_leaves_other_things_alone(dataset, tmp_path, capsys):
    before = sorted(dataset.rglob("*"))
    assert "choose another --out" in refusal(capsys, "export-facelift --data", dataset, "--out", dataset)
    assert sorted(dataset.rglob("*")) == before
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "export.json").write_text("{")
    line = refusal(capsys, "export-facelift --data", dataset, "--out", tmp_path / "done")
    assert "export.json: is not JSON" in line


def edited(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the sample folder's JSON."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / FILE_NAME).read_text())
        change(content)
        (folder / FILE_NAME).write_text(json.dumps(content))

    return spoil


def mirrored(content: dict[str, Any]) -> None:
    content["frames"][1]["w2c"][2] = [-value for value in content["frames"][1]["w2c"][2]]


def half_written(folder: Path) -> None:
    image = folder / "images/cam_002.png"
    image.write_bytes(image.read_bytes()[:-40])


FOLDERS: dict[str, tuple[Spoil, str]] = {
    "a path that escapes": (
        edited(lambda c: c["frames"][0].update(file_path="../../x.png")), "file_path '../../x.png': .*would leave its"
    ),
    "an absolute path": (edited(lambda c: c["frames"][0].update(file_path="/etc/passwd")), "would leave its folder"),
    "an id that escapes": (edited(lambda c: c["mouse_facelift"].update(sample_id="../x")), "'../x' would leave"),
    "a missing image": (lambda s: (s / "images/cam_001.png").unlink(), "cam_001.png: cannot be read .*; restore it"),
    "an image that is cut": (half_written, "cam_002.png: is not a whole image"),
    "an image that is not square": (
        lambda s: cv2.imwrite(str(s / "images/cam_001.png"), np.zeros((24, 20, 4), np.uint8)), "is 20x24, .*are square"
    ),
    "bad JSON": (lambda s: (s / FILE_NAME).write_text("{no"), f"{FILE_NAME}: is not JSON"),
    "JSON without end": (lambda s: (s / FILE_NAME).write_text("[" * 99_999), f"{FILE_NAME}: is not JSON"),
    "JSON of something else": (lambda s: (s / FILE_NAME).write_text("[]"), "has no list 'frames' of cameras"),
    "a mirrored camera": (edited(mirrored), r"frame 1: camera cam_001: R is not a rotation \(det -1.0000"),
    "nan in a camera": (
        edited(lambda c: c["frames"][1]["w2c"][0].__setitem__(0, float("nan"))), "R holds values that are not finite"
    ),
    "a size without bounds": (edited(lambda c: c["frames"][0].update(w=float("inf"))), "frame 0 is not a camera"),
}  # fmt: skip


def test_each_bad_folder_is_counted_with_its_reason_and_the_good_one_is_written(tmp_path, capsys, ray_session):
    for number, (spoil, _) in enumerate(FOLDERS.values()):
        write_sample(tmp_path / f"set/sample_{number:06d}", ring_sample(blob(), number, size=24))
        spoil(tmp_path / f"set/sample_{number:06d}")
    write_sample(tmp_path / "set/sample_000099", ring_sample(blob(), 99, size=24))
    command = "import-facelift --split.val-fraction 0 --folder"
    line = refusal(capsys, command, tmp_path / "set", "--out", tmp_path / "out")
    assert re.match(f"{len(FOLDERS)} sample folders could not be read: .*sample_0000", line), line
    found = rejections(tmp_path / "out")
    for name, (_, says) in FOLDERS.items():
        assert sum(bool(re.search(says, reason)) for reason in found) >= 1, name
    assert open_dataset(str(tmp_path / "out")).manifest["counts"]["train"] == 1
    assert (tmp_path / "out" / "contact_sheet.png").exists()


LISTS = {
    "../other": r"list.txt, line 1: '../other' leaves the list's folder",
    "/etc": "list.txt, line 1: no folder '/etc' below",
    "sample_000009": "list.txt, line 1: no folder 'sample_000009' below .*; put the list beside",
    "": "list.txt: no FaceLift samples .*; check the path",
}


@pytest.mark.parametrize("line", LISTS)
def test_a_bad_list_is_refused_in_one_line(line, tmp_path, capsys):
    write_sample(tmp_path / "set/sample_000000", ring_sample(blob(), size=24))
    (tmp_path / "set/list.txt").write_text(f"{line}\n")
    out = tmp_path / "out"
    said = refusal(capsys, "import-facelift --folder", tmp_path / "set/list.txt", "--out", out)
    assert re.search(LISTS[line], said), said
    assert not out.exists()


def test_two_folders_of_one_sample_and_another_dataset_in_the_way(dataset, tmp_path, capsys):
    for name in ("a", "b"):
        write_sample(tmp_path / f"set/{name}", ring_sample(blob(), size=24))
    line = refusal(capsys, "import-facelift --folder", tmp_path / "set", "--out", tmp_path / "out")
    assert "would both be sample ring-000000; rename the folder" in line
    line = refusal(capsys, "import-facelift --folder", tmp_path / "set/a", "--out", dataset)
    assert "holds a dataset made with other settings or inputs; choose another --out" in line
