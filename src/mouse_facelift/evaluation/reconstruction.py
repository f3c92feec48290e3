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


def shown_background(background: Background) -> Background:
    """What lies behind a model's inputs once it is trained: "random" is shown on white."""
    return "white" if background == "random" else background


@torch.no_grad()
def predict(
    model: GSLRM, samples: Sequence[Sample], choices: Sequence[ViewChoice], *, background: Background = "white"
) -> list[Gaussians]:
    """The samples' Gaussians from their chosen inputs, in one pass of the model; on the model's device.

    Args:
        model: in evaluation mode.
        samples: with images of one size; at least one.
        choices: which views of each go in, equally many.
        background: what the model was trained on.
    """
    device = next(model.parameters()).device
    inputs = [
        _tensors(sample, device, background, choice.inputs) for sample, choice in zip(samples, choices, strict=True)
    ]
    images, w2c, fxfycxcy = (torch.stack(tensors) for tensors in zip(*inputs, strict=True))
    found = model(images, w2c, fxfycxcy)
    return [found.item(i) for i in range(len(samples))]


@torch.no_grad()
def judge(
    gaussians: Gaussians,
    sample: Sample,
    choice: ViewChoice,
    *,
    background: Background = "white",
    backend: Backend = "auto",
    lpips: LPIPS | None = None,
) -> Scores | None:
    """Scores on the held-out view alone, which is all that is drawn; None where none was held out."""
    if choice.held_out is None:
        return None
    device = gaussians.device
    nearest = nearest_input(sample, choice)
    chosen = (choice.held_out, nearest)
    images, w2c, fxfycxcy = _tensors(sample, device, background, chosen)
    colour = _colour(background, device)
    height, width = images.shape[-2:]
    drawn = render(gaussians, w2c[:1], fxfycxcy[:1], width, height, background=colour, backend=backend)
    pictures, masks = images[:, :3].permute(0, 2, 3, 1), images[:, 3]
    return _scores(drawn.rgb[0], drawn.alpha[0], pictures, masks, colour, lpips)


@torch.no_grad()
def show(
    gaussians: Gaussians,
    sample: Sample,
    choice: ViewChoice,
    *,
    background: Background = "white",
    backend: Backend = "auto",
    lpips: LPIPS | None = None,
) -> Reconstruction:
    """All views drawn from a sample's Gaussians, on their device, and scores on the held-out one; result on the CPU."""
    device = gaussians.device
    images, w2c, fxfycxcy = _tensors(sample, device, background, range(len(sample.cameras)))
    colour = _colour(background, device)
    height, width = images.shape[-2:]
    drawn = render(gaussians, w2c, fxfycxcy, width, height, background=colour, backend=backend)
    truth, masks = images[:, :3].permute(0, 2, 3, 1), images[:, 3]
    nearest, scores = None, None
    if choice.held_out is not None:
        nearest = nearest_input(sample, choice)
        pair = [choice.held_out, nearest]
        scores = _scores(
            drawn.rgb[choice.held_out], drawn.alpha[choice.held_out], truth[pair], masks[pair], colour, lpips
        )
    rendering = Rendering(drawn.rgb.cpu(), drawn.alpha.cpu())
    return Reconstruction(gaussians.to("cpu"), choice, truth.cpu(), masks.cpu(), rendering, nearest, scores)


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
    gaussians = predict(model, [sample], [choice], background=background)[0]
    return show(gaussians, sample, choice, background=background, backend=backend, lpips=lpips)


def _tensors(
    sample: Sample, device: torch.device, background: Background, views: Sequence[int]
) -> tuple[Float[Tensor, "v 4 h w"], Float[Tensor, "v 4 4"], Float[Tensor, "v 4"]]:
    """What a model is given of some views: pictures on the background with their masks, and cameras."""
    chosen = list(views)
    rgba = torch.from_numpy(sample.images[chosen]).to(device).permute(0, 3, 1, 2)[None].float() / 255
    images = model_images(rgba, _colour(background, device)[None])[0]
    w2c, fxfycxcy = stack_cameras([sample.cameras[view] for view in chosen])
    return images, torch.from_numpy(w2c).float().to(device), torch.from_numpy(fxfycxcy).float().to(device)


def _colour(background: Background, device: torch.device) -> Float[Tensor, " 3"]:
    return background_colours(shown_background(background), 1, torch.Generator(), device)[0]


def nearest_input(sample: Sample, choice: ViewChoice) -> int:
    """The input view nearest to the held-out one.

    Raises:
        ValueError: no view was held out.
    """
    if choice.held_out is None:
        raise ValueError(f"sample {sample.sample_id}: no view was held out")
    w2c = torch.from_numpy(stack_cameras(sample.cameras)[0]).float()
    return choice.inputs[nearest_input_view(w2c[choice.held_out], w2c[list(choice.inputs)])]


def _scores(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    pictures: Float[Tensor, "2 h w 3"],
    masks: Float[Tensor, "2 h w"],
    background: Float[Tensor, " 3"],
    lpips: LPIPS | None,
) -> Scores:
    """Of a drawing of the held-out view; ``pictures`` and ``masks`` are that view's truth and the nearest input's."""
    target = pictures[0], masks[0]
    blank = blank_image(pictures.shape[1], pictures.shape[2], background)
    return Scores(
        model=view_metrics(rgb, alpha, *target, lpips),
        blank=view_metrics(*blank, *target, lpips),
        nearest=view_metrics(pictures[1], masks[1], *target, lpips),
    )
