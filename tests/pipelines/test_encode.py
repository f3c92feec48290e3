"""`encode` as a person meets it: what it writes, what a killed run leaves, and what it refuses in one line."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from mouse_facelift import cli
from mouse_facelift.mvdiffusion.encodings import MANIFEST, open_encodings
from mouse_facelift.mvdiffusion.pipeline import save_pipeline
from mouse_facelift.mvdiffusion.presets import new_pipeline, preset
from mouse_facelift.samples.dataset import finish_dataset
from mouse_facelift.samples.schema import Sample, table_from_samples
from mouse_facelift.samples.shards import REJECTED_SCHEMA
from mouse_facelift.storage import Store
from tests.mouse_facelift.mvdiffusion.conftest import tiny_pipeline
from tests.refusals import refusal
from tests.synthetic import blob, ring_sample

ROOT = Path(__file__).parents[2]
SHARDS = ("split=train/0.parquet", "split=train/1.parquet", "split=val/0.parquet")
START_S = 240.0


def dataset_of(folder: Path, samples: Sequence[Sample]) -> Path:
    """A dataset with one sample in every shard."""
    store = Store.at(folder)
    for name, sample in zip(SHARDS, samples, strict=True):
        store.write_table(name, table_from_samples([sample]), digest=True)
    rejected = pa.Table.from_pylist([], schema=REJECTED_SCHEMA)
    finish_dataset(store, list(SHARDS), rejected, [], {}, {"scale": 0.01, "zoom": 1.0}, 0)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with every component FaceLift's has, tiny."""
    made = tmp_path_factory.mktemp("pipeline") / "pipeckpts"
    save_pipeline(tiny_pipeline(), made)
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [ring_sample(blob(seed), seed, views=6, size=32) for seed in range(3)]
    return dataset_of(tmp_path_factory.mktemp("data") / "rings", samples)


@pytest.fixture(scope="module")
def encoded(
    dataset: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> tuple[Path, str]:
    """What a run that nothing disturbed has written, and what it has said."""
    out, said = tmp_path_factory.mktemp("encoded") / "peace", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["encode", *_words(dataset, folder, out)]) == 0
    return out, said.getvalue()


def _words(dataset: Path, folder: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(dataset), "--folder", str(folder), "--out", str(out), "--image-size", "16", *more]


def _bytes(folder: Path) -> dict[str, bytes]:
    """Everything that lies in a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + START_S
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "never happened"
        time.sleep(0.05)


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    dataset: Path, folder: Path, encoded: tuple[Path, str], tmp_path: Path, ray_address: str
) -> None:
    """The driver dies by SIGKILL while its actor waits for the last shard, which is a pipe that nobody fills."""
    peace, said = encoded
    assert "3 samples on white, black, grey at 16 px" in said and "next: mouse-facelift train mvdiffusion" in said
    expected = _bytes(peace)
    assert {*SHARDS, MANIFEST} <= set(expected)

    shard, aside, out = dataset / SHARDS[-1], tmp_path / "aside", tmp_path / "killed"
    shard.rename(aside)
    os.mkfifo(shard)
    command = [sys.executable, "-m", "pipelines.encode", *_words(dataset, folder, out)]
    environment = os.environ | {"RAY_ADDRESS": ray_address}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    try:
        _until(lambda: all((out / name).exists() for name in SHARDS[:-1]), process)
    finally:
        process.kill()
        process.communicate()
        shard.unlink()
        aside.rename(shard)
    assert process.returncode == -9 and not (out / MANIFEST).exists() and not (out / SHARDS[-1]).exists()
    before = (out / SHARDS[0]).stat().st_mtime_ns
    assert cli.main(["encode", *_words(dataset, folder, out)]) == 0
    results = {*SHARDS, MANIFEST}  # the rest says how and when: the command, Ray Data's statistics
    ended = _bytes(out)
    assert set(ended) == set(expected) and {name: ended[name] for name in results} == {
        name: expected[name] for name in results
    }
    assert (out / SHARDS[0]).stat().st_mtime_ns == before, "what was done is not done again"
    assert open_encodings(str(out)).shards == dict.fromkeys(SHARDS, 1)


def test_what_cannot_be_encoded_is_refused_in_one_line(
    dataset: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ray_session: None
) -> None:
    def line(data: Path = dataset, pipeline: Path = folder, *more: str) -> str:
        return refusal(capsys, "encode", *_words(data, pipeline, tmp_path / "out", *more))

    assert "absent" in line(tmp_path / "absent")
    assert "model_index.json: cannot be read" in line(dataset, tmp_path / "absent")
    save_pipeline(new_pipeline(preset("debug")), tmp_path / "pixels")
    assert "a model over pixels has no encoders" in line(dataset, tmp_path / "pixels")
    assert "cannot be averaged down to 24 px" in line(dataset, folder, "--image-size", "24")
    assert "1 px images are not a multiple of the VAE's 2 px" in line(dataset, folder, "--image-size", "1")
    assert "workers and image-size must be at least 1" in line(dataset, folder, "--workers", "0")
    assert "pink" in line(dataset, folder, "--backgrounds", "pink")
    mixed = [ring_sample(blob(seed), seed, views=6, size=size) for seed, size in enumerate((32, 24, 32))]
    found = line(dataset_of(tmp_path / "mixed", mixed), folder, "--out", str(tmp_path / "other"))
    assert "sample ring-000001, camera turntable_000 has images of 24 px" in found


def test_a_folder_that_holds_something_else_is_left_alone(
    dataset: Path, folder: Path, encoded: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = encoded[0]
    before = _bytes(out)
    words = _words(dataset, folder, out, "--backgrounds", "white")
    assert "holds encodings of other images or weights; choose another --out" in refusal(capsys, "encode", *words)
    assert _bytes(out) == before
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "mine.txt").write_text("mine")
    assert "not empty" in refusal(capsys, "encode", *_words(dataset, folder, notes))
    assert _bytes(notes) == {"mine.txt": b"mine"}
