"""The training step: what is noised, dropped and weighed, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import facelift_rig
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import ViewCameras
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.presets import new_pipeline, preset
from mouse_facelift.mvdiffusion.schedule import ScheduleConfig, denoising_schedule, signal_level
from mouse_facelift.mvdiffusion.step import (
    DiffusionLossConfig,
    EncodedBatch,
    condition_dropout,
    draw_timesteps,
    encode,
    min_snr_weights,
    noised,
    training_loss,
)
from tests.mouse_facelift.mvdiffusion.conftest import IMAGE_SIZE, tiny_pipeline


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(objects: int = 2) -> torch.Tensor:
    return torch.rand(objects, 6, 3, IMAGE_SIZE, IMAGE_SIZE, generator=seeded(1))


def test_dropout_has_the_published_rates_and_never_splits_an_object() -> None:
    drop = condition_dropout(200_000, 0.05, seeded())
    both = drop.vector & drop.latents
    for part in (drop.vector & ~both, drop.latents & ~both, both):
        assert abs(float(part.float().mean()) - 0.05) < 0.003
    none = condition_dropout(1000, 0.0, seeded())
    assert not none.vector.any() and not none.latents.any()
    # The same number decides both: where r < p only the vector goes.
    r = torch.rand(200_000, generator=seeded())
    assert torch.equal(drop.vector, r < 0.1) and torch.equal(drop.latents, (r >= 0.05) & (r < 0.15000001))


def test_time_steps_are_shared_by_an_object_unless_asked() -> None:
    shared = draw_timesteps(500, 6, 1000, "object", seeded())
    assert (shared == shared[:, :1]).all() and shared.min() < 20 and shared.max() > 980
    assert draw_timesteps(500, 6, 1000, "view", seeded()).float().std(dim=1).min() > 0


def test_both_targets_give_back_picture_and_noise() -> None:
    schedule: Any = denoising_schedule(ScheduleConfig())
    clean, noise = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 3, 4, 5, 5)
    steps = draw_timesteps(2, 3, 1000, "view", seeded())
    signal = signal_level(schedule, steps)
    x, eps = noised(clean, noise, signal, "epsilon")
    x_again, v = noised(clean, noise, signal, "v_prediction")
    assert torch.equal(noised(clean, noise, signal, "sample")[1], clean)
    a, b = signal.sqrt()[..., None, None, None], (1 - signal).sqrt()[..., None, None, None]
    assert torch.equal(x, x_again) and torch.equal(eps, noise)
    assert torch.allclose(a * x - b * v, clean, atol=1e-5) and torch.allclose(b * x + a * v, noise, atol=1e-5)
    for i, step in enumerate(steps.flatten()):
        o, w = divmod(i, 3)
        assert torch.allclose(schedule.add_noise(clean[o, w][None], noise[o, w][None], step[None])[0], x[o, w])
        assert torch.allclose(schedule.get_velocity(clean[o, w][None], noise[o, w][None], step[None])[0], v[o, w])


def test_min_snr_weighs_the_pictures_error_alike_whatever_is_predicted() -> None:
    signal = signal_level(denoising_schedule(ScheduleConfig()), torch.arange(1000))
    snr = signal / (1 - signal)
    matched, facelift, off = (
        DiffusionLossConfig(),
        DiffusionLossConfig(min_snr_form="facelift"),
        DiffusionLossConfig(min_snr_gamma=0),
    )
    v, eps = (min_snr_weights(signal, kind, matched) for kind in ("v_prediction", "epsilon"))
    # |dv|^2 = (1 + snr) |dx|^2 and |de|^2 = snr |dx|^2, dx the picture's error at the same noisy input.
    assert torch.allclose(v * (snr + 1), snr.clamp_max(5), rtol=1e-4)
    assert torch.allclose(eps * snr, snr.clamp_max(5), rtol=1e-4)
    assert torch.equal(min_snr_weights(signal, "sample", matched), snr.clamp_max(5))
    assert min_snr_weights(torch.zeros(1), "sample", off).item() == 1
    assert torch.equal(min_snr_weights(signal, "v_prediction", facelift), eps)
    assert eps[147:].eq(1).all() and eps[146] < 1 and abs(float(eps[0]) - 0.0043) < 5e-5
    assert min_snr_weights(signal, "v_prediction", off).eq(1).all()
    nothing_left = torch.zeros(1)
    assert min_snr_weights(nothing_left, "v_prediction", matched).item() == 0
    assert min_snr_weights(nothing_left, "v_prediction", facelift).item() == 1


def test_a_step_from_kept_encodings_is_a_step_from_images(pipeline: MVDiffusion) -> None:
    config = DiffusionLossConfig()
    batch = encode(pipeline, images())
    assert batch.targets.shape == (2, 6, 8, 8, 8) and batch.embeddings is not None
    kept = EncodedBatch(batch.targets.half(), batch.reference.half(), batch.embeddings.half())
    with torch.no_grad():
        losses = [float(training_loss(pipeline.model, pipeline, b, config, seeded(3))[0]) for b in (batch, kept)]
        other = float(training_loss(pipeline.model, pipeline, batch, config, seeded(4))[0])
    assert abs(losses[0] - losses[1]) < 2e-3 * losses[0]
    assert abs(losses[0] - other) > 1e-3 * losses[0]


def test_the_loss_is_the_formula(pipeline: MVDiffusion) -> None:
    """The exact prediction costs nothing, and a constant error costs its square times the weight."""
    batch = encode(pipeline, images())
    clean: list[torch.Tensor] = []
    schedule: Any = pipeline.scheduler

    class Told(torch.nn.Module):
        """Knows the latents, and errs by a constant."""

        def forward(self, noisy: torch.Tensor, condition: torch.Tensor, steps: torch.Tensor, *_: Any) -> torch.Tensor:
            clean.append(condition)
            a = signal_level(schedule, steps)[..., None, None, None]
            known = told.targets.chunk(2, dim=2)[0] * 0.18215
            return (a.sqrt() * noisy - known) / (1 - a).sqrt() + 0.5

    # Without spread in the posterior its sample is its mode.
    mean, log_variance = batch.targets.chunk(2, dim=2)
    told = replace(batch, targets=torch.cat([mean, torch.full_like(log_variance, -30)], dim=2))
    facelift = DiffusionLossConfig(min_snr_form="facelift", min_snr_gamma=1e9, condition_drop_rate=0)
    loss, scalars = training_loss(Told(), pipeline, told, facelift, seeded(3))
    assert abs(float(loss) - 0.25) < 1e-3
    assert abs(float(scalars["mse_reference"]) - 0.25) < 1e-3 and abs(float(scalars["mse_sides"]) - 0.25) < 1e-3
    assert torch.allclose(clean[0], batch.reference.chunk(2, dim=1)[0] * 0.18215)


def test_dropped_conditions_are_zero(pipeline: MVDiffusion) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watcher(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, condition: torch.Tensor, _: Any, vectors: torch.Tensor, __: Any) -> Any:
            seen.append((condition, vectors))
            return noisy

    batch = encode(pipeline, images(1).expand(64, -1, -1, -1, -1))
    training_loss(Watcher(), pipeline, batch, DiffusionLossConfig(condition_drop_rate=0.3), seeded(5))
    drop = condition_dropout(64, 0.3, seeded(5))
    condition, vectors = seen[0]
    assert torch.equal(condition.abs().amax(dim=(1, 2, 3)) == 0, drop.latents) and drop.latents.any()
    assert torch.equal(vectors.abs().amax(dim=(1, 2)) == 0, drop.vector) and drop.vector.any()
    # Noise on the embedding is each view's own.
    assert vectors[~drop.vector].std(dim=1).amax(dim=1).min() > 0


def test_gradients_reach_every_weight_of_the_denoiser_alone() -> None:
    pipeline = tiny_pipeline(camera_conditioning="rays")
    w2c, fxfycxcy = (torch.from_numpy(part).float()[None] for part in stack_cameras(facelift_rig()))
    batch = encode(pipeline, images(1), ViewCameras(w2c, fxfycxcy, 512))
    training_loss(pipeline.model, pipeline, batch, DiffusionLossConfig(condition_drop_rate=0), seeded())[0].backward()
    for name, parameter in pipeline.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert pipeline.vae is not None and pipeline.embedder is not None
    for part in (pipeline.vae, pipeline.embedder.image_encoder):
        assert all(parameter.grad is None for parameter in part.parameters())


def test_half_precision_keeps_the_loss_in_fp32(pipeline: MVDiffusion) -> None:
    batch = encode(pipeline, images())
    exact = training_loss(pipeline.model, pipeline, batch, DiffusionLossConfig(), seeded(2))[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        half = training_loss(pipeline.model, pipeline, batch, DiffusionLossConfig(), seeded(2))[0]
    assert half.dtype == torch.float32 and abs(float(half.detach()) - float(exact)) < 0.05 * float(exact)


def test_a_missing_embedding_is_refused(pipeline: MVDiffusion) -> None:
    batch = replace(encode(pipeline, images()), embeddings=None)
    with pytest.raises(InputError, match="no image embeddings"):
        training_loss(pipeline.model, pipeline, batch, DiffusionLossConfig(), seeded())
    with pytest.raises(InputError, match="15x15 px"):
        encode(pipeline, torch.rand(1, 6, 3, 15, 15))


@pytest.mark.parametrize("fields", [{"min_snr_gamma": -1}, {"condition_drop_rate": 0.4}])
def test_impossible_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="loss:"):
        DiffusionLossConfig(**fields)


@pytest.mark.slow
def test_a_tiny_pixel_model_learns_one_object() -> None:
    torch.manual_seed(0)
    pipeline = new_pipeline(preset("debug"))
    picture = torch.zeros(1, 6, 3, IMAGE_SIZE, IMAGE_SIZE)
    for view in range(6):
        picture[:, view, view % 3, 4:12, 2 + view : 10 + view] = 1
    batch = encode(pipeline, picture)
    optimiser = torch.optim.AdamW(pipeline.model.parameters(), lr=4e-3)
    config = DiffusionLossConfig(timesteps="view", condition_drop_rate=0)

    def error() -> float:
        with torch.no_grad():
            draws = [training_loss(pipeline.model, pipeline, batch, config, seeded(i))[1]["mse"] for i in range(5)]
        return float(torch.stack(draws).mean())

    before = error()
    for step in range(60):
        loss, _ = training_loss(pipeline.model, pipeline, batch, config, seeded(100 + step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert error() < 0.5 * before
