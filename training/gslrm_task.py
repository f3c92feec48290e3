"""GS-LRM as the training loop sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.outputs import held_out_sheet
from mouse_facelift.evaluation.reconstruction import ROTATE, Reconstruction, choose_views, reconstruct_sample
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.gslrm.losses import LossNetworks
from mouse_facelift.gslrm.model import GSLRM, compiled
from mouse_facelift.gslrm.step import training_loss
from mouse_facelift.perceptual.distances import LPIPS
from mouse_facelift.samples.reduction import reduced_images, reduced_intrinsics, reduced_to, reduction_factor
from mouse_facelift.samples.schema import Sample, decode_views, placed, sample_from_row
from training.gslrm_memory import GIB, estimate_memory
from training.gslrm_settings import GSLRMTrainingConfig
from training.task import Moment, Panels, Row, Tensors


@dataclass(frozen=True)
class GSLRMTask:
    """See `training.task.Task`. Images larger than the model's `image_size` are averaged down to it, exactly."""

    config: GSLRMTrainingConfig

    kind = "gslrm"
    columns = ("sample_id", "images", "camera", "w2c", "fxfycxcy")
    verdict = ("psnr_foreground", "blank_psnr_foreground")

    def build_model(self) -> GSLRM:
        model = GSLRM(self.config.model)
        return compiled(model) if self.config.compile else model

    def companions(self, device: torch.device) -> LossNetworks:
        return LossNetworks.load(self.config.losses, device)

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        samples, _, height, width = batch["images"].shape[:4]
        settings, inputs = self.config.model, self.config.views.num_inputs
        memory = estimate_memory(self.config, height)
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tokens": inputs * (height // settings.patch_size) * (width // settings.patch_size)
            + settings.free_gaussians,
            "gaussians": inputs * height * width + settings.free_gaussians,
            "memory_estimate_gib": round(memory.total(samples) / GIB, 2),
        }

    def check_sample(self, row: Row) -> None:
        asked, patch, name = self.config.views, self.config.model.patch_size, f"sample {row['sample_id']}"
        for camera in asked.hold_out:
            if camera not in row["camera"]:
                raise InputError(f"{name} has no camera {camera} to hold out; it has {', '.join(row['camera'])}")
        images, _, _ = self._decoded(row)
        views, height, width = images.shape[:3]
        if views < max(asked.num_inputs, asked.num_targets):
            raise InputError(
                f"{name} has {views} views to train on, the run asks for {asked.num_inputs} inputs and "
                f"{asked.num_targets} targets; lower --views.num-inputs or --views.num-targets"
            )
        factor = reduction_factor(height, self.config.model.image_size, name)
        if height % (factor * patch) or width % (factor * patch):
            raise InputError(
                f"{name} has images of {width}x{height} px, not a multiple of the patch of {patch} px; "
                "preprocess with another --image-size"
            )

    def collate(self, rows: Sequence[Row]) -> Tensors:
        images, w2c, fxfycxcy = (np.stack(part) for part in zip(*map(self._views, rows), strict=True))
        # Eight bits per channel until the model's device: a quarter of the way to carry.
        return {
            "images": torch.from_numpy(images),
            "w2c": torch.from_numpy(w2c),
            "fxfycxcy": torch.from_numpy(fxfycxcy),
        }

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        images = batch["images"].permute(0, 1, 4, 2, 3).float() / 255
        return training_loss(
            model,
            Batch(images, batch["w2c"], batch["fxfycxcy"]),
            self.config.losses,
            self.config.views,
            moment.generator,
            step=moment.step,
            networks=moment.companions,
        )

    def evaluate(
        self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: LossNetworks
    ) -> list[dict[str, float]]:
        """All views but one go in, the one left out is compared; which one rotates with the row's number.

        Cameras held out from training never go in; where there are any, the one left out is one of them.
        """
        scores = [self._held_out(model, number, row, companions)[1].scores for number, row in rows]
        return [score.named() for score in scores if score is not None]

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: LossNetworks) -> Panels:
        """One sheet per row: the nearest input, the target, what is drawn of it, the error, and the silhouette."""
        return {
            f"sample{number}": held_out_sheet(*self._held_out(model, number, row, companions)) for number, row in rows
        }

    def _trained_views(self, row: Row) -> list[int]:
        """Positions of the views that are not held out from training."""
        return [view for view, camera in enumerate(row["camera"]) if camera not in self.config.views.hold_out]

    def _decoded(self, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with placed(self._name(row)):
            return decode_views(row, self._trained_views(row))

    def _name(self, row: Row) -> str:
        return f"{self.config.data}, sample {row['sample_id']}"

    def _views(self, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, w2c, fxfycxcy = self._decoded(row)
        factor = reduction_factor(images.shape[1], self.config.model.image_size, f"sample {row['sample_id']}")
        return reduced_images(images, factor), w2c, reduced_intrinsics(fxfycxcy, factor)

    def _held_out(self, model: nn.Module, number: int, row: Row, networks: Any) -> tuple[Sample, Reconstruction]:
        assert isinstance(model, GSLRM)
        with placed(self._name(row)):
            sample = sample_from_row(row)
        sample = reduced_to(sample, self.config.model.image_size)
        never = self.config.views.hold_out
        choice = choose_views(sample.cameras, never[number % len(never)] if never else ROTATE, None, number, never)
        lpips = networks.lpips if isinstance(networks.lpips, LPIPS) else None
        background = self.config.views.background
        return sample, reconstruct_sample(model, sample, choice, background=background, lpips=lpips)
