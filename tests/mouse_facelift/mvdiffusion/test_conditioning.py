"""Rays against projection, and the image branch against diffusers' own and the formulas."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.cameras.poses import facelift_rig, intrinsics_from_fov, look_at
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import (
    ViewCameras,
    clip_pixels,
    clip_pixels_for_training,
    decode,
    heading_rotation,
    image_vector,
    latents_from,
    posterior,
    ray_maps,
)
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from tests.mouse_facelift.mvdiffusion.conftest import EMBEDDING, tiny_embedder

SIZE = 64


def rig() -> list[Camera]:
    K = intrinsics_from_fov(50, SIZE, SIZE)
    places = np.random.default_rng(0).normal(size=(4, 3)) * [1, 1, 0.3]
    return [
        look_at(str(i), 2.7 * p / np.linalg.norm(p), np.array([0.1, 0, 0.05]), K, SIZE, SIZE)
        for i, p in enumerate(places)
    ]


def view_cameras(cameras: list[Camera], size: int = SIZE) -> ViewCameras:
    w2c, fxfycxcy = (torch.from_numpy(part).float()[None] for part in stack_cameras(cameras))
    return ViewCameras(w2c, fxfycxcy, size)


def turned(camera: Camera, degrees: float) -> Camera:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Camera(camera.name, camera.width, camera.height, camera.K, camera.R @ turn.T, camera.t)


@pytest.mark.parametrize("grid", [8, 64])
def test_points_along_a_ray_project_back_to_the_centre_of_its_cell(grid: int) -> None:
    cameras = rig()
    maps = ray_maps(view_cameras(cameras), grid)[0].double().numpy()
    front = cameras[0].centre
    # The world as the maps have it: turned until the reference stands at azimuth 270.
    known = [turned(camera, 270 - np.degrees(np.arctan2(front[1], front[0]))) for camera in cameras]
    centres = (np.arange(grid) + 0.5) * SIZE / grid
    expected = np.stack(np.meshgrid(centres, centres), axis=-1)
    for camera, map_ in zip(known, maps, strict=True):
        direction, nearest = np.moveaxis(map_[:3], 0, -1), np.moveaxis(map_[3:], 0, -1)
        assert np.allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-6)
        assert np.abs((direction * nearest).sum(axis=-1)).max() < 1e-5
        for along in (-0.5, 0.0, 0.7):
            assert np.abs(camera.project(nearest + along * direction) - expected).max() < 1e-3


def test_only_the_views_relative_to_the_reference_matter() -> None:
    cameras = rig()
    before = ray_maps(view_cameras(cameras), 8)
    after = ray_maps(view_cameras([turned(camera, 77) for camera in cameras]), 8)
    assert torch.allclose(before, after, atol=1e-5)
    other_reference = ray_maps(view_cameras(cameras[1:] + cameras[:1]), 8)
    assert (before - other_reference.roll(1, dims=1)).abs().max() > 0.1


def test_facelifts_front_camera_stands_where_it_should() -> None:
    cameras = view_cameras(list(facelift_rig()), 512)
    assert torch.allclose(heading_rotation(cameras.w2c[:, 0]), torch.eye(4), atol=1e-5)
    middle = ray_maps(cameras, 64)[0, :, :3, 32, 32]
    # Front at azimuth 270 looks along +y, right at 180 along +x, left at 0 along -x.
    for slot, axis in ((0, (0, 1, 0)), (2, (1, 0, 0)), (4, (-1, 0, 0))):
        assert (middle[slot] - torch.tensor(axis)).abs().max() < 0.02


def test_a_reference_overhead_is_refused() -> None:
    K = intrinsics_from_fov(50, SIZE, SIZE)
    top = look_at("top", np.array([0, 0, 2.7]), np.zeros(3), K, SIZE, SIZE)
    with pytest.raises(InputError, match="straight above the animal"):
        ray_maps(view_cameras([top, *rig()]), 8)
    assert torch.isfinite(ray_maps(view_cameras([*rig(), top]), 8)).all()


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 400])
def test_image_vector_equals_diffusers_own(level: int) -> None:
    torch.manual_seed(0)
    embedder = tiny_embedder()
    embedding, noise = torch.randn(6, EMBEDDING), torch.randn(6, EMBEDDING)
    found = image_vector(embedding, noise, embedder.image_normalizer, embedder.image_noising_scheduler, level)
    peer: Any = SimpleNamespace(
        image_normalizer=embedder.image_normalizer, image_noising_scheduler=embedder.image_noising_scheduler
    )
    expected = StableUnCLIPImg2ImgPipeline.noise_image_embeddings(peer, embedding, level, noise)
    assert torch.equal(found, expected)
    if level == 0:
        half = EMBEDDING // 2
        assert (found[:, EMBEDDING:] == torch.tensor([1.0] * half + [0.0] * half)).all()
        signal = embedder.image_noising_scheduler.alphas_cumprod[0]
        assert abs(float(signal) - 0.9999586939811707) < 1e-7
    shaped = image_vector(
        embedding.view(2, 3, -1),
        noise.view(2, 3, -1),
        embedder.image_normalizer,
        embedder.image_noising_scheduler,
        level,
    )
    assert torch.equal(shaped.flatten(0, 1), found)


def test_clip_sees_the_right_part_of_an_image() -> None:
    extractor = tiny_embedder().feature_extractor
    image = torch.rand(1, 3, 7, 7).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    mean, std = (torch.tensor(part)[:, None, None] for part in (extractor.image_mean, extractor.image_std))
    for pixels in (clip_pixels(image, extractor), clip_pixels_for_training(image, extractor)):
        assert pixels.shape == (1, 3, 28, 28)
        # Halving keeps flat areas as they are, up to eight bits.
        assert (pixels[0] * std + mean - image[0, :, ::2, ::2])[:, 1::4, 1::4].abs().max() < 0.15
    grey = torch.full((1, 3, 40, 40), 0.25)
    assert (clip_pixels(grey, extractor) - clip_pixels_for_training(grey, extractor)).abs().max() < 0.02


def _posterior(pipeline: MVDiffusion, images: Float[Tensor, "n 3 h w"]) -> Any:
    return cast(Any, pipeline.vae).encode(images * 2 - 1).latent_dist


@torch.no_grad()
def test_latents_are_the_scaled_mode_or_a_sample(pipeline: MVDiffusion) -> None:
    images, noise = torch.rand(2, 3, 16, 16), torch.randn(2, 4, 8, 8)
    moments, scale = posterior(images, pipeline.vae), pipeline.vae_scale
    known = _posterior(pipeline, images)
    assert torch.allclose(latents_from(moments, scale), known.mode() * 0.18215)
    assert torch.allclose(latents_from(moments, scale, noise), (known.mean + known.std * noise) * 0.18215)


def test_pixels_need_no_vae() -> None:
    images = torch.rand(2, 3, 16, 16)
    latents = latents_from(posterior(images, None), None, None)
    assert latents.min() < -0.9 and torch.allclose(decode(latents, None), images, atol=1e-6)
