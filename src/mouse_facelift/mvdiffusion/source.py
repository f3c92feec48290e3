"""Where a model comes from: an architecture to be trained from scratch, a pipeline folder, or a finished run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.checkpoints import CONFIG_FILE, find_checkpoint, load_weights, read_config
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.pipeline import (
    INDEX_FILE,
    FrozenParts,
    MVDiffusion,
    load_frozen,
    load_pipeline,
)
from mouse_facelift.mvdiffusion.preflight import check_pipeline
from mouse_facelift.mvdiffusion.presets import MVDiffusionConfig, check_trainable_from_scratch, new_pipeline, preset
from mouse_facelift.mvdiffusion.schedule import denoising_schedule
from mouse_facelift.mvdiffusion.unet import CameraConditioning
from mouse_facelift.plain import from_plain

KIND = "mvdiffusion"
"""What checkpoints call the model."""

RUN_PIPELINE = "pipeline"
"""Where a finished run keeps its pipeline folder, inside the run's folder."""


@dataclass(frozen=True)
class PipelineSource:
    """What is trained, and beside which frozen components.

    Raises:
        InputError: settings that contradict each other.
    """

    folder: Path | None = None
    """A diffusers pipeline folder: FaceLift's pipeckpts, Stable Diffusion 2.1-unCLIP, or RUN/pipeline of an earlier
    run. Its denoiser is the start; VAE, image encoder and schedule are used as they are."""
    prompt_embeddings: Path | None = None
    """With a folder: tokens of the slots (FaceLift's clr_embeds.pt, or .safetensors); by default the folder's own, or
    made by its text encoder."""
    cameras: CameraConditioning = "none"
    """With a folder: "rays" gives the denoiser the views' cameras, through channels that weigh nothing at first."""
    slots: tuple[str, ...] = FACELIFT_SLOTS
    """With a folder: names of the views. "reference" "target" serves any number of views, with rays."""
    scratch: MVDiffusionConfig = field(default_factory=lambda: preset("small"))
    """Without a folder: the architecture that is trained from random weights, over pixels."""

    def __post_init__(self) -> None:
        if self.folder is None and self.prompt_embeddings is not None:
            raise InputError("model: prompt_embeddings belong to a pipeline folder; give --model.folder as well")

    @property
    def conditioning(self) -> CameraConditioning:
        """What the model is told of its cameras."""
        return self.scratch.unet.camera_conditioning if self.folder is None else self.cameras

    @property
    def view_slots(self) -> tuple[str, ...]:
        """The model's slots."""
        return self.scratch.slots if self.folder is None else self.slots

    @property
    def cell(self) -> int:
        """Pixels per side of a denoised cell.

        Raises:
            InputError: the folder's VAE cannot be read.
        """
        if self.folder is None:
            return 1
        file = self.folder / "vae" / "config.json"
        try:
            return 2 ** (len(json.loads(file.read_text(encoding="utf-8"))["block_out_channels"]) - 1)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file}: cannot be read ({error}); the pipeline folder is incomplete") from error

    def pipeline(self) -> MVDiffusion:
        """The whole pipeline on the CPU; from scratch, torch's global seed decides the weights.

        Raises:
            InputError: the folder is incomplete, or there is none and the architecture needs one.
        """
        if self.folder is None:
            return new_pipeline(self.scratch)
        return load_pipeline(self.folder, self.prompt_embeddings, cameras=self.cameras, slots=self.slots)

    def check(self) -> None:
        """Refuse what `pipeline` would, without reading any weights.

        Raises:
            InputError: as for `pipeline`.
        """
        if self.folder is None:
            check_trainable_from_scratch(self.scratch)
        else:
            check_pipeline(self.folder, self.prompt_embeddings, cameras=self.cameras, slots=self.slots)

    def frozen(self) -> FrozenParts:
        """Everything but the denoiser and the text branch, on the CPU.

        Raises:
            InputError: as for `pipeline`.
        """
        if self.folder is None:
            check_trainable_from_scratch(self.scratch)
            return FrozenParts(denoising_schedule(self.scratch.schedule))
        return load_frozen(self.folder, prompter=False)


def load_mvdiffusion(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> MVDiffusion:
    """The pipeline of a pipeline folder, a finished run, or one of a run's checkpoints; in evaluation mode.

    A checkpoint holds the denoiser alone: its other components are read from where the run took them.

    Raises:
        InputError: none of these is there, a checkpoint is of another model, or something is damaged.
    """
    for folder in (path, path / RUN_PIPELINE):
        if (folder / INDEX_FILE).is_file():
            return load_pipeline(folder, device=device, dtype=dtype)
    config = read_config(path)
    file = str(find_checkpoint(path) / CONFIG_FILE)
    if config["kind"] != KIND:
        raise InputError(f"{file}: holds a model of kind '{config['kind']}', not {KIND}; give an {KIND} checkpoint")
    if "model" not in config:
        raise InputError(f"{file}: key 'model' is missing; the checkpoint is incomplete")
    pipeline = from_plain(PipelineSource, config["model"], source=file).pipeline()
    load_weights(pipeline.model, path)
    pipeline.model.eval()
    return pipeline.to(device, dtype)
