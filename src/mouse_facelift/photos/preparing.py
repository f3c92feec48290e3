"""From a photo, or a folder of views, to the sample that a GS-LRM is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import Image, Panel, SheetStyle, composite, contact_sheet
from mouse_facelift.evaluation.reconstruction import Reconstruction
from mouse_facelift.mvdiffusion.pipeline import INDEX_FILE, MVDiffusion, load_pipeline
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.mvdiffusion.source import load_mvdiffusion
from mouse_facelift.photos.background import cut_out
from mouse_facelift.photos.framing import framed
from mouse_facelift.photos.generation import (
    Provenance,
    check_generator,
    generate_views,
    generator_fingerprint,
    object_seed,
    sample_of_views,
)
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.photos.reading import Found, read_picture
from mouse_facelift.photos.rig import Rig, resized, rig_of_generator
from mouse_facelift.samples.facelift_folders import read_sample
from mouse_facelift.samples.gate import measure
from mouse_facelift.samples.schema import Sample

CAPTURE = "photos"
"""What samples of photos say of the recording they are from."""

# Over mid grey dark fur, pale feet and the edge of the alpha show alike.
_GREY = (0.6, 0.6, 0.6)
_CELL = 176


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator ready to be asked, and what rows and messages call it."""

    pipeline: MVDiffusion
    rig: Rig
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """An animal's views, and the pictures on the way to them with a caption each."""

    sample: Sample
    steps: tuple[Panel, ...]
    seed: int | None


def load_generator(path: Path | None, photo: PhotoOptions, photos: Sequence[Found] = ()) -> Generator:
    """A generator with its cameras.

    Raises:
        InputError: There is none although photos need one, it is of another kind, or does not fit its rig.
    """
    if path is None:
        raise InputError(f"{photos[0].path}: one picture shows one side; give --generator, a diffusion model, for more")
    pipeline = load_views_pipeline(path, photo.prompt_embeddings)
    rig = rig_of_generator(path.absolute(), photo.rig)
    check_generator(pipeline, rig, path)
    return Generator(pipeline, rig, generator_fingerprint(pipeline))


def load_views_pipeline(path: Path, prompt_embeddings: Path | None) -> MVDiffusion:
    """The generator's components, on a GPU where there is one.

    Raises:
        InputError: See `load_mvdiffusion`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if prompt_embeddings is not None and (path / INDEX_FILE).is_file():
        return load_pipeline(path, prompt_embeddings, device=device)
    return load_mvdiffusion(path, device)


def prepare(one: Found, generator: Generator | None, seed: int, photo: PhotoOptions) -> Prepared:
    """The views of one animal: generated from its photo, or as given.

    Raises:
        InputError: A picture cannot be read, or shows no animal.
    """
    return _given_views(one, generator, photo) if one.has_views else _generated_views(one, generator, seed, photo)


def _generated_views(one: Found, generator: Generator | None, seed: int, photo: PhotoOptions) -> Prepared:
    assert generator is not None
    picture = read_picture(one.path)
    cutout = cut_out(picture, str(one.path), photo.background)
    rig = generator.rig
    reference = framed(cutout, rig.image_size, photo.extent or rig.extent)
    own = object_seed(seed, picture_digest(one))
    sampling = SamplingConfig(steps=photo.steps, guidance=photo.guidance)
    views = generate_views(generator.pipeline, rig, reference[None], [own], sampling)[0]
    sample = sample_of_views(views, rig.cameras, Provenance(one.name, CAPTURE, generator.fingerprint))
    if not views[..., 3].max(axis=(1, 2)).min() > 127:
        raise InputError(f"{one.path}: the generator made a view without an animal in it; try another --seed")
    steps = (
        Panel(composite(picture, _GREY), "the photo"),
        Panel(composite(cutout, _GREY), "cut out"),
        Panel(composite(reference, _GREY), "as the generator gets it"),
    )
    return Prepared(sample, steps, own)


def _given_views(one: Found, generator: Generator | None, photo: PhotoOptions) -> Prepared:
    """The views in a folder, cut out where they have no alpha; in slot order they belong to the rig's cameras."""
    sample = replace(read_sample(one.path, source=CAPTURE), sample_id=one.name)
    rig = generator.rig if generator else rig_of_generator(one.path, photo.rig) if photo.rig else None
    size = sample.images.shape[1]
    if rig is not None and not (one.path / FILE_NAME).is_file():
        sample = replace(sample, cameras=resized(rig, size))
    if sample.mask_source == "none":
        named = zip(sample.images, sample.cameras, strict=True)
        images = np.stack([cut_out(image, f"{one.path}, view {c.name}", photo.background) for image, c in named])
        sample = replace(sample, images=images, mask_source="estimated")
    whole = np.ones(sample.images.shape[:3], bool)
    return Prepared(replace(sample, agreement=measure(sample.images, whole, sample.cameras)), (), None)


def pictures_sheet(prepared: Prepared, result: Reconstruction) -> Image:
    """The photo on its way, the views that were generated (or given), and what the Gaussians look like from there."""
    sample = prepared.sample
    word = "given" if prepared.seed is None else "generated"
    views = [
        Panel(composite(image, _GREY), f"{word}: {camera.name}")
        for image, camera in zip(sample.images, sample.cameras, strict=True)
    ]
    drawn = [
        Panel(image.numpy(), f"3-D: {camera.name}")
        for image, camera in zip(result.rendering.rgb, sample.cameras, strict=True)
    ]
    return contact_sheet([list(prepared.steps), views, drawn], SheetStyle(cell=_CELL))


def picture_digest(one: Found) -> str:
    """SHA-256 of a picture's bytes, or of all files of a folder of views."""
    files = sorted(p for p in one.path.rglob("*") if p.is_file()) if one.has_views else [one.path]
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    return digest.hexdigest()
