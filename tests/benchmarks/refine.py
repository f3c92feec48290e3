"""How good Gaussians are that no network made: the visual hull fitted to a frame's views, on cameras it never saw.

    python -m tests.benchmarks.refine --data DATASET --cameras CAPTURE/truth [--frames 4] [--leave-one-out]

Of samples of split=val, spread evenly: the hull and its fit from all views, scored on the further cameras that were
filmed beside the recording (see `novel_views`); and, each of the dataset's own cameras left out in turn, scored on that
one. Beside them stands the nearest input view. Seconds are the process's CPU time per fit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.evaluation.metrics import ViewMetrics, mean_metrics, nearest_input_view, view_metrics
from mouse_facelift.evaluation.rivals import on_white, views_of
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.refining import HullConfig, RefineConfig, gaussians_from_hull, refine
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.samples.schema import Sample
from tests.benchmarks.novel_views import NovelView, novel_views

Row = tuple[str, ViewMetrics, float]


@dataclass(frozen=True)
class Config:
    """What is fitted and scored."""

    data: str
    """Dataset; only split=val is used."""
    cameras: Path
    """Folder of the further cameras."""
    frames: int = 4
    """How many samples."""
    leave_one_out: bool = False
    """Score the dataset's own cameras as well: a fit for each of them."""
    hull: HullConfig = field(default_factory=HullConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


def fitted(config: Config, sample: Sample, keep: Sequence[int]) -> list[tuple[str, Gaussians, float]]:
    """The hull of some views and its fit to them, with seconds."""
    views = views_of(sample, keep)
    given = views.images, views.w2c, views.fxfycxcy
    began = time.process_time()
    hull = gaussians_from_hull(*given, config.hull)
    middle = time.process_time()
    found = refine(hull, *given, config.refine).gaussians
    return [("hull", hull, middle - began), ("hull, refined", found, time.process_time() - began)]


def score(gaussians: Gaussians, views: Sequence[NovelView]) -> list[ViewMetrics]:
    w2c, fxfycxcy = (torch.from_numpy(array).float() for array in stack_cameras([view.camera for view in views]))
    side = views[0].rgb.shape[0]
    with torch.no_grad():
        drawn = render(gaussians, w2c, fxfycxcy, side, side, background=torch.ones(3))
    return [view_metrics(drawn.rgb[i], drawn.alpha[i], view.rgb, view.mask) for i, view in enumerate(views)]


def own_view(sample: Sample, view: int) -> NovelView:
    rgba = views_of(sample, [view]).images[0]
    camera: Camera = sample.cameras[view]
    return NovelView(camera, on_white(rgba), rgba[3])


def rows_of(config: Config, sample: Sample, further: Sequence[NovelView]) -> Iterator[Row]:
    """Every score of one sample."""
    everything = range(len(sample.cameras))
    for name, gaussians, seconds in fitted(config, sample, everything):
        yield from ((f"further cameras, {name}", metrics, seconds) for metrics in score(gaussians, further))
    poses = views_of(sample, everything).w2c
    for view in further:
        pose = torch.from_numpy(view.camera.w2c).float()
        shown = own_view(sample, nearest_input_view(pose, poses))
        yield "further cameras, nearest input", view_metrics(shown.rgb, shown.mask, view.rgb, view.mask), 0.0
    for held_out in everything if config.leave_one_out else ():
        keep = [view for view in everything if view != held_out]
        for name, gaussians, seconds in fitted(config, sample, keep):
            yield f"own camera left out, {name}", score(gaussians, [own_view(sample, held_out)])[0], seconds


def main(config: Config) -> None:
    dataset = open_dataset(config.data)
    samples = list(dataset.samples("val"))
    samples = [samples[i * len(samples) // config.frames] for i in range(min(config.frames, len(samples)))]
    names = ("psnr_foreground", "mask_iou", "ssim_foreground", "psnr", "ssim")
    print(f"{'':40}" + "".join(f"{name:>17}" for name in names) + f"{'CPU s':>8}")
    rows: list[Row] = []
    for sample, further in zip(
        samples, novel_views(config.cameras, samples, dataset.manifest["similarity"]["zoom"]), strict=True
    ):
        found = list(rows_of(config, sample, further))
        print_means(f"{sample.sample_id}", found, names)
        rows += found
    print_means(f"all {len(samples)} samples", rows, names)


def print_means(title: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    """One line per kind of score."""
    print(title, flush=True)
    for kind in dict.fromkeys(kind for kind, _, _ in rows):
        chosen = [row for row in rows if row[0] == kind]
        mean = mean_metrics([metrics for _, metrics, _ in chosen])
        seconds = sum(seconds for _, _, seconds in chosen) / len(chosen)
        print(f"  {kind:38}" + "".join(f"{getattr(mean, n):17.3f}" for n in names) + f"{seconds:8.2f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
