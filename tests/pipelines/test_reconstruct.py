from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mouse_facelift.capture.video import probe
from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.sequence import Sequenced
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.rows import read_rows
from mouse_facelift.storage import Store
from pipelines.export import FilmConfig
from pipelines.reconstruct import ReconstructConfig, Throughput, main, reconstruct
from pipelines.reconstruct_jobs import Unit, plan_jobs, sample_folder
from pipelines.reconstruct_work import Reconstructor, background_of, checkpoint_fingerprint
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of seven held-out samples, and an untrained model."""
    folder = tmp_path_factory.mktemp("reconstruct")
    samples = [ring_sample(blob(number), number) for number in range(8)]
    write_dataset(folder / "data", {"train": samples[:1], "val": samples[1:]})
    write_model(folder / "run", seed=0)
    return folder


def write_model(run: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)
    weights = GSLRM(config).state_dict()
    write_checkpoint(run / "checkpoint", kind="gslrm", weights=weights, config={"model": to_plain(config)}, metrics={})


def settings(workplace: Path, out: Path) -> ReconstructConfig:
    return ReconstructConfig(
        checkpoint=workplace / "run",
        data=str(workplace / "data"),
        out=out,
        max_samples=2,
        turntable_views=2,
        turntable_size=32,
    )


def test_samples_are_thinned_evenly_and_held_out_views_rotate(workplace: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(workplace / "data"))
    config = settings(workplace, tmp_path)
    jobs = plan_jobs(replace(config, max_samples=3), dataset, "fingerprint")
    assert [(job.sample_id, job.index) for job in jobs] == [("ring-000001", 0), ("ring-000003", 1), ("ring-000005", 2)]
    assert len(plan_jobs(replace(config, max_samples=100), dataset, "f")) == 7
    assert len(plan_jobs(replace(config, max_samples=None), dataset, "f")) == 7


def test_requests_differ_in_what_changes_the_result_alone(workplace: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(workplace / "data"))
    config = settings(workplace, tmp_path)

    def request(changed: ReconstructConfig, fingerprint: str = "a") -> dict[str, object]:
        return plan_jobs(changed, dataset, fingerprint)[0].request

    same = request(config)
    assert request(replace(config, out=tmp_path / "elsewhere", workers=3, report_samples=1)) == same
    assert request(config, "b") != same
    for change in (
        {"units": "mm"},
        {"hold_out": "none"},
        {"inputs": 2},
        {"turntable_views": 3},
        {"prune": False},
        {"low_pass": False},
    ):
        assert request(replace(config, **change)) != same  # type: ignore[arg-type]


def test_an_empty_split_is_named_with_what_there_is(workplace: Path, tmp_path: Path) -> None:
    config = replace(settings(workplace, tmp_path), split="test")
    with pytest.raises(InputError, match=r"split 'test' holds no samples \(train 1, val 7"):
        plan_jobs(config, open_dataset(str(config.data)), "f")


@pytest.mark.parametrize("wrong", [{"max_samples": 0}, {"inputs": 0}, {"workers": 0}, {"turntable_size": 33}])
def test_settings_that_mean_nothing_are_refused(workplace: Path, tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        replace(settings(workplace, tmp_path), **wrong)  # type: ignore[arg-type]


def test_what_cannot_work_stops_before_any_work(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path / "out")
    with pytest.raises(InputError, match="nowhere"):
        reconstruct(replace(config, checkpoint=workplace / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        reconstruct(replace(config, data=str(workplace / "nowhere")))
    with pytest.raises(InputError, match="--hold-out left: no such camera"):
        reconstruct(replace(config, hold_out="left"))
    with pytest.raises(InputError, match="--inputs 9"):
        reconstruct(replace(config, inputs=9))
    assert not (tmp_path / "out").exists()


def test_fingerprints_follow_the_weights(workplace: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "same", seed=0)
    write_model(tmp_path / "other", seed=1)
    mine = checkpoint_fingerprint(workplace / "run")
    assert checkpoint_fingerprint(tmp_path / "same") == mine == checkpoint_fingerprint(workplace / "run" / "checkpoint")
    assert checkpoint_fingerprint(tmp_path / "other") != mine


def test_background_is_the_trained_one() -> None:
    assert background_of({"views": {"background": "black"}}) == "black"
    assert background_of({}) == "white"


def digests(out: Path) -> dict[str, str]:
    """Every file of a run by its content, but for the note of when and where it ran."""
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes().replace(str(out).encode(), b"OUT")).hexdigest()
        for name, path in found.items()
        if name not in ("run.json", "ray_data.json")
    }


def run_here(config: ReconstructConfig, units: Sequence[Unit], title: str = "reconstruct") -> Throughput:
    """Do the units one after another in this process, without Ray."""
    worker = Reconstructor(config)
    for unit in units:
        worker.do(unit, read_rows(Store.at(str(config.data)), *unit.place))
    return Throughput(len(units), 1.0, 0.0)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_set_of_outputs(
    workplace: Path, tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arguments(out: Path) -> list[str]:
        given = ["--checkpoint", str(workplace / "run"), "--data", str(workplace / "data"), "--out", str(out)]
        return [*given, "--hold-out", "none", "--turntable-views", "0", "--report-samples", "1"]

    command = [sys.executable, "-m", "pipelines.reconstruct", *arguments(tmp_path / "killed")]
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = tmp_path / "killed" / "records"
    while run.poll() is None and len(list(records.glob("*.json"))) < 2:
        time.sleep(0.01)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    done = len(list(records.glob("*.json")))
    assert done >= 2 and not list((tmp_path / "killed").glob("*.sequence.parquet"))
    assert main(arguments(tmp_path / "killed")) == 0
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.reconstruct.run_units", run_here)
        assert main(arguments(tmp_path / "peace")) == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "peace")


@pytest.mark.slow
def test_a_recording_becomes_a_sequence_and_films(
    workplace: Path, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ReconstructConfig(
        checkpoint=workplace / "run",
        data=str(workplace / "data"),
        out=tmp_path,
        split="all",
        hold_out="none",
        outputs="sequence",
        batch_size=3,
        workers=2,
        videos=("orbit", "views"),
        film=FilmConfig(size=64, fps=5.0),
        turntable_views=0,
        report_samples=2,
    )
    reconstruct(config)
    assert "the model waited" in capsys.readouterr().out
    sequence = tmp_path / "ring.sequence.parquet"
    assert [moment.frame for moment in Sequenced.open(str(sequence)).index] == list(range(8))
    films = sorted(path.name for path in (tmp_path / "videos").glob("*.mp4"))
    assert films == ["ring_orbit.mp4", *(f"ring_view_turntable_00{view}.mp4" for view in range(4))]
    orbit, view = (probe(tmp_path / "videos" / name) for name in films[:2])
    assert (orbit.width, orbit.frame_count, view.width, view.height, view.frame_count) == (64, 8, 128, 64, 8)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<video") == 5 and "videos/ring_orbit.mp4" in page and "Jitter" in page
    assert len(list((tmp_path / "samples").iterdir())) == 2
    before, made = sequence.read_bytes(), (tmp_path / "videos" / films[0]).stat().st_mtime_ns
    reconstruct(config)
    assert (tmp_path / "videos" / films[0]).stat().st_mtime_ns == made

    # Steadying later moves the frames, makes the films anew and computes nothing else; without it all is as it was.
    reconstruct(replace(config, steady=0.2))
    recordings = json.loads((tmp_path / "metrics.json").read_text())["recordings"]["ring"]
    assert recordings["jitter_after"] < recordings["jitter_before"] and recordings["mean_shift"] > 0
    assert sequence.read_bytes() != before and (tmp_path / "videos" / films[0]).stat().st_mtime_ns > made
    reconstruct(replace(config, videos=()))
    assert sequence.read_bytes() == before
    assert "8 of 8 samples are done already" in capsys.readouterr().out


@pytest.mark.slow
def test_from_command_line_to_report_and_again(
    workplace: Path, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(workplace / "run"), "--data", str(workplace / "data"), "--out", str(out)]
    arguments += ["--turntable-views", "2", "--turntable-size", "32", "--max-samples", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "foreground PSNR" in printed and "next:" in printed
    folders = sorted((out / "samples").iterdir())
    assert [folder.name for folder in folders] == ["ring-000001", "ring-000004"]
    metrics = json.loads((out / "metrics.json").read_text())
    records = metrics["per_sample"]
    assert [record["held_out"] for record in records] == ["turntable_000", "turntable_001"]
    mean = sum(record["scores"]["model"]["psnr"] for record in records) / 2
    assert metrics["mean"]["model"]["psnr"] == pytest.approx(mean)
    assert "ring-000004" in (out / "report.html").read_text(encoding="utf-8")

    # What is finished stays as it is; what is missing, and only that, is made again and comes out the same.
    kept, lost = (sample_folder(out, folder.name) for folder in folders)
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    gaussians = (lost / "gaussians.ply").read_bytes()
    (lost / "sample.json").unlink()
    assert main(arguments) == 0
    assert "1 of 2 samples are done already" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert (lost / "gaussians.ply").read_bytes() == gaussians
    assert json.loads((out / "metrics.json").read_text()) == metrics
