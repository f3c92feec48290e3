"""The sequence file: stated errors, random access, resumption, damage."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.sequence import Sequenced, SequenceWriter, shift_sequence
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.storage import Store
from tests.synthetic import blob

NAME = "film.sequence.parquet"


def moment(number: int, count: int = 40, capture: str = "box") -> SequenceFrame:
    gaussians = blob(number, count)
    spread = torch.exp(torch.randn(count, 3, generator=torch.Generator().manual_seed(number)))
    gaussians = replace(gaussians, scales=gaussians.scales * spread, colours=gaussians.colours * 1.7)
    index = FrameIndex(f"{capture}-{number:06d}", capture, number, number / 30, number // 4)
    return SequenceFrame(index, np.array([1.0 + number, 2.0, 3.0]), 0.0123, gaussians)


def write(folder: Path, units: dict[str, list[SequenceFrame]]) -> Path:
    writer = SequenceWriter(Store.at(folder), NAME)
    for unit, frames in units.items():
        writer.write(unit, frames)
    assert writer.finish(list(units)) == sum(map(len, units.values()))
    return folder / NAME


def test_frames_come_back_within_the_stated_errors(tmp_path: Path) -> None:
    frames = [moment(0), moment(1, 7), moment(2, 1)]
    found = Sequenced.open(str(write(tmp_path, {"a": frames[:2], "b": frames[2:]})))
    for number in (2, 0, 1):
        truth, back = frames[number], found.frame(number)
        a, b = truth.gaussians, back.gaussians
        assert len(a) == len(b) and vars(back.index) == vars(truth.index)
        assert (back.centre_mm == truth.centre_mm).all() and back.scale == truth.scale
        box = a.means.amax(0) - a.means.amin(0)
        assert ((a.means - b.means).abs() <= box / 65535 / 2 + 1e-6).all()
        logs = a.scales.log()
        assert ((logs - b.scales.log()).abs() <= (logs.max() - logs.min()) / 65535 / 2 + 1e-5).all()
        assert ((a.colours - b.colours).abs() <= max(1.0, a.colours.max().item()) / 255 / 2 + 1e-6).all()
        assert ((a.opacities - b.opacities).abs() <= 1 / 255 / 2 + 1e-6).all()
        assert torch.allclose(back.in_mm().means, b.means / 0.0123 + torch.tensor([1.0 + number, 2, 3]), atol=1e-4)


def test_a_frame_without_gaussians_and_one_that_is_flat(tmp_path: Path) -> None:
    empty = replace(moment(0), gaussians=Gaussians.empty())
    dot = replace(moment(1), gaussians=moment(1).gaussians.select(torch.tensor([3])))
    found = Sequenced.open(str(write(tmp_path, {"a": [empty, dot]})))
    assert len(found.frame(0).gaussians) == 0
    assert torch.allclose(found.frame(1).gaussians.means, dot.gaussians.means)


def test_the_index_is_read_without_the_frames(tmp_path: Path) -> None:
    frames = [moment(number) for number in range(6)]
    found = Sequenced.open(str(write(tmp_path, {"a": frames[:4], "nothing": [], "b": frames[4:]})))
    assert [vars(index) for index in found.index] == [vars(frame.index) for frame in frames]
    assert [frame.index.frame for frame in found] == list(range(6))


def test_a_resumed_run_gives_the_same_bytes(tmp_path: Path) -> None:
    units = {"a": [moment(0), moment(1)], "b": [moment(2)], "c": [moment(3)]}
    once = write(tmp_path / "once", units)
    writer = SequenceWriter(Store.at(tmp_path / "twice"), NAME)
    for unit in ("c", "a"):
        writer.write(unit, units[unit])
    again = SequenceWriter(Store.at(tmp_path / "twice"), NAME)
    assert again.written() == {"a", "c"}
    with pytest.raises(InputError, match="b.parquet does not exist"):
        again.finish(["a", "b", "c"])
    assert not (tmp_path / "twice" / NAME).exists()
    again.write("b", units["b"])
    assert again.finish(list(units)) == again.finish(list(units)) == 4
    assert (tmp_path / "twice" / NAME).read_bytes() == once.read_bytes()
    assert [path.name for path in (tmp_path / "twice").iterdir()] == [NAME]


def test_it_is_small_and_plain_parquet(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": [moment(0, 5000)]})
    assert path.stat().st_size < 5000 * 20 + 10_000
    assert pq.read_table(path, columns=["frame", "count"]).to_pylist() == [{"frame": 0, "count": 5000}]


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    writer = SequenceWriter(Store.at(tmp_path), NAME)
    good = moment(7)
    means = good.gaussians.means.clone()
    means[3, 1] = torch.nan
    with pytest.raises(InputError, match="box, frame 7: 1 of 40 Gaussians are not finite"):
        writer.write("a", [replace(good, gaussians=replace(good.gaussians, means=means))])
    with pytest.raises(InputError, match="frame 7: .* no similarity"):
        writer.write("a", [replace(good, scale=0.0)])
    assert writer.written() == set()
    writer.write("a", [good])
    with pytest.raises(InputError, match="box-000007 again"):
        writer.finish(["a", "a"])
    with pytest.raises(InputError, match="ends in .sequence.parquet"):
        SequenceWriter(Store.at(tmp_path), "film.parquet")


def test_damage_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": [moment(0, 3000), moment(1)]})
    whole = path.read_bytes()
    for damaged, message in (
        (whole[: len(whole) // 2], "is damaged"),
        (b"", "is damaged"),
        (b"PAR1" + whole[::-1], "is damaged"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{NAME}: {message}"):
            Sequenced.open(str(path))
    flipped = bytearray(whole)
    flipped[20_000] ^= 255
    path.write_bytes(flipped)
    opened = Sequenced.open(str(path))
    with pytest.raises(InputError, match=f"{NAME}: frame 0 is damaged"):
        opened.frame(0)
    assert opened.frame(1).index.frame == 1
    with pytest.raises(InputError, match="does not exist"):
        Sequenced.open(str(tmp_path / "absent.sequence.parquet"))
    Store.at(tmp_path).write_table("other.parquet", pq.read_table(tmp_path / NAME, columns=["frame"]).slice(1))
    with pytest.raises(InputError, match="is not a sequence"):
        Sequenced.open(str(tmp_path / "other.parquet"))


def test_on_an_object_store(s3_server: str) -> None:
    store = Store.at(f"s3://lab/films{s3_server}")
    writer = SequenceWriter(store, NAME)
    writer.write("a", [moment(0), moment(1)])
    assert writer.written() == {"a"} and writer.finish(["a"]) == 2
    assert Sequenced.open(store.path(NAME)).frame(1).index.frame == 1


def test_frames_are_shifted_and_brought_back_without_touching_their_gaussians(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": [moment(0), moment(1)]})
    before, store = path.read_bytes(), Store.at(tmp_path)
    names = [index.sample_id for index in Sequenced.open(str(path)).index]
    assert shift_sequence(store, NAME, {names[1]: np.array([1.0, 2.0, 3.0])})
    moved = Sequenced.open(str(path))
    assert (moved.frame(0).shift_mm == 0).all() and (moved.frame(1).shift_mm == [1, 2, 3]).all()
    assert (moved.frame(1).centre_mm == moment(1).centre_mm + [1, 2, 3]).all()
    assert moved.row(1)["means"] == pq.read_table(io.BytesIO(before))["means"][1].as_py()
    # Another shift replaces the first; the same one again changes nothing; none brings the file back byte for byte.
    assert shift_sequence(store, NAME, {names[1]: np.array([0.0, 0.0, 5.0])})
    assert not shift_sequence(store, NAME, {names[1]: np.array([0.0, 0.0, 5.0])})
    assert (Sequenced.open(str(path)).frame(1).centre_mm == moment(1).centre_mm + [0, 0, 5]).all()
    assert shift_sequence(store, NAME, {}) and path.read_bytes() == before
