"""Sampling all views of an object with the front view's work shared, and FaceLift's way, which repeats it.

    python -m tests.benchmarks.diffusion_sampling [--image-size 128] [--steps 4]

The pipeline has FaceLift's components with random weights, all widths divided alike (see `facelift_diffusion`). All
rows draw the same numbers; "difference" is the largest one between a row's pictures and the first row's, of a range of
1. The rows before ours repeat, for each of the six views: the encodings of the reference image and the front's keys in
every self-attention (whose scores the front then computes twice); the first also the projections of these keys and
values. What no rule can share is the rest of the denoiser, since every view has noise and tokens of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from torch import Tensor

from mouse_facelift.mvdiffusion.attention import install
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.sampling import SamplingConfig, sample, seeded
from tests.benchmarks.facelift_diffusion import facelift_sample, install_duplicated, reduced_pipeline, sizes
from tests.benchmarks.stopwatch import timed


@dataclass(frozen=True)
class Config:
    """What is timed."""

    image_size: int = 128
    """Pixels of the sampled views."""
    divisor: int = 2
    """FaceLift's widths are divided by this; 1 is its full size."""
    steps: int = 4
    """Denoising steps."""
    guidance: float = 3.0
    """Guidance scale; above 1 the denoiser runs with and without the image."""
    repeats: int = 2
    """Objects sampled per row, one after the other, after one that is not timed."""


def ways(pipeline: MVDiffusion, image: Tensor, config: Config) -> dict[str, Callable[[], Tensor]]:
    """Every way to sample the same object."""
    settings = SamplingConfig(steps=config.steps, guidance=config.guidance)

    def published(project_again: bool) -> Tensor:
        install_duplicated(pipeline.model.unet, project_again)
        return facelift_sample(pipeline, image, seeded([0])[0], config.steps, config.guidance)

    def ours() -> Tensor:
        install(pipeline.model.unet)
        return sample(pipeline, image[None], seeded([0]), settings)[0]

    return {
        "front projected for each view": lambda: published(project_again=True),
        "FaceLift: front's keys copied": lambda: published(project_again=False),
        "ours: front once": ours,
    }


@torch.no_grad()
def main(config: Config) -> None:
    pipeline = reduced_pipeline(config.image_size, config.divisor)
    image = torch.rand(3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(1))
    print(f"{config.image_size} px, {config.steps} steps, guidance {config.guidance:g}, fp32, ", end="")
    print(f"{torch.get_num_threads()} thread(s); FaceLift's widths / {config.divisor}: {sizes(pipeline)}")
    print(f"{'per object':32} {'wall s':>8} {'CPU s':>8} {'ratio':>7} {'difference':>11}")
    peer, reference = 0.0, torch.empty(0)
    for name, way in ways(pipeline, image, config).items():
        made = way()
        reference = reference if len(reference) else made
        spent = timed(lambda way=way: [way() for _ in range(config.repeats)])
        wall, cpu = spent.wall / config.repeats, spent.cpu / config.repeats
        peer = peer or cpu
        difference = float((made - reference).abs().max())
        print(f"{name:32} {wall:8.2f} {cpu:8.2f} {peer / cpu:7.2f} {difference:11.1e}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
