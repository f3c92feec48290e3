"""Sampling: FaceLift's order of draws and conditions, seeds per object, and any sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import facelift_rig, turntable
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import ViewCameras, clip_pixels
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.presets import MVDiffusionConfig, new_pipeline, preset
from mouse_facelift.mvdiffusion.sampling import SamplingConfig, sample, seeded, to_eight_bit
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET
from tests.mouse_facelift.mvdiffusion.conftest import EMBEDDING, IMAGE_SIZE, scramble, tiny_pipeline

SHORT = SamplingConfig(steps=3)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def written_out(pipeline: MVDiffusion, image: torch.Tensor, seed: int, steps: int, guidance: float) -> torch.Tensor:
    """One object as the published pipeline does it: flat batches of six views, one generator, nothing shared."""
    embedder, vae, unet = pipeline.embedder, cast(Any, pipeline.vae), cast(Any, pipeline.model.unet)
    scheduler: Any = pipeline.scheduler
    assert embedder is not None
    generator = torch.Generator().manual_seed(seed)
    six = image.expand(6, -1, -1, -1)
    embedding = embedder.image_encoder(clip_pixels(six, embedder.feature_extractor)).image_embeds
    noise = torch.randn(6, EMBEDDING, generator=generator)
    mean, std = embedder.image_normalizer.mean, embedder.image_normalizer.std
    signal = embedder.image_noising_scheduler.alphas_cumprod[0]
    noised = (signal.sqrt() * (embedding - mean) / std + (1 - signal).sqrt() * noise) * std + mean
    level = torch.tensor([1.0] * (EMBEDDING // 2) + [0.0] * (EMBEDDING // 2)).expand(6, -1)
    vector = torch.cat([noised, level], dim=1)
    condition = vae.encode(six * 2 - 1).latent_dist.mode() * 0.18215
    vectors = torch.cat([torch.zeros_like(vector), vector])
    conditions = torch.cat([torch.zeros_like(condition), condition])
    tokens = torch.cat([pipeline.model.tokens, pipeline.model.tokens])
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    scheduler.set_timesteps(steps)
    for step in scheduler.timesteps:
        pair = torch.cat([torch.cat([latents, latents]), conditions], dim=1)
        options = {"class_labels": vectors, "cross_attention_kwargs": {"num_views": 6}}
        without, with_image = unet(pair, step, tokens, **options).sample.chunk(2)
        predicted = without + guidance * (with_image - without)
        latents = scheduler.step(predicted, step, latents, eta=1.0, generator=generator).prev_sample
    return (vae.decode(latents / 0.18215).sample / 2 + 0.5).clamp(0, 1)


def test_equals_the_published_order_of_things(pipeline: MVDiffusion) -> None:
    expected = written_out(pipeline, images(1), seed=4, steps=5, guidance=3.0)
    found = sample(pipeline, images(1), seeded([4]), SamplingConfig(steps=5))
    assert found.shape == (1, 6, 3, IMAGE_SIZE, IMAGE_SIZE) and expected.std() > 0.01
    assert (found[0] - expected).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", [None, "EulerAncestralDiscreteScheduler"])
def test_results_do_not_depend_on_the_batch(pipeline: MVDiffusion, scheduler: str | None) -> None:
    config = SamplingConfig(steps=3, scheduler=scheduler)
    seeds = [4, 9, 7]
    batch = sample(pipeline, images(3), seeded(seeds), config)
    back = sample(pipeline, images(3).flip(0), seeded(seeds[::-1]), config).flip(0)
    assert (batch - back).abs().max() < 1e-4
    for i in range(3):
        alone = sample(pipeline, images(3)[i : i + 1], seeded(seeds[i : i + 1]), config)
        assert (batch[i] - alone[0]).abs().max() < 1e-4
    assert (batch[0] - sample(pipeline, images(3)[:1], seeded([5]), config)[0]).abs().max() > 0.01


@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DDPMScheduler", "EulerDiscreteScheduler"]
)
def test_other_samplers(pipeline: MVDiffusion, name: str) -> None:
    out = sample(pipeline, images(2), seeded([1, 2]), SamplingConfig(steps=3, scheduler=name))
    assert torch.isfinite(out).all() and out.std() > 0.01


def test_every_kind_of_model_has_its_own_way(pipeline: MVDiffusion) -> None:
    painter = new_pipeline(preset("small"))
    assert SamplingConfig().way(pipeline) == (50, 3.0), "FaceLift's"
    assert SamplingConfig().way(painter) == (4, 1.0), "one that predicts the picture"
    assert SamplingConfig(steps=7, guidance=2.0).way(painter) == (7, 2.0)


def test_guidance_one_runs_the_denoiser_once(pipeline: MVDiffusion) -> None:
    sizes: list[int] = []
    hook = pipeline.model.unet.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    sample(pipeline, images(1), seeded([1]), SamplingConfig(steps=1, guidance=1.0))
    sample(pipeline, images(1), seeded([1]), SamplingConfig(steps=1, guidance=1.001))
    hook.remove()
    assert sizes == [6, 12]


def test_the_reference_is_encoded_once_per_object(pipeline: MVDiffusion) -> None:
    sizes: list[int] = []
    assert pipeline.embedder is not None and pipeline.vae is not None and pipeline.vae.quant_conv is not None
    hooks = [
        part.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))
        for part in (pipeline.embedder.image_encoder.vision_model.embeddings, pipeline.vae.quant_conv)
    ]
    sample(pipeline, images(2), seeded([1, 2]), SHORT)
    for hook in hooks:
        hook.remove()
    assert sizes == [2, 2]


def test_half_precision() -> None:
    half = tiny_pipeline().to("cpu", torch.bfloat16)
    exact = sample(tiny_pipeline(), images(1), seeded([1]), SamplingConfig(steps=2, eta=0))
    found = sample(half, images(1), seeded([1]), SamplingConfig(steps=2, eta=0))
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    assert found.shape == exact.shape


def posed_pipeline() -> MVDiffusion:
    torch.manual_seed(0)
    unet = replace(preset("debug").unet, camera_conditioning="rays")
    made = new_pipeline(MVDiffusionConfig(unet, preset("debug").schedule, REFERENCE_AND_TARGET, 2))
    scramble(made.model.unet)
    return made


def test_any_number_of_posed_views_each_by_its_own_camera() -> None:
    pipeline = posed_pipeline()
    w2c, fxfycxcy = (torch.from_numpy(part).float()[None] for part in stack_cameras(turntable(4, IMAGE_SIZE)))

    def run(w2c: torch.Tensor) -> torch.Tensor:
        cameras = ViewCameras(w2c, fxfycxcy[:, : w2c.shape[1]], IMAGE_SIZE)
        return sample(pipeline, images(1), seeded([3]), SHORT, cameras=cameras)

    assert run(w2c[:, :3]).shape[1] == 3
    four = run(w2c)
    assert torch.isfinite(four).all()
    other = w2c.clone()
    other[0, 3] = other[0, 1]
    moved = run(other)
    assert (moved[0, 3] - four[0, 3]).abs().max() > 1e-3
    assert (moved[0, :3] - four[0, :3]).abs().max() < 1e-5
    with pytest.raises(InputError, match="needs the views' cameras"):
        sample(pipeline, images(1), seeded([3]), SHORT)


def test_eight_bits_are_rounded() -> None:
    shown = to_eight_bit(
        torch.tensor([-0.1, 0.4999 / 255, 0.5001 / 255, 1.2]).view(1, 1, 1, 1, 4).expand(1, 1, 3, 1, 4)
    )
    assert shown.shape == (1, 1, 1, 4, 3) and shown[0, 0, 0, :, 0].tolist() == [0, 0, 1, 255]


def test_what_does_not_fit_is_refused(pipeline: MVDiffusion) -> None:
    with pytest.raises(InputError, match="1 seeds for 2 images"):
        sample(pipeline, images(2), seeded([1]))
    with pytest.raises(InputError, match="images of 18 px; the model takes multiples of 4 px"):
        sample(pipeline, torch.rand(1, 3, 18, 18), seeded([1]))
    with pytest.raises(InputError, match="square RGB"):
        sample(pipeline, torch.rand(1, 4, 16, 16), seeded([1]))
    with pytest.raises(InputError, match="width 24"):
        sample(pipeline, images(1), seeded([1]), tokens=torch.rand(6, 77, 16))
    rig = [torch.from_numpy(part).float()[None] for part in stack_cameras(facelift_rig()[:4])]
    with pytest.raises(InputError, match="4 views, but the model has the 6 slots"):
        sample(pipeline, images(1), seeded([1]), cameras=ViewCameras(rig[0], rig[1], 512))


@pytest.mark.parametrize("fields", [{"steps": 0}, {"eta": 1.5}, {"noise_level": -1}])
def test_impossible_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="sampling:"):
        SamplingConfig(**fields)
