"""From one sample's views to Gaussians, and how good they are on a view the model never saw.

Plain functions of a model and a sample: where the model runs, and over how many samples, is the application's affair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import BASELINES, ViewMetrics, blank_image, nearest_input_view, view_metrics
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, Rendering, render
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.step import Background, background_colours, model_images
from mouse_facelift.perceptual.distances import LPIPS
from mouse_facelift.samples.schema import Sample

ROTATE, NO_HOLD_OUT = "rotate", "none"


@dataclass(frozen=True)
class ViewChoice:
    """Which views of a sample go into the model, and which one is kept to judge the result."""

    inputs: tuple[int, ...]
    held_out: int | None


@dataclass(frozen=True)
class Scores:
    """One held-out view: the reconstruction, and what a blank picture and the nearest input view score on it."""

    model: ViewMetrics
    blank: ViewMetrics
    nearest: ViewMetrics

    def named(self) -> dict[str, float]:
        """All numbers in one mapping: the model's by their own names, a baseline's with its name before."""
        rivals = {f"{who}_{name}": value for who in BASELINES for name, value in asdict(getattr(self, who)).items()}
        return asdict(self.model) | rivals


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One sample reconstructed. Images lie on one background; the world is the sample's normalised one."""

    gaussians: Gaussians
    choice: ViewChoice
    truth: Float[Tensor, "v h w 3"]
    masks: Float[Tensor, "v h w"]
    rendering: Rendering
    """All views of the sample, inputs and held-out view alike."""
    nearest: int | None
    """The input view nearest to the held-out one."""
    scores: Scores | None
    """None when no view was held out."""


def choose_views(
    cameras: Sequence[Camera], hold_out: str, inputs: int | None, index: int, never: Sequence[str] = ()
) -> ViewChoice:
    """The views of the ``index``-th sample.

    Args:
        cameras: the sample's cameras, the animal around the world's origin.
        hold_out: "rotate" holds out view ``index`` modulo the number of views, "none" gives all views to the model,
            anything else is the name of the camera to hold out.
        inputs: how many of the other views go in, evenly spread in azimuth; all when None.
        index: the sample's number.
        never: names of cameras that do not go in either way.

    Raises:
        InputError: no such camera, or not that many views.
    """
    names = [camera.name for camera in cameras]
    if hold_out == NO_HOLD_OUT:
        held_out = None
    elif hold_out == ROTATE:
        held_out = index % len(names)
    elif hold_out in names:
        held_out = names.index(hold_out)
    else:
        raise InputError(
            f"--hold-out {hold_out}: no such camera; the dataset has {', '.join(names)}, or rotate or none"
        )
    rest = [view for view, name in enumerate(names) if view != held_out and name not in never]
    count = len(rest) if inputs is None else inputs
    if not 1 <= count <= len(rest):
        raise InputError(
            f"--inputs {inputs}: a sample has {len(rest)} views besides the held-out one; ask for 1 to all"
        )
    around = sorted(rest, key=lambda view: math.atan2(cameras[view].centre[1], cameras[view].centre[0]))
    return ViewChoice(tuple(sorted(around[i * len(around) // count] for i in range(count))), held_out)


@torch.no_grad()
def reconstruct_sample(
    model: GSLRM,
    sample: Sample,
    choice: ViewChoice,
    *,
    background: Background = "white",
    backend: Backend = "auto",
    lpips: LPIPS | None = None,
) -> Reconstruction:
    """Gaussians from the chosen inputs, all views drawn from them, and scores on the held-out view.

    The held-out image is read for the scores alone. Runs on the model's device; the result is on the CPU.

    Args:
        model: in evaluation mode.
        sample: all its views.
        choice: which of them go in.
        background: what the model was trained on; "random" is shown on white.
        backend: who draws.
        lpips: on the model's device, for LPIPS among the scores.
    """
    device = next(model.parameters()).device
    rgba = torch.from_numpy(sample.images).to(device).permute(0, 3, 1, 2)[None].float() / 255
    kind: Background = "white" if background == "random" else background
    colours = background_colours(kind, 1, torch.Generator(), device)
    pictures = model_images(rgba, colours)
    w2c, fxfycxcy = (torch.from_numpy(a).float().to(device) for a in stack_cameras(sample.cameras))
    chosen = list(choice.inputs)
    gaussians = model(pictures[:, chosen], w2c[chosen][None], fxfycxcy[chosen][None]).item(0)
    height, width = rgba.shape[-2:]
    rendering = render(gaussians, w2c, fxfycxcy, width, height, background=colours[0], backend=backend)
    truth, masks = pictures[0, :, :3].permute(0, 2, 3, 1), rgba[0, :, 3]
    nearest, scores = None, None
    if choice.held_out is not None:
        nearest = chosen[nearest_input_view(w2c[choice.held_out], w2c[chosen])]
        scores = _scores(rendering, truth, masks, colours[0], choice.held_out, nearest, lpips)
    drawn = Rendering(rendering.rgb.cpu(), rendering.alpha.cpu())
    return Reconstruction(gaussians.to("cpu"), choice, truth.cpu(), masks.cpu(), drawn, nearest, scores)


def _scores(
    rendering: Rendering,
    truth: Float[Tensor, "v h w 3"],
    masks: Float[Tensor, "v h w"],
    background: Float[Tensor, " 3"],
    held_out: int,
    nearest: int,
    lpips: LPIPS | None,
) -> Scores:
    target = truth[held_out], masks[held_out]
    blank = blank_image(truth.shape[1], truth.shape[2], background)
    return Scores(
        model=view_metrics(rendering.rgb[held_out], rendering.alpha[held_out], *target, lpips),
        blank=view_metrics(*blank, *target, lpips),
        nearest=view_metrics(truth[nearest], masks[nearest], *target, lpips),
    )
