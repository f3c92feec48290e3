"""Multi-view diffusion as the training loop sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.cameras import Camera
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.mvdiffusion.conditioning import ViewCameras
from mouse_facelift.mvdiffusion.encodings import COLUMNS as ENCODED_COLUMNS
from mouse_facelift.mvdiffusion.encodings import Encodings
from mouse_facelift.mvdiffusion.pipeline import FrozenParts, MVDiffusion
from mouse_facelift.mvdiffusion.sampling import sample, seeded
from mouse_facelift.mvdiffusion.scoring import Generated, TrueViews, model_scores, rival_scores, view_sheet
from mouse_facelift.mvdiffusion.source import KIND
from mouse_facelift.mvdiffusion.step import EncodedBatch, encode, training_loss
from mouse_facelift.mvdiffusion.unet import MultiViewUNet
from mouse_facelift.mvdiffusion.views import (
    ANY_RIG,
    BACKGROUNDS,
    composited,
    decode_reduced,
    drawn_backgrounds,
    drawn_orders,
    in_order,
    row_cameras,
    some_mirrored,
    view_orders,
)
from training.mvdiffusion_settings import MVDiffusionTrainingConfig
from training.task import Moment, Panels, Row, Tensors

MeanViews = Float[np.ndarray, "v 3 s s"]


@dataclass(frozen=True)
class MVDiffusionTask:
    """See `training.task.Task`. Every worker reads the frozen components for itself, from the source's folder.

    Attributes:
        config: of the run, its references decided.
        encodings: where a step finds what the encoders say; None to run them in every step.
        mean_views: the mean training image per view, the second baseline; None where it is not known.
    """

    config: MVDiffusionTrainingConfig
    encodings: Encodings | None = None
    mean_views: MeanViews | None = None

    kind = KIND
    verdict = ("psnr_foreground", "mean_psnr_foreground")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the training rows: the dataset's, or those of its encodings."""
        return ENCODED_COLUMNS if self.encodings else ("sample_id", "images", "camera", "w2c", "fxfycxcy")

    def build_model(self) -> MultiViewUNet:
        model = self.config.model.pipeline().model
        if self.config.gradient_checkpointing:
            model.unet.enable_gradient_checkpointing()
        return model.train()

    def companions(self, device: torch.device) -> FrozenParts:
        frozen = self.config.model.frozen()
        if self.encodings is not None:
            self.encodings.check_encoder(frozen)
        return frozen.to(device)

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        inner = _inner(model)
        views = batch["orders"].shape[2]
        if self.config.views.num_targets:
            views = min(views, 1 + self.config.views.num_targets)
        if self.encodings is None:
            side = self.config.views.image_size // self.config.model.cell
        else:
            side = self.encodings.moments[-1]
        attends = cast(Any, inner.unet.config).down_block_types
        finest = next((i for i, name in enumerate(attends) if "Attn" in name), len(attends) - 1)
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "latent_size": f"{inner.latent_channels}x{side}x{side}",
            "views": views,
            # Of all views together where attention is widest: what memory and time grow with.
            "tokens": views * (side // inner.adapter.patch // 2**finest) ** 2,
            "references": ", ".join(self.config.views.references),
            "encoders": "in every step" if self.encodings is None else "cached",
        }

    def check_sample(self, row: Row) -> None:
        orders = view_orders(row, self.config.views.references, self.config.rule())
        wanted = 1 + self.config.views.num_targets
        if orders.shape[1] < max(wanted, 2):
            raise InputError(
                f"sample {row['sample_id']} has {orders.shape[1]} views, the run asks for a reference and "
                f"{max(wanted - 1, 1)} targets; lower --views.num-targets"
            )
        if self.encodings is None:
            decode_reduced(row, self.config.views.image_size)
        else:
            self.encodings.decode(row)

    def collate(self, rows: Sequence[Row]) -> Tensors:
        views, rule = self.config.views, self.config.rule()
        orders = [view_orders(row, views.references, rule) for row in rows]
        cameras = {len(row["camera"]) for row in rows}
        if len(cameras) > 1:
            raise InputError(
                f"training: samples of {min(cameras)} and of {max(cameras)} cameras in one dataset; make one dataset "
                "per rig"
            )
        batch = _padded_orders(orders)
        if self.encodings is not None:
            decoded = [self.encodings.decode(row) for row in rows]
            batch["moments"] = torch.stack([moments for moments, _ in decoded])
            embedded = [embeddings for _, embeddings in decoded if embeddings is not None]
            if embedded:
                batch["embeddings"] = torch.stack(embedded)
            poses = [row_cameras(row) for row in rows]
            w2c, fxfycxcy = [pose for pose, _ in poses], [intrinsics for _, intrinsics in poses]
        else:
            pictures = [decode_reduced(row, views.image_size) for row in rows]
            # Eight bits per channel until the model's device: a quarter of the way to carry.
            batch["images"] = torch.from_numpy(np.stack([picture.images for picture in pictures]))
            w2c, fxfycxcy = [p.w2c for p in pictures], [p.fxfycxcy for p in pictures]
        batch["w2c"], batch["fxfycxcy"] = torch.from_numpy(np.stack(w2c)), torch.from_numpy(np.stack(fxfycxcy))
        return batch

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        frozen: FrozenParts = moment.companions
        pipeline = frozen.around(_inner(model))
        encoded = self._encoded(pipeline, batch, moment.generator)
        return training_loss(model, pipeline, encoded, self.config.losses, moment.generator)

    def _encoded(self, pipeline: MVDiffusion, batch: Tensors, generator: torch.Generator) -> EncodedBatch:
        """A batch with its references, targets and backgrounds drawn, as the denoiser's step takes it."""
        views = self.config.views
        order = drawn_orders(batch["orders"], batch["references"], views.num_targets, generator)
        chosen = drawn_backgrounds(len(order), views, generator)
        w2c, fxfycxcy = (in_order(batch[name], order) for name in ("w2c", "fxfycxcy"))
        rays = pipeline.model.cameras == "rays"
        if self.encodings is None:
            levels = torch.tensor([BACKGROUNDS[views.backgrounds[i]] for i in chosen.tolist()])
            pictures = composited(in_order(batch["images"], order), levels, pipeline.image_channels)
            objects = Batch(pictures, w2c, fxfycxcy)
            if views.mirror:
                objects = some_mirrored(objects, pipeline.model.slots, generator)
            cameras = ViewCameras(objects.w2c, objects.fxfycxcy, views.image_size) if rays else None
            return encode(pipeline, objects.images, cameras)
        cameras = ViewCameras(w2c, fxfycxcy, views.image_size) if rays else None
        kept = torch.tensor([self.encodings.backgrounds.index(views.backgrounds[i]) for i in chosen.tolist()])
        objects = torch.arange(len(order), device=order.device)
        kept = kept.to(order.device)
        targets = in_order(batch["moments"][objects, kept], order).float()
        embeddings = batch["embeddings"][objects, kept, order[:, 0]] if "embeddings" in batch else None
        return EncodedBatch(targets, targets[:, 0], embeddings, cameras)

    def evaluate(
        self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: FrozenParts
    ) -> list[dict[str, float]]:
        """All views of each sample are generated from its first reference, and compared with the true ones.

        Plain names are of the first guidance scale, those of the others end in `_guidance_1` and so on; the mean over
        views leaves the reference out, which every name of a slot speaks of by itself.
        """
        pipeline = companions.around(_inner(model))
        scores = []
        for number, row in rows:
            truth = self.true_views(row)
            mean = None if self.mean_views is None else torch.from_numpy(self.mean_views)
            found = rival_scores(truth, mean)
            for guidance in self.config.validation.guidance:
                named = model_scores(Generated.of(self.generate(pipeline, truth, number, guidance), truth), truth)
                first = guidance == self.config.validation.guidance[0]
                found |= named if first else {f"{name}_guidance_{guidance:g}": value for name, value in named.items()}
            scores.append(found)
        return scores

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: FrozenParts) -> Panels:
        """One sheet per row: the true views, and those generated at each guidance scale."""
        pipeline = companions.around(_inner(model))
        sheets = {}
        for number, row in rows:
            truth = self.true_views(row)
            made = {
                f"guidance {guidance:g}": self.generate(pipeline, truth, number, guidance)[:, :3]
                for guidance in self.config.validation.guidance
            }
            sheets[f"sample{number}"] = view_sheet(truth, made)
        return sheets

    def true_views(self, row: Row) -> TrueViews:
        """A sample in the order of its first reference, on the background that is evaluated on."""
        config = self.config.views
        order = view_orders(row, config.references[:1], self.config.rule())[0]
        if config.num_targets:
            order = order[: 1 + config.num_targets]
        views = decode_reduced(row, config.image_size)
        images = torch.from_numpy(views.images[order])
        level = BACKGROUNDS[config.backgrounds[0]]
        side, cameras = config.image_size, []
        for name, pose, (fx, fy, cx, cy) in zip(
            np.array(row["camera"])[order], views.w2c[order].astype(np.float64), views.fxfycxcy[order], strict=True
        ):
            K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
            cameras.append(Camera(str(name), side, side, K, pose[:3, :3], pose[:3, 3]))
        masks = images[..., 3].float() / 255
        names = self.config.rule().names(len(order))
        return TrueViews(composited(images[None], torch.tensor([level]))[0], masks, tuple(cameras), level, names)

    def generate(
        self, pipeline: MVDiffusion, truth: TrueViews, number: int, guidance: float
    ) -> Float[Tensor, "v c h w"]:
        cameras = None
        if pipeline.model.cameras == "rays":
            w2c = torch.from_numpy(np.stack([camera.w2c for camera in truth.cameras])).float()[None]
            fxfycxcy = torch.from_numpy(np.stack([camera.fxfycxcy for camera in truth.cameras])).float()[None]
            cameras = ViewCameras(w2c, fxfycxcy, self.config.views.image_size)
        reference = truth.images[:1]
        if pipeline.image_channels == 4:
            reference = torch.cat([reference, truth.masks[:1, None]], dim=1)
        validation = self.config.validation
        half = self.config.precision == "bf16"
        with torch.autocast(pipeline.device.type, torch.bfloat16, enabled=half):
            made = sample(
                pipeline,
                reference,
                seeded([validation.seed + number]),
                validation.sampling(guidance),
                cameras=cameras,
            )
        return made[0].float().cpu()


def _inner(model: nn.Module) -> MultiViewUNet:
    """The model itself, of one that DDP wraps."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, MultiViewUNet)
    return inner


def _padded_orders(orders: Sequence[np.ndarray]) -> Tensors:
    """Orders of all samples in one tensor, and how many each has; the rest repeats its last."""
    most, views = max(map(len, orders)), {order.shape[1] for order in orders}
    if len(views) > 1:
        raise InputError(f"training: samples of {min(views)} and of {max(views)} views in one dataset; {ANY_RIG}")
    padded = [np.concatenate([order, order[-1:].repeat(most - len(order), axis=0)]) for order in orders]
    counts = torch.tensor([len(order) for order in orders])
    return {"orders": torch.from_numpy(np.stack(padded)), "references": counts}
