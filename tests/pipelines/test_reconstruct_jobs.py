"""What is to be done: units and their names, what a killed or changed run leaves; a unit's work, without Ray."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.sequence import Sequenced, SequenceWriter
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.storage import Store
from pipelines.reconstruct import _join, check, foretold
from pipelines.reconstruct_jobs import (
    Unit,
    begin,
    cut_units,
    missing,
    plan_jobs,
    read_records,
    record_name,
    sample_folder,
    sequence_name,
    show_units,
)
from pipelines.reconstruct_settings import ReconstructConfig
from pipelines.reconstruct_work import Reconstructor
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings over two splits, 3 + 4 samples, the second with five views; and an untrained model."""
    folder = tmp_path_factory.mktemp("jobs")
    late = [ring_sample(blob(), number) for number in (1, 2, 0)]
    other = [replace(ring_sample(blob(), n, views=5), capture="zoo", sample_id=f"zoo-{n}") for n in range(4)]
    write_dataset(folder / "data", {"train": [late[0], *other[2:]], "val": [*late[1:], *other[:2]]})
    torch.manual_seed(0)
    model = GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)
    weights = GSLRM(model).state_dict()
    config = {"model": to_plain(model)}
    write_checkpoint(folder / "run" / "checkpoint", kind="gslrm", weights=weights, config=config, metrics={})
    return folder


def settings(workplace: Path, out: Path, **changes: Any) -> ReconstructConfig:
    given: dict[str, Any] = {"outputs": "sequence", "split": "all", "turntable_views": 0} | changes
    return ReconstructConfig(checkpoint=workplace / "run", data=str(workplace / "data"), out=out, **given)


def units_of(config: ReconstructConfig, fingerprint: str = "f") -> list[Unit]:
    return cut_units(config, plan_jobs(config, open_dataset(str(config.data)), fingerprint))


def work(config: ReconstructConfig, units: list[Unit]) -> None:
    worker = Reconstructor(config)
    for unit in units:
        worker.do(unit, read_rows(Store.at(str(config.data)), *unit.place))


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_all_splits_together_are_in_order_of_time(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    jobs = plan_jobs(config, open_dataset(str(config.data)), "f")
    names = [job.sample_id for job in jobs]
    assert names == ["ring-000000", "ring-000001", "ring-000002", "zoo-0", "zoo-1", "zoo-2", "zoo-3"]
    assert [job.index for job in jobs] == list(range(7)) and jobs[1].shard.startswith("split=train")
    store = Store.at(str(config.data))
    for unit in cut_units(config, jobs):
        assert read_rows(store, *unit.place)["sample_id"].to_pylist() == [job.sample_id for job in unit.jobs]
        assert {(job.capture, job.shard) for job in unit.jobs} == {(unit.capture, unit.shard)}


def test_units_have_names_of_what_is_asked(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    names = [unit.name for unit in units_of(config)]
    assert len(set(names)) == len(names) == 5
    # What only changes files beside the sequence, or where things run, changes no name; what is computed does.
    for same in ({"workers": 2}, {"turntable_views": 5}, {"steady": 1.0}, {"videos": ("orbit",)}):
        assert [unit.name for unit in units_of(replace(config, **same))] == names  # type: ignore[arg-type]
    for other in ({"hold_out": "none"}, {"inputs": 2}, {"prune": False}, {"refine": 3}):
        assert not set(names) & {unit.name for unit in units_of(replace(config, **other))}  # type: ignore[arg-type]
    assert not set(names) & {unit.name for unit in units_of(config, "another model")}
    sizes = [len(unit.jobs) for unit in units_of(replace(config, outputs="full", batch_size=2))]
    assert max(sizes) == 2 and sum(sizes) == 7


def test_sequences_hold_every_frame_with_what_takes_it_to_millimetres(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path, batch_size=3)
    units = units_of(config)
    begin(tmp_path, units)
    work(config, units)
    _join(config, units)
    ring, zoo = (Sequenced.open(str(tmp_path / sequence_name(name))) for name in ("ring", "zoo"))
    assert [moment.frame for moment in ring.index] == [0, 1, 2] and len(zoo) == 4
    assert (ring.frame(1).centre_mm == [50, 60, 20]).all() and ring.frame(1).scale == 0.01
    records = read_records(tmp_path, units)
    assert [record["sample_id"] for record in records] == [m.sample_id for found in (ring, zoo) for m in found.index]
    assert [record["gaussians"] for record in records[:3]] == [len(frame.gaussians) for frame in ring]
    assert [len(record["inputs"]) for record in records] == [3, 3, 3, 4, 4, 4, 4]
    assert all(record["scores"]["model"]["mask_iou"] is not None for record in records)
    # In batches of one, the same within rounding.
    alone = replace(config, out=tmp_path / "alone", batch_size=1)
    work(alone, units_of(alone))
    for a, b in zip(records, read_records(alone.out, units_of(alone)), strict=True):
        np.testing.assert_allclose(a["centre_mm"], b["centre_mm"], atol=0.1)
        assert a["scores"]["model"]["psnr"] == pytest.approx(b["scores"]["model"]["psnr"], abs=0.05)


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(workplace: Path, tmp_path: Path) -> None:
    whole, stopped = (settings(workplace, tmp_path / name, outputs="full") for name in ("whole", "stopped"))
    for config in (whole, stopped):
        begin(config.out, units_of(config))
    work(whole, missing(whole, units_of(whole)))
    _join(whole, units_of(whole))
    assert not missing(whole, units_of(whole))

    units = units_of(stopped)
    work(stopped, missing(stopped, units)[:3])
    # A unit that a kill cut short: its folder is there, its piece and its records are not, and half a folder is.
    work(stopped, [replace(unit, whole=False) for unit in missing(stopped, units)[:1]])
    (stopped.out / "samples" / f".{units[4].jobs[0].sample_id}.partial").mkdir()
    left = missing(stopped, units)
    assert [unit.name for unit in left] == [unit.name for unit in units[3:]] and not left[0].folders
    work(stopped, left)
    _join(stopped, units)
    assert files(stopped.out) == files(whole.out)

    # A folder that is lost later comes back alone; the sequence stays as it is. A lost record brings all of it back.
    lost = sample_folder(whole.out, units[2].jobs[0].sample_id)
    (lost / "sample.json").unlink()
    (again,) = missing(whole, units)
    assert again.folders == {units[2].jobs[0].sample_id} and not again.whole
    work(whole, [again])
    (whole.out / record_name(units[0])).unlink()
    assert len(missing(whole, units)) == 3
    work(whole, missing(whole, units))
    _join(whole, units)
    assert files(whole.out) == files(stopped.out)


def test_another_request_takes_the_place_of_the_first(workplace: Path, tmp_path: Path) -> None:
    first = settings(workplace, tmp_path)
    begin(tmp_path, units_of(first))
    work(first, units_of(first))
    _join(first, units_of(first))
    begin(tmp_path, units_of(first))
    assert not missing(first, units_of(first))
    second = replace(first, hold_out="none", split="train")
    begin(tmp_path, units_of(second))
    assert not list(tmp_path.glob("*.sequence.parquet")) and not list(tmp_path.glob("records/*"))
    assert len(missing(second, units_of(second))) == len(units_of(second)) == 2


def test_samples_of_the_report_get_folders(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    jobs = plan_jobs(config, open_dataset(str(config.data)), "f")
    units = show_units(config, [jobs[1], jobs[5]])
    work(config, units)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"ring-000001", "zoo-2"}
    assert not (tmp_path / "records").exists() and not show_units(config, [jobs[1]])


def test_the_hull_needs_no_model(workplace: Path, tmp_path: Path) -> None:
    config = replace(settings(workplace, tmp_path, init="hull", refine=2, split="val"), checkpoint=None)
    units = units_of(config, "")
    work(config, units[:1])
    (record,) = json.loads((tmp_path / record_name(units[0])).read_text())["records"][:1]
    assert record["gaussians"] > 20 and record["scores"]["model"]["mask_iou"] > 0.5
    with pytest.raises(InputError, match="needs --checkpoint"):
        replace(config, init="model")


def test_what_does_not_fit_is_refused_in_one_line(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    dataset = open_dataset(str(config.data))
    jobs = plan_jobs(config, dataset, "f")
    assert check(config, dataset, jobs) == 32
    # The second recording has five views, so that its cameras have other names than the first's.
    camera = next(name for name in jobs[-1].cameras if name not in jobs[0].cameras)
    with pytest.raises(InputError, match=f"--hold-out {camera}: no such camera in sample ring-000000"):
        check(replace(config, hold_out=camera), dataset, jobs)
    for size, kind, message in (
        (64, "gslrm", r"has images of 32 px, .* was trained on 64 px; preprocess"),
        (32, "mvdiffusion", "kind 'mvdiffusion', not gslrm"),
        (24, "gslrm", "whole factor"),
    ):
        model = GSLRMConfig(image_size=size, width=32, head_width=32, layers=1)
        run, weights = tmp_path / f"{kind}{size}", GSLRM(model).state_dict()
        plain = {"model": to_plain(model)}
        write_checkpoint(run / "checkpoint", kind=kind, weights=weights, config=plain, metrics={})
        with pytest.raises(InputError, match=message) as caught:
            check(replace(config, checkpoint=run), dataset, jobs)
        assert "\n" not in str(caught.value)


def test_a_damaged_image_is_named_with_its_sample(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    unit = units_of(config)[0]
    table = read_rows(Store.at(str(config.data)), *unit.place)
    rows = table.to_pylist()
    rows[0]["images"][1]["bytes"] = rows[0]["images"][1]["bytes"][:50]
    with pytest.raises(InputError, match=r"row \d+ \(sample ring-000000\): an image of the dataset is damaged"):
        Reconstructor(config).do(unit, type(table).from_pylist(rows, table.schema))
    assert not SequenceWriter(Store.at(tmp_path), sequence_name("ring")).written()


def test_what_will_be_written_is_said_before(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path, videos=("orbit",))
    jobs = plan_jobs(config, open_dataset(str(config.data)), "f")
    lines = foretold(config, jobs, cut_units(config, jobs), 32)
    assert "7 samples of 2 recordings at 32 px" in lines[0] and "GB (" in lines[0]
    assert "--hold-out CAMERA or none" in lines[-1]
    assert foretold(replace(config, hold_out="none"), jobs, [], 32) == ["reconstruct: 7 of 7 samples are done already"]
