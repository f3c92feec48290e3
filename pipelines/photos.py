"""Photos to Gaussians: each is cut out and framed, a generator invents its other views, a GS-LRM makes them 3-D.

What `mouse-facelift reconstruct --image` does. The views have the cameras that the generator was trained with, from
the moment they are made to the last rendering. A folder that holds all views of an animal needs no generator. Every
photo draws its random numbers from the run's seed and its own bytes, so that neither its place nor its neighbours
matter; its folder appears whole, and the same command again does what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mouse_facelift import config as configuration
from mouse_facelift.checkpoints import load_gslrm, read_config
from mouse_facelift.cli import run_verb
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import write_png
from mouse_facelift.evaluation.outputs import RECORD_NAME, TURNTABLE_NAME, write_reconstruction
from mouse_facelift.evaluation.reconstruction import NO_HOLD_OUT, choose_views, reconstruct_sample
from mouse_facelift.evaluation.report import Item, Picture, Report, Section, Table, Video, write_report
from mouse_facelift.evaluation.summary import read_picture
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.gslrm.step import Background
from mouse_facelift.photos.fit import fit_words, missing_span, trained_width
from mouse_facelift.photos.framing import spanning, with_image_size
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.photos.preparing import (
    Generator,
    Prepared,
    load_generator,
    picture_digest,
    pictures_sheet,
    prepare,
)
from mouse_facelift.photos.reading import Found, find_pictures
from mouse_facelift.photos.rig import Rig
from pipelines.reconstruct_settings import ReconstructConfig
from pipelines.reconstruct_work import background_of, checkpoint_fingerprint

SHEET_NAME = "pictures.png"


@dataclass(frozen=True, kw_only=True)
class PhotosConfig(ReconstructConfig):
    """`reconstruct`'s settings and those of photos."""

    photo: PhotoOptions = field(default_factory=PhotoOptions)


def reconstruct_photos(config: ReconstructConfig, photo: PhotoOptions | None = None) -> Report:
    """Reconstruct every picture that is not done yet, and write `report.html`.

    Args:
        config: Its images, checkpoint, generator, seed, outputs and place.
        photo: How photos become views; the defaults when None.

    Raises:
        InputError: Something cannot be used; of several photos only after the others are done.
    """
    photo = photo or PhotoOptions()
    assert config.checkpoint is not None
    found = find_pictures(config.image)
    model = load_gslrm(config.checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
    trained = read_config(config.checkpoint)
    photos = [one for one in found if not one.has_views]
    generator = load_generator(config.generator, photo, photos) if photos or config.generator else None
    width = trained_width(trained)
    fit = "" if generator is None else fit_words(generator.rig.cameras, width)
    configuration.write_run_record(config.out, "reconstruct", config)
    asked = _request(config, photo, generator) | {"trained_width": width}
    refused: dict[str, str] = {}
    done = []
    for one in found:
        request = asked | {"picture": picture_digest(one)}
        folder = config.out / "samples" / one.name
        if not _is_done(folder, request):
            try:
                prepared = prepare(one, generator, config.seed, photo)
                views = spanning(prepared.sample, missing_span(prepared.sample.cameras, width))
            except InputError as error:
                refused[one.name] = str(error)
                continue
            prepared = replace(prepared, sample=with_image_size(views, model.config.image_size))
            _reconstruct_one(folder, prepared, model, background_of(trained), config, request)
        done.append(one)
        print(f"reconstruct: {one.name} ({len(done)} of {len(found)})")
    if not done:
        raise InputError(next(iter(refused.values())))
    report = build_report(config, generator, fit, done, refused)
    write_report(config.out / "report.html", report)
    if refused:
        first = next(iter(refused.values()))
        raise InputError(f"{len(refused)} of {len(found)} pictures could not be used, the others are done: {first}")
    return report


def _reconstruct_one(
    folder: Path,
    prepared: Prepared,
    model: GSLRM,
    background: Background,
    config: ReconstructConfig,
    request: Mapping[str, Any],
) -> None:
    sample = prepared.sample
    result = reconstruct_sample(
        model, sample, choose_views(sample.cameras, NO_HOLD_OUT, None, 0), background=background
    )
    agreement = [round(float(iou), 4) for iou in sample.agreement.view_hull_iou]
    record = {"request": request, "seed": prepared.seed, "source": sample.source, "view_hull_iou": agreement}
    write_reconstruction(folder, sample, result, config.output_options(), record)
    write_png(folder / SHEET_NAME, pictures_sheet(prepared, result))


def build_report(
    config: ReconstructConfig, generator: Generator | None, fit: str, done: Sequence[Found], refused: Mapping[str, str]
) -> Report:
    """The page about the photos of one run."""
    words = f"{len(done)} of {len(done) + len(refused)} pictures. "
    if generator is not None:
        rig = generator.rig
        words += (
            f"Views by generator {generator.fingerprint[:12]} with the cameras of {rig.origin}"
            f"{_spread_words(rig)}; {fit}. What the photo does not show is invented, and nothing here scores it."
        )
    sections = [_section(config.out / "samples" / one.name, one) for one in done[: config.report_samples]]
    if refused:
        sections.append(Section("Not used", [Table(["picture", "reason"], list(refused.items()), 2)]))
    run = json.loads((config.out / configuration.RUN_FILE).read_text(encoding="utf-8"))
    settings = {"reconstruct": (config.out / configuration.CONFIG_FILE).read_text(encoding="utf-8")}
    return Report("Photos", words, [], sections, settings, dict(run["versions"], python=run["python"]))


def _spread_words(rig: Rig) -> str:
    if not rig.spread_degrees:
        return ""
    return f", where the cameras it learnt from stood on average within {rig.spread_degrees:.0f} degrees"


def _section(folder: Path, one: Found) -> Section:
    record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    items: list[Item] = [Picture(read_picture(folder / SHEET_NAME), "From the photo to the views to 3-D")]
    if (folder / TURNTABLE_NAME).is_file():
        items.append(Video(folder / TURNTABLE_NAME, f"{record['gaussians']} Gaussians, turning"))
    worst = min(record["view_hull_iou"])
    text = f"The views' silhouettes agree with their common visual hull to an IoU of {worst:.2f} at worst."
    if record["seed"] is not None:
        text += f" Seed {record['seed']}."
    return Section(one.name, items, text)


def _request(config: ReconstructConfig, photo: PhotoOptions, generator: Generator | None) -> dict[str, Any]:
    """What decides a picture's result, besides the picture."""
    return {
        "checkpoint": checkpoint_fingerprint(config.checkpoint),
        "generator": None if generator is None else generator.fingerprint,
        "rig": None if generator is None else generator.rig.fingerprint,
        "seed": config.seed,
        "photo": {k: v for k, v in configuration.to_plain(photo).items() if k != "prompt_embeddings"},
        "outputs": configuration.to_plain(config.output_options()),
    }


def _is_done(folder: Path, request: Mapping[str, Any]) -> bool:
    record = folder / RECORD_NAME
    if not record.is_file() or not (folder / SHEET_NAME).is_file():
        return False
    return json.loads(record.read_text(encoding="utf-8")).get("request") == request


def main(argv: Sequence[str] | None = None) -> int:
    """`reconstruct --image` with all that can be said about photos."""
    config = configuration.parse(
        PhotosConfig,
        argv,
        prog="python -m pipelines.photos",
        description="Photos through a generator and a GS-LRM checkpoint: Gaussians, turntables and a report.",
    )
    if not config.image:
        raise InputError("photos: name at least one picture or folder with --image")
    reconstruct_photos(config, config.photo)
    print(f"wrote {config.out}/report.html and a folder per picture in {config.out}/samples")
    print(f"next: mouse-facelift view {config.out}/samples, or open {config.out}/report.html in a browser")
    return 0


if __name__ == "__main__":
    run_verb(main)
