"""One training step of GS-LRM as a plain function of a model and a batch.

Every step draws, for every sample anew, which views go in and which are rendered and compared, each with its own
camera. Held-out views come first among the targets: a score on the inputs alone can be perfect without any geometry.
Inputs, targets and the renderer share one known background per sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import psnr
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.gslrm.augment import augmented
from mouse_facelift.gslrm.batch import Batch
from mouse_facelift.gslrm.batched_gaussians import BatchedGaussians
from mouse_facelift.gslrm.loss_config import LossConfig
from mouse_facelift.gslrm.losses import LossNetworks, geometry_losses, image_losses, image_scalar_names

Background = Literal["white", "black", "grey", "random"]

_LEVELS = {"white": 1.0, "black": 0.0, "grey": 0.5}


@dataclass(frozen=True)
class ViewConfig:
    """Which views a step uses, and what lies behind the animal.

    Raises:
        InputError: a count is below one, or the smallest number of inputs exceeds the largest.
    """

    num_inputs: int = 5
    """Input views of a sample, at most."""
    min_inputs: int = 0
    """When above 0, every step draws its number of inputs from min_inputs..num_inputs; 0 always uses num_inputs."""
    num_targets: int = 4
    """Views rendered and compared; held-out ones first, then inputs."""
    background: Background = "white"
    """Colour behind the animal in inputs, targets and renderings; "random" draws one per sample and step."""
    hold_out: tuple[str, ...] = ()
    """Cameras kept out of training altogether, by name: neither inputs nor targets. Evaluation then compares them, and
    only them; otherwise every view in turn."""
    turn: bool = False
    """Turn every sample's world about the vertical by an angle of its own, cameras and all: for rigs and animals that
    may stand anyhow. Pictures stay as they are."""
    mirror: bool = False
    """Mirror every other sample, pictures and cameras alike."""
    deferred: bool = False
    """Draw the targets again, one by one, for their gradients: the memory of one view instead of all of them, at the
    price of one more forward rendering. For large images and many targets."""

    def __post_init__(self) -> None:
        if self.num_inputs < 1 or self.num_targets < 1:
            raise InputError(
                f"views: {self.num_inputs} inputs and {self.num_targets} targets; a step needs at least one of each"
            )
        if not 0 <= self.min_inputs <= self.num_inputs:
            raise InputError(
                f"views: min_inputs is {self.min_inputs}; it must lie between 0 and num_inputs = {self.num_inputs}"
            )


@dataclass(frozen=True)
class ViewSplit:
    """Inputs and targets of one step; indices say which of the batch's views they are."""

    inputs: Batch
    targets: Batch
    input_indices: Int[Tensor, "b i"]
    target_indices: Int[Tensor, "b t"]


def split_views(batch: Batch, num_inputs: int, num_targets: int, generator: torch.Generator) -> ViewSplit:
    """Draw input and target views for every sample separately.

    Args:
        batch: all views.
        num_inputs: views that go into the model.
        num_targets: views to compare; those not among the inputs first, in random order, then inputs.
        generator: a CPU generator.

    Raises:
        InputError: more views asked for than there are.
    """
    samples, views = batch.images.shape[:2]
    if max(num_inputs, num_targets) > views:
        raise InputError(
            f"views: {num_inputs} inputs and {num_targets} targets asked of samples with {views} views; "
            f"ask for at most {views} of each"
        )
    order = torch.rand(samples, views, generator=generator).argsort(dim=1).to(batch.images.device)
    inputs = order[:, :num_inputs]
    # Rolling brings the views left over by the inputs to the front; the inputs follow in their random order.
    targets = order.roll(-num_inputs, dims=1)[:, :num_targets]
    return ViewSplit(batch.select(inputs), batch.select(targets), inputs, targets)


def background_colours(
    kind: Background, samples: int, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "b 3"]:
    """One background colour per sample, in [0, 1]; `generator` (CPU) is used for "random" alone."""
    if kind == "random":
        return torch.rand(samples, 3, generator=generator).to(device)
    return torch.full((samples, 3), _LEVELS[kind], device=device)


def composite(images: Float[Tensor, "b v 4 h w"], colours: Float[Tensor, "b 3"]) -> Float[Tensor, "b v 3 h w"]:
    """Straight-alpha images laid over one colour per sample."""
    rgb, alpha = images[:, :, :3], images[:, :, 3:]
    return alpha * rgb + (1.0 - alpha) * colours[:, None, :, None, None]


def model_images(images: Float[Tensor, "b v 4 h w"], colours: Float[Tensor, "b 3"]) -> Float[Tensor, "b v 4 h w"]:
    """What the model is given: the images laid over one colour per sample, and their alpha as fourth channel."""
    return torch.cat([composite(images, colours), images[:, :, 3:]], dim=2)


def render_views(
    gaussians: BatchedGaussians, cameras: Batch, colours: Float[Tensor, "b 3"], *, deferred: bool = False
) -> tuple[Float[Tensor, "b v h w 3"], Float[Tensor, "b v h w"]]:
    """Colour and alpha of every sample's Gaussians in the views of `cameras`, on its background; fp32."""
    height, width = cameras.images.shape[-2:]
    with torch.autocast(cameras.images.device.type, enabled=False):
        views = [
            render(
                gaussians.item(i),
                cameras.w2c[i],
                cameras.fxfycxcy[i],
                width,
                height,
                background=colours[i],
                deferred=deferred,
            )
            for i in range(len(gaussians))
        ]
    return torch.stack([view.rgb for view in views]), torch.stack([view.alpha for view in views])


def training_loss(
    model: nn.Module,
    batch: Batch,
    losses: LossConfig,
    views: ViewConfig,
    generator: torch.Generator,
    *,
    step: int = 0,
    networks: LossNetworks | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Forward pass, renderings of the targets, and the loss, ready for `backward()`.

    Call it inside `torch.autocast` to run the transformer in half precision; all else stays fp32.

    Args:
        model: a `GSLRM`, or a wrapper of one (DDP, compiled) with the same call.
        batch: samples with all their views.
        losses: weights of the terms.
        views: numbers of views and background.
        generator: a CPU generator; it alone decides the draw.
        step: steps made so far, which ramps and warm-ups go by.
        networks: `LossNetworks.load(losses, device)`, where a perceptual term counts.

    Returns:
        The loss and detached scalars, the same names at every step: `loss`, the terms, `psnr_foreground` (dB, targets
        as drawn, nan without foreground) and `gaussians_usage` (fraction of Gaussians with opacity above 0.05). What a
        step did not compute is nan.
    """
    num_inputs = views.num_inputs
    if views.min_inputs:
        num_inputs = int(torch.randint(views.min_inputs, views.num_inputs + 1, (1,), generator=generator))
    batch = augmented(batch, turn=views.turn, mirror=views.mirror, generator=generator)
    split = split_views(batch, num_inputs, views.num_targets, generator)
    colours = background_colours(views.background, batch.images.shape[0], generator, batch.images.device)

    inputs = split.inputs
    gaussians: BatchedGaussians = model(model_images(inputs.images, colours), inputs.w2c, inputs.fxfycxcy)
    with torch.autocast(batch.images.device.type, enabled=False):
        loss, scalars = geometry_losses(gaussians, inputs.images, inputs.w2c, inputs.fxfycxcy, losses, step=step)
        image_loss, image_scalars = _target_losses(gaussians, split.targets, colours, losses, views, step, networks)
    loss = loss + image_loss
    usage = (gaussians.opacity_logits.detach().sigmoid() > 0.05).float().mean()
    return loss, scalars | image_scalars | {"loss": loss.detach(), "gaussians_usage": usage}


def _target_losses(
    gaussians: BatchedGaussians,
    targets: Batch,
    colours: Float[Tensor, "b 3"],
    losses: LossConfig,
    views: ViewConfig,
    step: int,
    networks: LossNetworks | None,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """What the renderings of the targets are charged, and their PSNR; at steps that look at none, nothing is drawn."""
    if not losses.renders(step):
        # The free Gaussians meet no other term of such a step, and DDP waits for every parameter's gradient.
        anchor = 0.0 * gaussians.means[:, : gaussians.free].sum()
        unmeasured = {name: anchor.detach() * math.nan for name in image_scalar_names(losses)}
        return anchor, unmeasured | {"psnr_foreground": anchor.detach() * math.nan}
    rgb, alpha = (x.flatten(0, 1) for x in render_views(gaussians, targets, colours, deferred=views.deferred))
    target_rgb = composite(targets.images, colours).flatten(0, 1).permute(0, 2, 3, 1)
    target_alpha = targets.images[:, :, 3].flatten(0, 1)
    loss, scalars = image_losses(rgb, alpha, target_rgb, target_alpha, losses, step=step, networks=networks)
    scalars["psnr_foreground"] = psnr(rgb.detach(), target_rgb, where=target_alpha > 0.5)
    return loss, scalars
