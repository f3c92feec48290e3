"""From pictures of animals to samples of all their views: the generator's pictures with the generator's cameras."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mouse_facelift.cameras import Camera, stack_cameras
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import ViewCameras
from mouse_facelift.mvdiffusion.pipeline import MVDiffusion
from mouse_facelift.mvdiffusion.sampling import SamplingConfig, sample, seeded
from mouse_facelift.mvdiffusion.scoring import silhouettes
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET
from mouse_facelift.mvdiffusion.views import composited, straightened
from mouse_facelift.photos.matting import beside, one_animal, soft_cutout
from mouse_facelift.photos.rig import Rig
from mouse_facelift.samples.gate import measure
from mouse_facelift.samples.schema import Sample

GENERATED = "generated"
"""What `mask_source` says of views whose alpha a generator made, or that was read off its pictures."""


@dataclass(frozen=True)
class Provenance:
    """What a sample of generated views says of itself; see :class:`mouse_facelift.samples.schema.Sample`."""

    sample_id: str
    capture: str
    source: str
    frame: int = 0
    time_s: float = 0.0
    segment: int = 0


def object_seed(seed: int, *names: str) -> int:
    """A seed that follows from a run's and from what a picture is, wherever in a batch it stands; below 2**63."""
    text = "/".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_fingerprint(pipeline: MVDiffusion) -> str:
    """SHA-256 over the generator's trained weights and tokens, by name: what rows say of where they come from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(pipeline.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_generator(pipeline: MVDiffusion, rig: Rig, where: Path) -> None:
    """Refuse a rig that the generator cannot have been trained with.

    Raises:
        InputError: It has another number of views.
    """
    slots = pipeline.model.slots
    if slots != REFERENCE_AND_TARGET and len(slots) != len(rig.cameras):
        raise InputError(
            f"{where}: the generator makes {len(slots)} views, its rig ({rig.origin}) has {len(rig.cameras)} cameras; "
            "give the rig it was trained with"
        )


def generate_views(
    pipeline: MVDiffusion,
    rig: Rig,
    references: UInt8[np.ndarray, "b s s 4"],
    seeds: Sequence[int],
    config: SamplingConfig,
) -> UInt8[np.ndarray, "b v s s 4"]:
    """All views of each object, straight alpha, in the order of the rig's cameras.

    Pictures enter and leave the generator laid over the background that it was trained with. Alpha is its own when it
    makes four channels; otherwise it is read off its pictures.

    Args:
        pipeline: In evaluation mode.
        rig: What the generator was trained with.
        references: The reference picture of each object, framed for the rig's first camera.
        seeds: One per object.
        config: How to sample.
    """
    straight = torch.from_numpy(references)
    levels = torch.full((len(references),), rig.background)
    laid = composited(straight[:, None], levels, pipeline.image_channels)[:, 0]
    cameras = _asked_cameras(rig.cameras, len(references)) if pipeline.model.cameras == "rays" else None
    made = sample(pipeline, laid, seeded(seeds), config, cameras=cameras).float().cpu()
    if pipeline.image_channels == 4:
        return np.stack([_with_own_alpha(views, rig.background) for views in made])
    objects = zip(made, laid, straight[..., 3].float() / 255, strict=True)
    return np.stack([_with_alpha(views, picture, mask, rig.background) for views, picture, mask in objects])


def sample_of_views(images: UInt8[np.ndarray, "v s s 4"], cameras: Sequence[Camera], origin: Provenance) -> Sample:
    """A sample of generated views, in the generator's own world (centre 0, scale 1), with the gate's numbers."""
    everywhere = np.ones(images.shape[:3], bool)
    return Sample(
        sample_id=origin.sample_id,
        capture=origin.capture,
        frame=origin.frame,
        time_s=origin.time_s,
        segment=origin.segment,
        images=images,
        cameras=tuple(cameras),
        centre_mm=np.zeros(3),
        scale=1.0,
        agreement=measure(images, everywhere, cameras),
        mask_source=GENERATED,
        source=origin.source,
    )


def _asked_cameras(cameras: Sequence[Camera], objects: int) -> ViewCameras:
    w2c, fxfycxcy = (torch.from_numpy(part).float()[None] for part in stack_cameras(cameras))
    return ViewCameras(w2c.expand(objects, -1, -1, -1), fxfycxcy.expand(objects, -1, -1), cameras[0].width)


def _with_own_alpha(views: Float[Tensor, "v 4 s s"], background: float) -> UInt8[np.ndarray, "v s s 4"]:
    straight = (straightened(views, background) * 255).round().byte().movedim(1, -1).numpy()
    for view in straight:
        # Faint specks about the animal are what is left of the noise that views are made from.
        view[~beside(one_animal(view[..., 3] > 127))] = 0
    return straight


def _with_alpha(
    views: Float[Tensor, "v 3 s s"], reference: Float[Tensor, "3 s s"], mask: Float[Tensor, "s s"], background: float
) -> UInt8[np.ndarray, "v s s 4"]:
    shown = silhouettes(views, reference, mask, background).numpy() > 0.5
    pictures = views.clamp(0, 1).movedim(1, -1).numpy()
    behind = np.full_like(pictures[0], background)
    return np.stack([soft_cutout(p, behind, one_animal(m)) for p, m in zip(pictures, shown, strict=True)])
