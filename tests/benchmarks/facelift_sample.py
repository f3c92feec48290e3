"""Can the model learn one head from FaceLift's own sample? Fitted on some of its 32 views, judged on others.

    python -m tests.benchmarks.facelift_sample --sample FOLDER/gslrm/sample_000 [--steps 600] [--out sheet.png]

The ring of 32 views is averaged down to 128 px. Of every four neighbours, in order of azimuth, the first is an input,
the second and fourth are supervised, the third is held out: it never enters the model and never a loss. Prints the
score of the eight held-out views as it grows, full frame on white (as FaceLift reports) and on the head alone, beside
the blank picture and the nearest input view; with --out, a sheet of all held-out views.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.evaluation.images import Panel, alpha_panel, error_map, write_contact_sheet
from mouse_facelift.evaluation.metrics import ViewMetrics, blank_image, mean_metrics, nearest_input_view, view_metrics
from mouse_facelift.gslrm import model as model_module
from mouse_facelift.gslrm.hull import HullSurface, hull_surface
from mouse_facelift.gslrm.loss_config import LossConfig
from mouse_facelift.gslrm.losses import image_losses
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.presets import preset
from mouse_facelift.gslrm.step import Batch, composite, model_images, render_views
from mouse_facelift.samples.facelift_folders import read_sample
from mouse_facelift.samples.reduction import reduced_sample
from training.optimiser import apply_gradients, learning_rate, make_optimiser
from training.settings import OptimiserConfig

SIZE = 128
INPUT, HELD_OUT = 0, 2
"""Place among four neighbours on the ring; the other two places are supervised."""


@dataclass(frozen=True)
class Config:
    """How the head is fitted."""

    sample: Path
    """Folder with 32 images and their `opencv_cameras.json`."""
    steps: int = 600
    targets: int = 4
    """Supervised views drawn per step, of 16."""
    lr: float = 1.5e-3
    ssim: float = 0.2
    """Weight of the SSIM term."""
    foreground_weight: float = 2.0
    report_every: int = 100
    seed: int = 0
    out: Path | None = None
    """Where a sheet of the held-out views goes."""


def ring(folder: Path) -> tuple[Batch, dict[str, list[int]]]:
    """All views at `SIZE` px in order of azimuth, and which are for what."""
    sample = read_sample(folder)
    sample = reduced_sample(sample, sample.images.shape[1] // SIZE)
    around = sorted(range(len(sample.cameras)), key=lambda v: math.atan2(*sample.cameras[v].centre[1::-1]))
    images = torch.from_numpy(sample.images[around]).permute(0, 3, 1, 2).float() / 255
    w2c, lenses = (torch.from_numpy(a).float() for a in stack_cameras([sample.cameras[v] for v in around]))
    places = range(len(around))
    use = {
        "inputs": [v for v in places if v % 4 == INPUT],
        "held out": [v for v in places if v % 4 == HELD_OUT],
        "supervised": [v for v in places if v % 4 not in (INPUT, HELD_OUT)],
    }
    return Batch(images[None], w2c[None], lenses[None]), use


def chosen(batch: Batch, views: list[int]) -> Batch:
    """Some views of the only sample."""
    return batch.select(torch.tensor([views]))


def make_model(seed: int) -> GSLRM:
    """The demo's recipe, with the hull deciding which Gaussians are seen and which patches get a token."""
    torch.manual_seed(seed)
    return GSLRM(replace(preset("demo"), image_size=SIZE, opacity_base="hull", tokens="foreground"))


@contextlib.contextmanager
def one_hull() -> Iterator[None]:
    """The inputs are the same at every step here, and so is their hull: it is most of a step's time, and made once."""
    made: list[HullSurface] = []

    def remembered(*seen: Any) -> HullSurface:
        if not made:
            made.append(hull_surface(*seen))
        return made[0]

    with patch.object(model_module, "hull_surface", remembered):
        yield


def draw(model: GSLRM, batch: Batch, inputs: list[int], views: list[int]) -> tuple[Tensor, Tensor]:
    """Colour [v h w 3] and alpha [v h w] of `views` on white."""
    white, given = torch.ones(1, 3), chosen(batch, inputs)
    gaussians = model(model_images(given.images, white), given.w2c, given.fxfycxcy)
    rgb, alpha = render_views(gaussians, chosen(batch, views), white)
    return rgb[0], alpha[0]


def truth(batch: Batch, views: list[int]) -> tuple[Float[Tensor, "v h w 3"], Float[Tensor, "v h w"]]:
    """The pictures on white, and their masks."""
    picked = chosen(batch, views).images
    return composite(picked, torch.ones(1, 3))[0].permute(0, 2, 3, 1), picked[0, :, 3]


@torch.no_grad()
def judge(model: GSLRM, batch: Batch, use: dict[str, list[int]]) -> tuple[ViewMetrics, Tensor, Tensor]:
    """Mean scores of the held-out views, and their drawings."""
    rgb, alpha = draw(model, batch, use["inputs"], use["held out"])
    pictures, masks = truth(batch, use["held out"])
    scores = [view_metrics(*view) for view in zip(rgb, alpha, pictures, masks, strict=True)]
    return mean_metrics(scores), rgb, alpha


def rivals(batch: Batch, use: dict[str, list[int]]) -> dict[str, ViewMetrics]:
    """What knows nothing of three dimensions scores on the same views."""
    pictures, masks = truth(batch, use["held out"])
    known, known_masks = truth(batch, use["inputs"])
    poses, input_poses = batch.w2c[0, use["held out"]], batch.w2c[0, use["inputs"]]
    blank = blank_image(SIZE, SIZE, torch.ones(3))
    near = [nearest_input_view(pose, input_poses) for pose in poses]
    pairs = list(zip(pictures, masks, strict=True))
    return {
        "blank picture": mean_metrics([view_metrics(*blank, *pair) for pair in pairs]),
        "nearest input": mean_metrics(
            [view_metrics(known[n], known_masks[n], *pair) for n, pair in zip(near, pairs, strict=True)]
        ),
    }


def write_sheet(path: Path, batch: Batch, use: dict[str, list[int]], rgb: Tensor, alpha: Tensor) -> None:
    """A row per kind of picture, a column per held-out view."""
    pictures, masks = truth(batch, use["held out"])
    columns = list(zip(pictures.numpy(), rgb.clamp(0, 1).numpy(), masks.numpy(), alpha.numpy(), strict=True))
    rows = [
        [Panel(target, f"view {v}, truth") for v, (target, *_) in zip(use["held out"], columns, strict=True)],
        [Panel(drawn, "model, never seen") for _, drawn, *_ in columns],
        [Panel(error_map(drawn, target), "error, 25 % = yellow") for target, drawn, *_ in columns],
        [Panel(alpha_panel(cover, mask), "alpha") for *_, mask, cover in columns],
    ]
    write_contact_sheet(path, rows)


def line(name: str, scores: ViewMetrics) -> str:
    """A row of the table."""
    return (
        f"{name:16} {scores.psnr:11.2f} {scores.psnr_foreground:11.2f} {scores.ssim:10.3f} "
        f"{scores.ssim_foreground:10.3f} {scores.mask_iou:8.3f}"
    )


def main(config: Config) -> None:
    batch, use = ring(config.sample)
    model = make_model(config.seed)
    optimiser_config = OptimiserConfig(lr=config.lr, warmup_steps=20)
    optimiser = make_optimiser(model, optimiser_config)
    losses = LossConfig(l2=1.0, alpha=1.0, ssim=config.ssim, foreground_weight=config.foreground_weight)
    generator = torch.Generator().manual_seed(config.seed)
    print(
        f"{len(use['inputs'])} inputs, {len(use['supervised'])} supervised, {len(use['held out'])} held out; {SIZE} px"
    )
    heads = ("held-out views", "PSNR frame", "PSNR head", "SSIM frame", "SSIM head", "IoU", "CPU s", "wall s")
    print("{:16} {:>11} {:>11} {:>10} {:>10} {:>8} {:>8} {:>8}".format(*heads))
    for name, scores in rivals(batch, use).items():
        print(line(name, scores))
    rgb = alpha = torch.empty(0)
    cpu, wall = time.process_time(), time.perf_counter()
    for step in range(config.steps + 1):
        if step % config.report_every == 0 or step == config.steps:
            spent = time.process_time() - cpu, time.perf_counter() - wall
            scores, rgb, alpha = judge(model, batch, use)
            print(line(f"step {step}", scores), f"{spent[0]:8.0f} {spent[1]:8.0f}", flush=True)
        if step == config.steps:
            break
        drawn = torch.randperm(len(use["supervised"]), generator=generator)[: config.targets].tolist()
        targets = [use["supervised"][i] for i in drawn]
        loss, _ = image_losses(*draw(model, batch, use["inputs"], targets), *truth(batch, targets), losses, step=step)
        loss.backward()
        lr = learning_rate(step, config.steps, optimiser_config)
        apply_gradients(optimiser, model.parameters(), lr, optimiser_config.clip_norm)
    if config.out is not None:
        write_sheet(config.out, batch, use, rgb, alpha)
        print(f"wrote {config.out}")


if __name__ == "__main__":
    with one_hull():
        main(tyro.cli(Config, description=__doc__))
