"""FaceLift's training data and step, written from the description of its trainer, for benchmarks to race against.

The network itself is this project's, set as FaceLift sets it (same arithmetic, a checkpoint around every block), and
so is the renderer: what is compared is how the two trainers go about a step. The perceptual loss is left out on both
sides, since it would cost both the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.batched_gaussians import BatchedGaussians
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.facelift_folders import write_sample
from mouse_facelift.samples.facelift_lists import write_list
from mouse_facelift.samples.reduction import reduced_sample, reduction_factor
from mouse_facelift.storage import Store

LIST = "data_train.txt"
PREFETCH = 32
"""Batches each of FaceLift's loader processes may be ahead."""


def export_folders(data: str, out: Path, samples: int, size: int) -> Path:
    """Some training samples of a dataset as FaceLift folders at `size` px; returns their list file."""
    folders = []
    for number, sample in zip(range(samples), open_dataset(data).samples("train"), strict=False):
        folders.append(str(out / f"sample_{number:06d}"))
        write_sample(folders[-1], reduced_sample(sample, reduction_factor(sample.images.shape[1], size, data)))
    write_list(Store.at(out), LIST, folders)
    return out / LIST


def write_pngs_as_pillow_does(list_file: Path) -> None:
    """Write all pictures of a list again with Pillow's own settings, as data made by other software comes."""
    for line in list_file.read_text().split():
        for path in sorted(Path(line).glob("images/*.png")):
            Image.open(path).save(path)


class FaceLiftScenes(Dataset[dict[str, Tensor]]):
    """Scenes of a list file: views drawn anew each time, inputs first; every picture laid over white."""

    def __init__(self, list_file: Path, size: int, inputs: int, views: int) -> None:
        self.folders = [line.strip() for line in list_file.read_text().split("\n") if line.strip()]
        self.size, self.inputs, self.views = size, inputs, views

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        folder = Path(self.folders[index])
        frames = json.loads((folder / "opencv_cameras.json").read_text())["frames"]
        ids = random.sample(range(len(frames)), self.views)
        ids = sorted(ids[: self.inputs]) + sorted(ids[self.inputs :])
        views = [self._view(folder, frames[i]) for i in ids]
        images, poses, lenses = (np.stack(part) for part in zip(*views, strict=True))
        return {
            "image": torch.from_numpy(images),
            "c2w": torch.from_numpy(poses),
            "fxfycxcy": torch.from_numpy(lenses),
            "index": torch.tensor([[i, index] for i in ids]),
            "bg_color": torch.ones(3),
        }

    def _view(self, folder: Path, frame: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = Image.open(folder / frame["file_path"])
        ratio = self.size / image.size[0]
        if ratio != 1:
            image = image.resize((self.size, self.size), Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        alpha = image.split()[3]
        canvas.paste(image, mask=alpha)
        canvas.putalpha(alpha)
        pixels = (np.asarray(canvas) / 255.0).astype(np.float32).transpose(2, 0, 1)
        c2w = np.linalg.inv(np.array(frame["w2c"], np.float64)).astype(np.float32)
        return pixels, c2w, np.array([frame[k] * ratio for k in ("fx", "fy", "cx", "cy")], np.float32)


class EndlessLoader:
    """FaceLift's data loader, one epoch after another; `pids` are its processes."""

    def __init__(self, scenes: FaceLiftScenes, batch_size: int, workers: int) -> None:
        self.loader = DataLoader(
            scenes,
            batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            persistent_workers=True,
            prefetch_factor=PREFETCH,
            multiprocessing_context="forkserver",
        )
        self.pids: list[int] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            epoch = iter(self.loader)
            self.pids = [worker.pid for worker in epoch._workers]  # type: ignore[attr-defined]
            yield from epoch


@dataclass(frozen=True)
class FaceLiftStep:
    """One update: everything checkpointed, views rendered one by one and once more in the backward pass, L2 on white.

    `deferred_one_by_one` off renders all views of a sample in one call and keeps what their gradients need.
    """

    inputs: int
    deferred_one_by_one: bool = True

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error over whole frames of all views, inputs among them."""
        w2c, lenses = batch["c2w"].inverse(), batch["fxfycxcy"]
        given = slice(0, self.inputs)
        gaussians: BatchedGaussians = model(batch["image"][:, given], w2c[:, given], lenses[:, given])
        drawn = [self.draw(gaussians, i, w2c[i], lenses[i], batch["image"].shape[-1]) for i in range(len(gaussians))]
        return (torch.stack(drawn).permute(0, 1, 4, 2, 3) - batch["image"][:, :, :3]).square().mean()

    def draw(
        self,
        gaussians: BatchedGaussians,
        sample: int,
        w2c: Float[Tensor, "v 4 4"],
        lenses: Float[Tensor, "v 4"],
        size: int,
    ) -> Float[Tensor, "v h w 3"]:
        """All views of a sample on white."""
        if not self.deferred_one_by_one:
            return render(gaussians.item(sample), w2c, lenses, size, size).rgb
        # The values are activated for every view again, as in FaceLift's renderer.
        views = [
            render(gaussians.item(sample), pose[None], lens[None], size, size, deferred=True).rgb
            for pose, lens in zip(w2c, lenses, strict=True)
        ]
        return torch.cat(views)


def facelift_update(model: nn.Module, optimiser: torch.optim.Optimizer, clip: float = 1.0) -> None:
    """Odd gradients replaced, the rest clipped; no step where their norm was beyond twenty times the bound."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(nan=0.0, posinf=1e-3, neginf=-1e-3)
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip))
    if norm <= 20 * clip:
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
