"""A task small enough to train in milliseconds: a line through noisy points, drawn anew with every step's generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mouse_facelift.samples.schema import decode_views
from training.task import Moment, Panels, Row, Tensors


@dataclass(frozen=True)
class TinyTask:
    """Learn an image's mean colour from its cameras' intrinsics; reads real sample rows."""

    noise: float = 1.0

    kind = "tiny"
    columns = ("sample_id", "images", "w2c", "fxfycxcy")
    verdict = ("score", "blank_score")

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))

    def companions(self, device: torch.device) -> None:
        return None

    def describe(self, model: nn.Module, batch: Tensors) -> dict[str, int | float | str]:
        return {"parameters": sum(p.numel() for p in model.parameters())}

    def check_sample(self, row: Row) -> None:
        decode_views(row)

    def collate(self, rows: Sequence[Row]) -> Tensors:
        views = [decode_views(row) for row in rows]
        colours = np.stack([images.mean(axis=(0, 1, 2)) / 255 for images, _, _ in views])
        return {
            "intrinsics": torch.from_numpy(np.stack([intrinsics[0] / 32 for _, _, intrinsics in views])),
            "colours": torch.from_numpy(colours.astype(np.float32)),
        }

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        noise = self.noise * torch.rand(batch["intrinsics"].shape, generator=moment.generator)
        loss = (model(batch["intrinsics"] + noise) - batch["colours"]).square().mean()
        return loss, {"loss": loss.detach()}

    def evaluate(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: None) -> list[dict[str, float]]:
        batches = [(number, self.collate([row])) for number, row in rows]
        errors = [float((model(b["intrinsics"]) - b["colours"]).square().mean()) for _, b in batches]
        return [
            {"score": -error, "blank_score": -1.0, "number": float(n)}
            for error, (n, _) in zip(errors, batches, strict=True)
        ]

    def panels(self, model: nn.Module, rows: Sequence[tuple[int, Row]], companions: None) -> Panels:
        """One patch of the predicted colour per row."""
        return {
            f"row{number}": np.full((4, 6, 3), round(self._mean(model, row) * 255), np.uint8) for number, row in rows
        }

    def _mean(self, model: nn.Module, row: Row) -> float:
        return float(model(self.collate([row])["intrinsics"]).clamp(0, 1).mean())


@dataclass(frozen=True)
class FragileTask(TinyTask):
    """Dies at the given call of `loss`, once per marker file."""

    marker: Path = Path("never")
    after: int = 0
    calls: list[int] = field(default_factory=list)

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        self.calls.append(1)
        if len(self.calls) > self.after and not self.marker.exists():
            self.marker.touch()
            raise RuntimeError("the machine went away")
        return super().loss(model, batch, moment)


class ListReporter:
    """Keeps log lines in a list and every checkpoint in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        self.pictures: dict[int, Panels] = {}

    def log(self, entry: dict[str, Any]) -> None:
        self.lines.append(entry)

    def panels(self, step: int, images: Panels) -> list[str]:
        self.pictures[step] = images
        return list(images)

    def checkpoint(self, metrics: dict[str, float], write: Callable[[Path], None], last: bool) -> None:
        write(self.folder / f"step{int(metrics['step'])}")
