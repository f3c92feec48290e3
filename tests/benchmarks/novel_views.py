"""How good a trained GS-LRM is where it was never trained: cameras that no dataset holds, at held-out times.

    python -m tests.benchmarks.novel_views --data DATASET --checkpoint RUN --cameras CAPTURE/truth

`--cameras` is a folder with `novel_cam.pkl` (MAMMAL's form) and `novel_K.mp4`, `novel_mask_K.mp4` per camera, filmed
beside the recording that the dataset was made of. Every sample of split=val is reconstructed from its views, and the
further cameras' frames are normalised exactly as the dataset's were: same centre, scale, size and zoom. Also scored:
each of the dataset's own cameras, left out of the input (the sixth when five go in). Beside the model stand the blank
picture, the nearest input view, and the model's own starting point (the same architecture, weights as initialised).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.cameras.mammal import mammal_names, read_mammal
from mouse_facelift.capture.video import probe, read_frames
from mouse_facelift.checkpoints import load_gslrm
from mouse_facelift.evaluation.images import encode_png
from mouse_facelift.evaluation.metrics import ViewMetrics, blank_image, mean_metrics, nearest_input_view, view_metrics
from mouse_facelift.evaluation.reconstruction import choose_views, reconstruct_sample
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.normalise import normalise_view, normalised_camera
from mouse_facelift.samples.schema import Sample


@dataclass(frozen=True)
class Config:
    """What is scored."""

    data: str
    """Dataset; only split=val is used."""
    checkpoint: Path
    """Run or checkpoint."""
    cameras: Path
    """Folder of the further cameras."""
    picture: Path | None = None
    """Where to put a sheet of truth and rendering of the further cameras."""
    leave_one_out: bool = True
    """Score the dataset's own cameras as well."""


@dataclass(frozen=True)
class NovelView:
    """A further camera's frame in a sample's normalised world."""

    camera: Camera
    rgb: Float[Tensor, "s s 3"]
    """On white."""
    mask: Float[Tensor, "s s"]


def novel_views(folder: Path, samples: Sequence[Sample], zoom: float) -> Iterator[list[NovelView]]:
    """The further cameras' views of each sample, whose frames must ascend."""
    names = mammal_names(folder / "novel_cam.pkl")
    videos = [str(folder / f"novel_{name}.mp4") for name in names]
    masks = [str(folder / f"novel_mask_{name}.mp4") for name in names]
    size = probe(videos[0])
    cameras = read_mammal(folder / "novel_cam.pkl", (size.width, size.height))
    frames = [sample.frame for sample in samples]
    streams = [
        (read_frames(v, frames, "auto"), read_frames(m, frames, "auto")) for v, m in zip(videos, masks, strict=True)
    ]
    for sample in samples:
        found = []
        for camera, (colour, mask) in zip(cameras, streams, strict=True):
            side = sample.images.shape[1]
            target = normalised_camera(camera, sample.centre_mm, sample.scale, side, zoom)
            view = normalise_view(next(colour)[1], next(mask)[1][..., 0] > 127, camera, target)
            rgba = torch.from_numpy(view.image).float() / 255
            found.append(NovelView(target, rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], rgba[..., 3]))
        yield found


def score_novel(model: GSLRM, sample: Sample, views: Sequence[NovelView]) -> tuple[dict[str, list[ViewMetrics]], list]:
    """Scores of all further views of one sample, and (truth, rendering) pairs."""
    made = reconstruct_sample(model, sample, choose_views(sample.cameras, "none", None, 0))
    w2c, fxfycxcy = (torch.from_numpy(a).float() for a in stack_cameras([v.camera for v in views]))
    own = torch.from_numpy(stack_cameras(sample.cameras)[0]).float()
    side = sample.images.shape[1]
    drawn = render(made.gaussians, w2c, fxfycxcy, side, side, background=torch.ones(3))
    rows: dict[str, list[ViewMetrics]] = {"model": [], "blank": [], "nearest": []}
    for number, view in enumerate(views):
        nearest = nearest_input_view(w2c[number], own)
        rows["model"].append(view_metrics(drawn.rgb[number], drawn.alpha[number], view.rgb, view.mask))
        rows["blank"].append(view_metrics(*blank_image(side, side, torch.ones(3)), view.rgb, view.mask))
        rows["nearest"].append(view_metrics(made.truth[nearest], made.masks[nearest], view.rgb, view.mask))
    return rows, [(view.rgb, drawn.rgb[n].clamp(0, 1)) for n, view in enumerate(views)]


def score_left_out(model: GSLRM, sample: Sample) -> list[ViewMetrics]:
    """Every camera of the sample in turn left out and scored."""
    found = []
    for camera in sample.cameras:
        scores = reconstruct_sample(model, sample, choose_views(sample.cameras, camera.name, None, 0)).scores
        assert scores is not None
        found.append(scores.model)
    return found


def main(config: Config) -> None:
    dataset = open_dataset(config.data)
    samples = list(dataset.samples("val"))
    model = load_gslrm(config.checkpoint)
    zoom = dataset.manifest["similarity"]["zoom"]
    rows: dict[str, list[ViewMetrics]] = {}
    pictures = []
    for sample, views in zip(samples, novel_views(config.cameras, samples, zoom), strict=True):
        scores, shown = score_novel(model, sample, views)
        pictures.append(shown)
        for name, values in scores.items():
            rows.setdefault(f"further cameras, {name}", []).extend(values)
        if config.leave_one_out:
            rows.setdefault("own camera left out, model", []).extend(score_left_out(model, sample))
    names = [field.name for field in fields(ViewMetrics)]
    print(f"{len(samples)} held-out samples; {'':22}" + "".join(f"{name:>17}" for name in names))
    for name, values in rows.items():
        mean = mean_metrics(values)
        print(f"{name:44}" + "".join(f"{getattr(mean, n):17.3f}" for n in names))
    if config.picture:
        chosen = pictures[:: max(1, len(pictures) // 4)][:4]
        sheet = torch.cat([torch.cat([torch.cat(pair, dim=0) for pair in shown], dim=1) for shown in chosen], dim=0)
        config.picture.write_bytes(encode_png((sheet * 255).round().to(torch.uint8).numpy().astype(np.uint8)))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
