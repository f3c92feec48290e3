from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.presets import new_pipeline, preset
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.mvdiffusion.views import BACKGROUNDS, composited
from mouse_facelift.photos import generation
from mouse_facelift.photos.generation import (
    Provenance,
    check_generator,
    generate_views,
    generator_fingerprint,
    object_seed,
    sample_of_views,
)
from mouse_facelift.photos.matting import beside, one_animal
from mouse_facelift.photos.rig import facelift_convention
from tests.synthetic import blob, ring_sample

SAMPLE = ring_sample(blob(), views=6, size=16)
RIG = facelift_convention()
GREY = replace(RIG, background=BACKGROUNDS["grey"])
STEPS = SamplingConfig(steps=2, guidance=1.0)


@pytest.fixture(scope="module")
def pipeline() -> generation.MVDiffusion:
    torch.manual_seed(0)
    made = new_pipeline(preset("debug"))
    made.model.eval()
    return made


@pytest.fixture(scope="module")
def masking() -> generation.MVDiffusion:
    """One that makes masks and is told its cameras, as the preset `small` is."""
    torch.manual_seed(0)
    tiny = preset("debug")
    made = new_pipeline(replace(tiny, unet=replace(tiny.unet, latent_channels=4, camera_conditioning="rays")))
    made.model.eval()
    assert made.image_channels == 4
    return made


def test_seeds_follow_from_names_alone() -> None:
    seeds = {object_seed(seed, *names) for seed in (0, 1) for names in (("a",), ("b",), ("a", "b"))}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert object_seed(0, "a") == object_seed(0, "a")


def test_an_object_is_the_same_wherever_it_stands(pipeline: generation.MVDiffusion) -> None:
    alone = generate_views(pipeline, RIG, SAMPLE.images[:1], [7], STEPS)
    among = generate_views(pipeline, RIG, SAMPLE.images[[3, 0]], [1, 7], STEPS)
    assert alone.shape == (1, 6, 16, 16, 4)
    assert np.abs(among[1].astype(int) - alone[0]).max() <= 2
    assert not np.array_equal(among[0], alone[0])


def test_alpha_is_read_off_the_known_background(
    pipeline: generation.MVDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = ring_sample(blob(), views=6, size=32)
    rgba = torch.from_numpy(sample.images).movedim(-1, 1).float() / 255
    laid = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:])
    monkeypatch.setattr(generation, "sample", lambda *_, **__: laid[None])
    views = generate_views(pipeline, RIG, sample.images[:1], [0], STEPS)[0]
    there, found = sample.images[..., 3] > 127, views[..., 3] > 127
    # Half of the median contrast: of a lopsided heap of coloured blobs some are pale.
    assert (there & found).sum() / (there | found).sum() > 0.7
    again = views[..., :3] / 255 * (views[..., 3:] / 255) + 1 - views[..., 3:] / 255
    assert np.abs(again - laid.movedim(1, -1).numpy())[found].mean() < 0.02


def test_a_generators_own_alpha_is_kept_and_its_background_taken_out(
    masking: generation.MVDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = ring_sample(blob(), views=6, size=32)
    made = composited(torch.from_numpy(sample.images)[None], torch.tensor([GREY.background]), 4)
    made[:, :, 3, :2, :2] = 0.1
    given = []
    monkeypatch.setattr(generation, "sample", lambda _, images, *__, **___: given.append(images) or made)
    views = generate_views(masking, GREY, sample.images[:1], [0], STEPS)[0]
    assert torch.equal(given[0], composited(torch.from_numpy(sample.images[:1, None]), torch.tensor([0.5]), 4)[:, 0])
    # The specks in the corner are gone; the animal, its largest part, is as it was.
    animal = np.stack([beside(one_animal(view[..., 3] > 127)) for view in sample.images])
    assert not views[~animal].any() and not animal[:, :2, :2].any()
    solid = animal & (sample.images[..., 3] > 127)
    assert np.abs(views.astype(int) - sample.images)[solid].max() <= 1
    assert np.array_equal(views[..., 3][animal], sample.images[..., 3][animal])


def test_a_generator_of_four_channels_is_asked_and_answers_in_them(masking: generation.MVDiffusion) -> None:
    views = generate_views(masking, GREY, SAMPLE.images[:2], [1, 2], STEPS)
    assert views.shape == (2, 6, 16, 16, 4) and views.dtype == np.uint8
    alone = generate_views(masking, GREY, SAMPLE.images[1:2], [2], STEPS)
    assert np.abs(views[1].astype(int) - alone[0])[..., 3].max() <= 2


def test_samples_have_the_rigs_cameras_and_the_gates_numbers() -> None:
    sample = sample_of_views(SAMPLE.images, SAMPLE.cameras, Provenance("a", "b", "generator"))
    assert sample.cameras == SAMPLE.cameras and sample.source == "generator" and sample.scale == 1
    assert sample.agreement.hull_iou > 0.8


def test_fingerprints_follow_weights_and_tokens(pipeline: generation.MVDiffusion) -> None:
    torch.manual_seed(1)
    other = new_pipeline(preset("debug"))
    mine = generator_fingerprint(pipeline)
    assert mine == generator_fingerprint(pipeline) != generator_fingerprint(other)
    with torch.no_grad():
        other.model.load_state_dict(pipeline.model.state_dict())
        assert generator_fingerprint(other) == mine
        other.model.tokens[0] += 1
    assert generator_fingerprint(other) != mine


def test_a_rig_of_other_views_is_refused(pipeline: generation.MVDiffusion, masking: generation.MVDiffusion) -> None:
    check_generator(pipeline, RIG, Path("g"))
    fewer = generation.Rig(RIG.cameras[:4], 1.0, 0.5, 0.0, "four cameras")
    for generator in (pipeline, masking):
        with pytest.raises(InputError, match="makes 6 views, its rig .* has 4 cameras"):
            check_generator(generator, fewer, Path("g"))
