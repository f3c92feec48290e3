from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_SLOTS, facelift_rig
from mouse_facelift.cameras.slots import camera_azimuths, wrap_degrees
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.views import ViewRule, ViewsConfig
from mouse_facelift.photos.rig import (
    RIG_FILE,
    Rig,
    facelift_convention,
    measure_rig,
    read_rig,
    resized,
    rig_of_generator,
)
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.schema import Sample
from tests.generators import REFERENCES, write_generator
from tests.synthetic import blob, ring_sample, write_dataset

VIEWS = ViewsConfig(image_size=16, background="white", references=REFERENCES)
SLOTS = ViewRule(FACELIFT_SLOTS, "none")
ORIGIN = np.zeros(3)


def turned(sample: Sample, degrees: float) -> Sample:
    """The sample with its whole world turned about the vertical: no picture changes."""
    a = np.radians(degrees)
    R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    cameras = tuple(replace(camera, R=camera.R @ R.T) for camera in sample.cameras)
    return replace(sample, cameras=cameras)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [turned(ring_sample(blob(n), n, views=6, size=32), 50.0 * n) for n in range(5)]
    return write_dataset(tmp_path_factory.mktemp("data"), {"train": samples[:4], "val": samples[4:]})


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    return write_generator(tmp_path / "run", data)


def same(a: tuple[Camera, ...], b: tuple[Camera, ...]) -> bool:
    return all(np.allclose(x.w2c, y.w2c, atol=1e-6) and np.allclose(x.K, y.K) for x, y in zip(a, b, strict=True))


def test_a_rig_that_turns_with_the_animal_is_found_exactly(data: Path) -> None:
    rig = measure_rig(open_dataset(str(data)), VIEWS, SLOTS)
    assert tuple(camera.name for camera in rig.cameras) == FACELIFT_SLOTS
    # Six cameras every 60 degrees: the front is at 270, and slot order goes to its right first.
    azimuths = camera_azimuths(rig.cameras, ORIGIN)
    assert np.abs(wrap_degrees(azimuths - np.array([270, 210, 150, 90, 30, 330]))).max() < 1e-3
    assert rig.spread_degrees < 1e-3
    for camera in rig.cameras:
        assert np.linalg.norm(camera.centre) == pytest.approx(2.7, abs=1e-5)
        assert camera.project(ORIGIN) == pytest.approx([8, 8], abs=1e-6)
        assert camera.K[0, 0] == pytest.approx(ring_sample(blob()).cameras[0].K[0, 0] / 2, rel=1e-6)
    fractions = [ring_sample(blob(n), n, 6).agreement.mask_fraction[[0, 3]] for n in range(4)]
    assert rig.extent == pytest.approx(float(np.median(np.sqrt(fractions))), rel=1e-5)


def test_with_rays_the_first_reference_alone_is_the_front(data: Path) -> None:
    rule = ViewRule(("reference", "target"), "rays")
    rig = measure_rig(open_dataset(str(data)), replace(VIEWS, references=("turntable_001",)), rule)
    azimuths = camera_azimuths(rig.cameras, ORIGIN)
    assert np.abs(wrap_degrees(azimuths - np.array([270, 210, 330, 30, 90, 150]))).max() < 1e-3


def test_a_rig_survives_its_file(data: Path, tmp_path: Path) -> None:
    rig = measure_rig(open_dataset(str(data)), VIEWS, SLOTS)
    (tmp_path / RIG_FILE).write_text(json.dumps(rig.plain()))
    again = read_rig(tmp_path / RIG_FILE)
    assert same(rig.cameras, again.cameras) and again.plain() == rig.plain() and again.fingerprint == rig.fingerprint
    assert again.references == REFERENCES
    assert [camera.width for camera in resized(rig, 64)] == [64] * 6


def test_a_run_keeps_its_rig_when_its_dataset_is_gone(data: Path, run: Path, tmp_path: Path) -> None:
    borrowed = shutil.copytree(data, tmp_path / "borrowed")
    run = write_generator(tmp_path / "other", borrowed)
    first = rig_of_generator(run)
    shutil.rmtree(borrowed)
    for place in (run, run / "checkpoint", run / "pipeline"):
        assert rig_of_generator(place).plain() == first.plain()


def test_a_generator_that_does_not_say_is_told_or_refused(data: Path, run: Path, tmp_path: Path) -> None:
    expected = rig_of_generator(run)
    lost = write_generator(tmp_path / "lost", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"lost: keeps no rig\.json, and the dataset .*--photo\.rig DATASET"):
        rig_of_generator(lost)
    assert rig_of_generator(lost, str(data)).plain() == expected.plain()
    assert rig_of_generator(lost, str(run / RIG_FILE)).plain() == expected.plain()
    alone = shutil.copytree(run / "pipeline", tmp_path / "alone")
    with pytest.raises(InputError, match="alone: does not say which cameras"):
        rig_of_generator(alone)
    assert same(rig_of_generator(alone, "facelift").cameras, facelift_rig())


def test_facelifts_folder_has_facelifts_cameras(run: Path) -> None:
    (run / "pipeline" / "prompt_embeddings.safetensors").unlink()
    (run / "pipeline" / "vae").mkdir()
    folder = run / "pipeline"
    shutil.rmtree(run / "checkpoint")
    assert same(rig_of_generator(folder).cameras, facelift_convention().cameras)
    assert facelift_convention().image_size == 512


@pytest.mark.parametrize(
    "text", ["[]", "{}", "no", '{"version": 7}', '{"version": 1, "image_size": 8, "cameras": [1]}']
)
def test_what_is_no_rig_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RIG_FILE).write_text(text)
    with pytest.raises(InputError, match=RIG_FILE):
        read_rig(tmp_path / RIG_FILE)
    assert isinstance(Rig.from_plain(facelift_convention().plain(), "x"), Rig)
