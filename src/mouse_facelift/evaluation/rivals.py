"""Ways of showing a view that was held out, all behind one face: trained models and what they are to be better than.

A way is given the other views of a sample and draws the held-out one on white. Whoever judges sees nothing else of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.evaluation.metrics import blank_image
from mouse_facelift.evaluation.reconstruction import ViewChoice, nearest_input, predict
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.low_pass import with_low_pass
from mouse_facelift.gaussians.refining import HullConfig, RefineConfig, gaussians_from_hull, refine
from mouse_facelift.gaussians.refining.hull import footprint
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.step import Background
from mouse_facelift.samples.reduction import reduced_to
from mouse_facelift.samples.schema import Sample

Rival = Literal["blank", "nearest", "hull", "refine"]


@dataclass(frozen=True, eq=False)
class Shown:
    """The held-out view as somebody draws it, on white."""

    rgb: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]


class Way(Protocol):
    """Draws a sample's held-out view from the chosen input views alone.

    Raises:
        InputError: these views are not enough for it.
    """

    def __call__(self, sample: Sample, choice: ViewChoice) -> Shown: ...


def blank(sample: Sample, choice: ViewChoice) -> Shown:
    """White paper."""
    height, width = sample.images.shape[1:3]
    return Shown(*blank_image(height, width, torch.ones(3)))


def nearest(sample: Sample, choice: ViewChoice) -> Shown:
    """The input view nearest to the held-out one, as it is."""
    rgba = views_of(sample, [nearest_input(sample, choice)]).images[0]
    return Shown(on_white(rgba), rgba[3])


@dataclass(frozen=True)
class FromHull:
    """The visual hull of the inputs' silhouettes, as it is or fitted to the inputs."""

    hull: HullConfig
    refine: RefineConfig | None = None

    def __call__(self, sample: Sample, choice: ViewChoice) -> Shown:
        given = views_of(sample, choice.inputs)
        gaussians = gaussians_from_hull(given.images, given.w2c, given.fxfycxcy, self.hull)
        return draw(_refined(gaussians, given, self.refine), sample, choice)


@dataclass(frozen=True)
class FromModel:
    """A trained GS-LRM, as it is or fitted to the inputs. It sees them at its own size."""

    model: GSLRM
    background: Background
    refine: RefineConfig | None = None

    def __call__(self, sample: Sample, choice: ViewChoice) -> Shown:
        own = reduced_to(sample, self.model.config.image_size)
        gaussians = predict(self.model, [own], [choice], background=self.background)[0].to("cpu")
        if own.images.shape[1] < sample.images.shape[1]:
            # Drawn larger than it was learned, it needs the blur of its own pixels.
            views = views_of(own, choice.inputs)
            gaussians = with_low_pass(gaussians, footprint(views.w2c, views.fxfycxcy))
        return draw(_refined(gaussians, views_of(sample, choice.inputs), self.refine), sample, choice)


@dataclass(frozen=True, eq=False)
class Views:
    """Some views of a sample as tensors."""

    images: Float[Tensor, "v 4 h w"]
    """Straight RGBA."""
    w2c: Float[Tensor, "v 4 4"]
    fxfycxcy: Float[Tensor, "v 4"]


def views_of(sample: Sample, views: Sequence[int]) -> Views:
    """A sample's views by their positions."""
    chosen = list(views)
    images = torch.from_numpy(sample.images[chosen]).permute(0, 3, 1, 2).float() / 255
    cameras: list[Camera] = [sample.cameras[view] for view in chosen]
    w2c, fxfycxcy = (torch.from_numpy(array).float() for array in stack_cameras(cameras))
    return Views(images, w2c, fxfycxcy)


def on_white(rgba: Float[Tensor, "4 h w"]) -> Float[Tensor, "h w 3"]:
    """A straight RGBA picture over white."""
    return (rgba[:3] * rgba[3:] + 1 - rgba[3:]).permute(1, 2, 0)


@torch.no_grad()
def draw(gaussians: Gaussians, sample: Sample, choice: ViewChoice) -> Shown:
    """Gaussians through the held-out camera, on white.

    Raises:
        ValueError: no view was held out.
    """
    if choice.held_out is None:
        raise ValueError(f"sample {sample.sample_id}: no view was held out")
    camera = views_of(sample, [choice.held_out])
    height, width = sample.images.shape[1:3]
    drawn = render(gaussians, camera.w2c, camera.fxfycxcy, width, height, background=torch.ones(3))
    return Shown(drawn.rgb[0], drawn.alpha[0])


def _refined(gaussians: Gaussians, given: Views, config: RefineConfig | None) -> Gaussians:
    if config is None:
        return gaussians
    return refine(gaussians, given.images, given.w2c, given.fxfycxcy, config).gaussians
