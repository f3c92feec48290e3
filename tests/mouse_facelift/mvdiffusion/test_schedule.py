"""The noise schedule's published numbers, and samplers by name."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.schedule import (
    ScheduleConfig,
    denoising_schedule,
    prediction_type,
    sampler,
    signal_level,
)


def test_facelifts_numbers() -> None:
    schedule = denoising_schedule(ScheduleConfig())
    ends = signal_level(schedule, torch.tensor([[0, 999]]))
    assert torch.allclose(ends, torch.tensor([[0.99914998, 0.00466010]]), atol=1e-7)
    schedule.set_timesteps(50)
    assert schedule.timesteps[[0, 1, -2, -1]].tolist() == [981, 961, 21, 1]
    schedule.set_timesteps(20)
    assert schedule.timesteps[[0, -1]].tolist() == [951, 1]
    assert prediction_type(schedule) == "v_prediction"


def test_zero_terminal_snr_ends_in_pure_noise_and_samples_from_there() -> None:
    schedule = denoising_schedule(ScheduleConfig(zero_terminal_snr=True))
    assert signal_level(schedule, torch.tensor(999)) < 1e-7
    schedule.set_timesteps(10)
    assert schedule.timesteps[0] == 999
    # The last step ends at the picture, not a little before it.
    assert schedule.final_alpha_cumprod == 1 > denoising_schedule(ScheduleConfig()).final_alpha_cumprod
    with pytest.raises(InputError, match="zero_terminal_snr"):
        ScheduleConfig(prediction="epsilon", zero_terminal_snr=True)


def test_samplers_share_the_schedule_and_leave_the_stored_one_alone() -> None:
    stored = denoising_schedule(ScheduleConfig())
    for name in (None, "DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler"):
        made = sampler(stored, name)
        assert made is not stored and made.config.prediction_type == "v_prediction"
        assert torch.equal(made.alphas_cumprod, stored.alphas_cumprod)


def test_unknown_samplers_and_predictions_are_refused() -> None:
    stored = denoising_schedule(ScheduleConfig())
    with pytest.raises(InputError, match="did you mean 'DDIMScheduler'"):
        sampler(stored, "DDImScheduler")
    with pytest.raises(InputError, match="'os'"):
        sampler(stored, "os")
    with pytest.raises(InputError, match="prediction_type is 'flow'"):
        prediction_type(DDPMScheduler(prediction_type=cast(Any, "flow")))
