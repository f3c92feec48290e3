"""What other commands made is recognised and read, in either unit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.gaussians.sequence import SequenceWriter
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.results import open_result
from mouse_facelift.storage import Store
from tests.synthetic import blob, ring_sample, write_dataset

CENTRE = np.array([10.0, 20.0, 30.0])


def write_sequence(folder: Path) -> Path:
    writer = SequenceWriter(Store.at(folder), "film.sequence.parquet")
    index = [FrameIndex(f"f-{i}", "f", i, i / 10, 0) for i in range(3)]
    writer.write("all", [SequenceFrame(i, CENTRE, 0.01, blob(i.frame)) for i in index])
    writer.finish(["all"])
    return folder / writer.name


def write_samples(folder: Path, units: str = "normalised") -> Path:
    for name in ("b", "a"):
        gaussians = blob(ord(name))
        stored = gaussians.restored(0.01, torch.from_numpy(CENTRE)) if units == "mm" else gaussians
        write_ply(folder / "samples" / name / "gaussians.ply", stored)
        record = {"centre_mm": CENTRE.tolist(), "scale": 0.01, "gaussians_ply_units": units}
        (folder / "samples" / name / "similarity.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("stored", ["normalised", "mm"])
def test_reconstructed_samples_come_in_either_unit(tmp_path: Path, stored: str) -> None:
    folder = write_samples(tmp_path, stored)
    result = open_result(str(folder))
    assert list(result.labels) == ["a", "b"] and result.gaussians is not None and result.sample is None
    assert torch.allclose(result.gaussians(1).means, blob(ord("b")).means, atol=1e-5)
    in_mm = open_result(str(folder), "mm").gaussians
    assert in_mm is not None
    truth = blob(ord("a")).restored(0.01, torch.from_numpy(CENTRE))
    assert torch.allclose(in_mm(0).means, truth.means, atol=1e-3)
    assert torch.allclose(in_mm(0).scales, truth.scales, rtol=1e-4)
    single = open_result(str(folder / "samples" / "a"))
    assert list(single.labels) == ["gaussians.ply"]


def test_a_sequence_is_found_by_its_folder_too(tmp_path: Path) -> None:
    path = write_sequence(tmp_path)
    for location in (str(path), str(tmp_path)):
        result = open_result(location)
        assert list(result.labels) == ["f-0", "f-1", "f-2"] and list(result.times) == [0.0, 0.1, 0.2]
    gaussians = open_result(str(path), "mm").gaussians
    assert gaussians is not None
    truth = blob(2).restored(0.01, torch.from_numpy(CENTRE)).means
    assert torch.allclose(gaussians(2).means, truth, atol=0.01)


def test_a_dataset_has_cameras_and_no_gaussians(tmp_path: Path) -> None:
    samples = [ring_sample(blob(), number, size=16) for number in range(3)]
    result = open_result(str(write_dataset(tmp_path / "d", {"train": samples[:2], "val": samples[2:]})))
    assert list(result.labels) == ["ring-000000", "ring-000001", "ring-000002"] and result.gaussians is None
    assert list(result.times) == [0.0, 0.1, 0.2] and result.sample is not None
    assert result.sample(2).sample_id == "ring-000002" and result.sample(0).sample_id == "ring-000000"


def test_moments_are_found_by_name_and_by_position(tmp_path: Path) -> None:
    result = open_result(str(write_sequence(tmp_path)))
    assert [result.find(name) for name in ("f-1", "0", "2", "-1")] == [1, 0, 2, 2]
    for absent in ("f-9", "3", "-4", "x"):
        with pytest.raises(InputError, match=f"has no moment {absent}; .* 0 to 2"):
            result.find(absent)


def test_what_is_none_of_these_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_result(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="is no .ply"):
        open_result(str(tmp_path))
    write_samples(tmp_path)
    (tmp_path / "samples" / "a" / "similarity.json").write_text("{}")
    gaussians = open_result(str(tmp_path)).gaussians
    assert gaussians is not None
    with pytest.raises(InputError, match="similarity.json: is not the similarity"):
        gaussians(0)
