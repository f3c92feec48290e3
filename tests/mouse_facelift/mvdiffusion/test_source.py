"""Where a pipeline comes from, and where a run's is found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.presets import preset
from mouse_facelift.mvdiffusion.source import PipelineSource, load_mvdiffusion
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET


def test_frozen_parts_are_the_pipelines_without_denoiser_and_text(pipeline_folder: Path) -> None:
    source = PipelineSource(pipeline_folder)
    frozen, whole = source.frozen(), source.pipeline()
    assert frozen.prompter is None and frozen.vae is not None and whole.vae is not None
    first, second = frozen.vae.state_dict(), whole.vae.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert source.cell == whole.cell == 2 and PipelineSource().cell == 1
    assert source.conditioning == "none" and PipelineSource(scratch=preset("facelift-512-rays")).conditioning == "rays"


def test_a_folder_can_be_given_rays_and_other_slots(pipeline_folder: Path) -> None:
    pipeline = PipelineSource(pipeline_folder, cameras="rays", slots=REFERENCE_AND_TARGET).pipeline()
    assert pipeline.model.cameras == "rays" and pipeline.model.slots == REFERENCE_AND_TARGET
    assert pipeline.model.tokens.shape[0] == 2 and not torch.equal(*pipeline.model.tokens)


def test_a_checkpoint_is_read_by_its_own_configuration(pipeline_folder: Path, tmp_path: Path) -> None:
    source = PipelineSource(pipeline_folder, cameras="rays")
    model = source.pipeline().model
    with torch.no_grad():
        model.unet.conv_in.weight.add_(1)
    config = {"model": to_plain(source)}
    write_checkpoint(tmp_path / "run", kind="mvdiffusion", weights=model.state_dict(), config=config, metrics={})
    loaded = load_mvdiffusion(tmp_path / "run")
    assert loaded.embedder is not None and torch.equal(loaded.model.unet.conv_in.weight, model.unet.conv_in.weight)
    write_checkpoint(tmp_path / "other", kind="gslrm", weights=model.state_dict(), config=config, metrics={})
    with pytest.raises(InputError, match="holds a model of kind 'gslrm', not mvdiffusion"):
        load_mvdiffusion(tmp_path / "other")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --model.folder as well"):
        PipelineSource(prompt_embeddings=tmp_path / "clr_embeds.pt")
    with pytest.raises(InputError, match="start from a pipeline folder"):
        PipelineSource(scratch=preset("facelift-512")).frozen()
