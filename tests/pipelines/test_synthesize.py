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
from typing import Any

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.photos.synthesis import SynthesisGate
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.storage import Store
from pipelines.synthesize import SynthesisUnit, SynthesizeConfig, Synthesizer, main, plan_units, synthesize
from pipelines.units_of_work import WORK
from tests.generators import REFERENCES, write_generator, write_gslrm
from tests.synthetic import blob, ring_sample, write_dataset

SAMPLES = [ring_sample(blob(seed), seed, views=6, size=32) for seed in range(7)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesize")
    data = write_dataset(folder / "data", {"train": SAMPLES[:5], "val": SAMPLES[5:]})
    write_generator(folder / "generator", data)
    write_gslrm(folder / "gslrm")
    return folder


def settings(place: Path, out: Path, **changes: Any) -> SynthesizeConfig:
    """Random weights make nothing that a gate would keep: it measures and keeps everything."""
    config = SynthesizeConfig(
        data=str(place / "data"),
        checkpoint=place / "generator",
        out=str(out),
        references=("turntable_000",),
        unit_samples=1,
        sampling=SamplingConfig(steps=2, guidance=1.0),
        gate=SynthesisGate(GateConfig(0.0, 0.0, 1e9, 1e9), 0.0, 0.0, 1e9),
    )
    return replace(config, **changes)


def digests(out: Path) -> dict[str, str]:
    """Every file of a dataset that its content decides."""
    files = [*out.glob("split=*/*"), out / "rejected.parquet", out / "dataset.json"]
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_units_stay_within_shards_and_splits(place: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(place / "data"))
    units = plan_units(settings(place, tmp_path, unit_samples=2), dataset)
    assert [(unit.split, unit.rows) for unit in units] == [
        ("train", (0, 1)),
        ("train", (2, 3)),
        ("train", (4,)),
        ("val", (0, 1)),
    ]
    assert len({unit.shard for unit in units}) == len({unit.marker for unit in units}) == 4
    thinned = plan_units(settings(place, tmp_path, unit_samples=2, max_samples=2), dataset)
    assert [unit.rows for unit in thinned] == [(0, 2), (0, 1)]


def test_a_unit_is_the_same_bytes_whoever_makes_it(place: Path, tmp_path: Path) -> None:
    from mouse_facelift.photos.options import PhotoOptions
    from mouse_facelift.photos.preparing import load_generator

    generator = load_generator(place / "generator", PhotoOptions())
    told = {"rig": generator.rig.plain(), "fingerprint": generator.fingerprint}
    found = []
    for name, order in (("a", (0, 6)), ("b", (6, 0))):
        config = settings(place, tmp_path / name)
        units = plan_units(config, open_dataset(config.data))
        worker = Synthesizer(config, units, told, 1)
        for item in order:
            assert worker({"item": item}) == {"count": 1, "rejected": 0, "refused": ""}
        store = Store.at(config.out)
        found.append([(name, store.read(name)) for name in store.list()])
    assert found[0] == found[1] and len(found[0]) == 4
    # A sample of validation gives samples of validation.
    assert [name for name, _ in found[0] if name.startswith("split=val")] == [units[6].shard]
    config = settings(place, tmp_path / "c", references=("nobody",))
    answer = Synthesizer(config, units, told, 1)({"item": 0})
    assert "none of the reference cameras nobody" in answer["refused"]


def test_what_cannot_work_stops_before_any_work(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for changes, words in (
        ({"checkpoint": place / "gslrm"}, "kind 'gslrm', not mvdiffusion"),
        ({"data": str(place / "nowhere")}, "nowhere"),
        ({"references": ("left",)}, "none of the reference cameras left; choose --references"),
    ):
        with pytest.raises(InputError, match=words):
            synthesize(settings(place, out, **changes))
    assert not out.exists()
    with pytest.raises(InputError, match="--variants 0"):
        settings(place, out, variants=0)


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_bytes(
    place: Path,
    tmp_path: Path,
    ray_address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.synthesize._run", make_here)
        manifest = synthesize(settings(place, tmp_path / "peace"))
    assert manifest["counts"] == {"train": 5, "val": 2, "rejected": 0, "gap": 0}
    dataset = open_dataset(str(tmp_path / "peace"))
    assert {sample.frame for sample in dataset.samples("val")} == {5, 6}
    assert {sample.source for sample in dataset.samples("train")} != {"rendered"}

    words = ["--data", str(place / "data"), "--checkpoint", str(place / "generator"), "--out", str(tmp_path / "war")]
    words += ["--references", "turntable_000", "--unit-samples", "1", "--sampling.steps", "2"]
    words += ["--sampling.guidance", "1", "--gate.min-reference-iou", "0", "--gate.min-sharpness", "0"]
    words += ["--gate.max-sharpness", "1e9", "--gate.geometry.min-mask-fraction", "0"]
    words += ["--gate.geometry.min-hull-iou", "0", "--gate.geometry.max-epipolar", "1e9"]
    words += ["--gate.geometry.max-truncation", "1e9"]
    kill_after_first_unit([sys.executable, "-m", "pipelines.synthesize", *words], tmp_path / "war", ray_address)
    assert not (tmp_path / "war" / "dataset.json").exists()
    with pytest.raises(InputError, match="unfinished run with other settings"):
        synthesize(settings(place, tmp_path / "war", seed=1))
    # What a death in mid-write leaves: a shard without its marker.
    marker = sorted((tmp_path / "war" / WORK / "rejected").glob("*.parquet"))[0]
    marker.unlink()
    assert main(words) == 0
    assert "wrote" in capsys.readouterr().out
    assert digests(tmp_path / "war") == digests(tmp_path / "peace")
    # Complete: again it does nothing, and other settings are refused.
    assert json.dumps(synthesize(settings(place, tmp_path / "war"))) == json.dumps(manifest)
    with pytest.raises(InputError, match="other settings or inputs"):
        synthesize(settings(place, tmp_path / "war", references=REFERENCES))


def make_here(config: SynthesizeConfig, store: Store, units: Sequence[SynthesisUnit], told: dict[str, Any]) -> None:
    """Make all units one after another in this process, without Ray."""
    worker = Synthesizer(config, units, told, torch.get_num_threads())
    for item in range(len(units)):
        assert not worker({"item": item})["refused"]


def kill_after_first_unit(command: list[str], out: Path, ray_address: str) -> None:
    """Start a run and kill it as soon as something is finished."""
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list((out / WORK / "rejected").glob("*.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline, "nothing was finished in 240 s"
        time.sleep(0.05)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
