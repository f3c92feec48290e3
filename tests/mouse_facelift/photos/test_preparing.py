from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.photos.preparing import Generator, load_generator, picture_digest, prepare
from mouse_facelift.photos.reading import Found
from mouse_facelift.samples.facelift_folders import write_sample
from tests.generators import write_generator, write_gslrm
from tests.synthetic import blob, ring_sample, write_dataset

QUICK = PhotoOptions(steps=2, guidance=1.0)
SAMPLE = ring_sample(blob(), views=6, size=32)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("generator")
    data = write_dataset(folder / "data", {"train": [SAMPLE], "val": [SAMPLE]})
    return load_generator(write_generator(folder / "run", data), QUICK)


def write_rgba(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA))
    return path


def test_a_photo_becomes_views_of_the_generators_cameras(generator: Generator, tmp_path: Path) -> None:
    path = write_rgba(tmp_path / "photo.png", SAMPLE.images[2])
    found = Found("photo", path)
    made = prepare(found, generator, 0, QUICK)
    assert made.sample.cameras == generator.rig.cameras
    assert made.sample.source == generator.fingerprint and made.sample.images.shape == (6, 16, 16, 4)
    assert len(made.steps) == 3
    # The name and the place of a file are no part of it.
    copy = Found("copy", write_rgba(tmp_path / "deep" / "copy.png", SAMPLE.images[2]))
    assert picture_digest(copy) == picture_digest(found)
    assert (prepare(copy, generator, 0, QUICK).sample.images == made.sample.images).all()
    assert prepare(found, generator, 1, QUICK).seed != made.seed


def test_steps_and_guidance_reach_the_sampler_and_what_is_not_said_is_its_own(
    generator: Generator, tmp_path: Path
) -> None:
    found = Found("photo", write_rgba(tmp_path / "photo.png", SAMPLE.images[2]))

    def images(**said: float) -> np.ndarray:
        return prepare(found, generator, 0, PhotoOptions(**said)).sample.images  # type: ignore[arg-type]

    own = SamplingConfig().way(generator.pipeline)[1]
    two = images(steps=2)
    assert np.array_equal(two, images(steps=2, guidance=own))
    assert not np.array_equal(two, images(steps=3))
    assert not np.array_equal(two, images(steps=2, guidance=own + 1))


def test_views_given_with_cameras_are_taken_as_they_are(tmp_path: Path) -> None:
    write_sample(tmp_path / "views", SAMPLE)
    made = prepare(Found("mine", tmp_path / "views"), None, 0, PhotoOptions())
    assert (made.sample.images == SAMPLE.images).all() and made.sample.sample_id == "mine"
    for camera, given in zip(made.sample.cameras, SAMPLE.cameras, strict=True):
        assert np.allclose(camera.w2c, given.w2c) and np.allclose(camera.K, given.K)
    assert made.seed is None


def test_views_in_slot_order_get_facelifts_cameras_or_the_generators(generator: Generator, tmp_path: Path) -> None:
    for slot, image in enumerate(SAMPLE.images):
        write_rgba(tmp_path / f"cam_{slot:03d}.png", image)
    found = Found("views", tmp_path)
    facelift = prepare(found, None, 0, PhotoOptions()).sample
    assert np.allclose(facelift.cameras[3].w2c, facelift_rig()[3].w2c) and facelift.cameras[3].width == 32
    told = prepare(found, generator, 0, PhotoOptions()).sample
    assert np.allclose(told.cameras[3].w2c, generator.rig.cameras[3].w2c) and told.cameras[3].width == 32


def test_given_views_without_alpha_are_cut_out(tmp_path: Path) -> None:
    sample = ring_sample(blob(), views=3, size=96)
    alpha = sample.images[..., 3:] / 255
    opaque = np.concatenate([sample.images[..., :3] * alpha + 255 * (1 - alpha), 255 + 0 * alpha], axis=-1)
    images = np.rint(opaque).astype(np.uint8)
    write_sample(tmp_path / "views", replace(sample, images=images, mask_source="none"))
    made = prepare(Found("views", tmp_path / "views"), None, 0, PhotoOptions()).sample
    there, found = sample.images[..., 3] > 127, made.images[..., 3] > 127
    # A heap of soft blobs, some of them pale, on white.
    assert (there & found).sum() / (there | found).sum() > 0.6
    assert made.mask_source == "estimated" and np.isfinite(made.agreement.hull_iou)


def test_a_checkpoint_of_the_other_model_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind 'gslrm', not mvdiffusion"):
        load_generator(write_gslrm(tmp_path / "run"), PhotoOptions())
    with pytest.raises(InputError, match="one picture shows one side; give --generator"):
        load_generator(None, PhotoOptions(), [Found("a", Path("a.png"))])
