"""The page about one run of `reconstruct`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mouse_facelift import config as configuration
from mouse_facelift.checkpoints import find_checkpoint
from mouse_facelift.evaluation.outputs import scores_from_record
from mouse_facelift.evaluation.report import Item, Report, Section, Table, Video, format_number
from mouse_facelift.evaluation.summary import mean_scores, sample_sections, time_sections, training_section, verdicts
from pipelines.reconstruct_films import Film, Steadied
from pipelines.reconstruct_settings import ReconstructConfig
from training.metrics_log import METRICS_FILE, read_metrics_log


def build_report(
    config: ReconstructConfig,
    records: Sequence[Mapping[str, Any]],
    steadied: Mapping[str, Steadied],
    films: Sequence[Film],
) -> Report:
    """The page: verdict, films, scores over time, training, samples in pictures, all samples."""
    scores = [s for s in map(scores_from_record, records) if s is not None]
    held_out = "one view of each held out and scored" if scores else "no view held out, so nothing is scored"
    run = json.loads((config.out / configuration.RUN_FILE).read_text(encoding="utf-8"))
    settings = {"reconstruct": (config.out / configuration.CONFIG_FILE).read_text(encoding="utf-8")}
    training = []
    if config.checkpoint is not None:
        checkpoint = find_checkpoint(config.checkpoint)
        # A run's log lies beside its checkpoint folder; a checkpoint from elsewhere has none.
        log = read_metrics_log(checkpoint.parent / METRICS_FILE)
        training = [training_section(log)] if log else []
        settings["checkpoint"] = (checkpoint / configuration.CONFIG_FILE).read_text(encoding="utf-8")
    versions = dict(run["versions"], python=run["python"])
    if run["git"]:
        versions["commit"] = run["git"]["commit"][:12] + (" with local changes" if run["git"]["local_changes"] else "")
    made = "the visual hull" if config.init == "hull" else "the model"
    made += f", then {config.refine} steps of fitting" if config.refine else ""
    return Report(
        title="Reconstructions",
        summary=f"{len(records)} samples of split '{config.split}' from {config.data} by {made}; {held_out}.",
        verdicts=verdicts(mean_scores(scores)) if scores else [],
        sections=[
            *film_sections(config, steadied, films),
            *time_sections(records),
            *training,
            *sample_sections(config.out / "samples", records, config.report_samples),
        ],
        settings=settings,
        versions=versions,
    )


def film_sections(config: ReconstructConfig, steadied: Mapping[str, Steadied], films: Sequence[Film]) -> list[Section]:
    """A section per recording: its films, and how much it trembles and flickers."""
    sections = []
    for capture, steady in steadied.items():
        mine = [film for film in films if film.capture == capture]
        # Of thinned frames, neither jitter nor flicker means anything.
        if steady.frames < 2 or (config.max_samples is not None and not mine):
            continue
        items: list[Item] = [Video(config.out / film.path, _caption(film)) for film in mine if film.path is not None]
        if measured := [film for film in mine if film.view is not None]:
            items.append(_flicker_table(measured, steadied=steady.seconds > 0))
        sections.append(Section(f"{capture} as a film", items, _steady_words(steady)))
    return sections


def _caption(film: Film) -> str:
    return "along the camera's path" if film.camera is None else f"camera {film.camera}: seen, and reconstructed"


def _flicker_table(films: Sequence[Film], steadied: bool) -> Table:
    """A row per camera; what it was like before steadying is left out where nothing was steadied."""
    rows = []
    for film in films:
        view = film.view
        assert view is not None
        flickers = (view.truth, view.rendered, view.unsteadied)[: 3 if steadied else 2]
        ious = (view.mask_iou, view.mask_iou_unsteadied)[: 2 if steadied else 1]
        numbers = [format_number(1e3 * flicker.residual, 1) for flicker in flickers]
        rows.append([str(film.camera), *numbers, *map(format_number, ious)])
    header = ["camera", "flicker, recording", "flicker, sequence", "flicker, unsteadied", "mask IoU", "unsteadied"]
    return Table(header if steadied else [*header[:3], header[4]], rows)


def _steady_words(steady: Steadied) -> str:
    found = steady.found
    text = (
        f"{steady.frames} frames. Jitter of the animal's centre {format_number(found.jitter_before, 3, 'mm')} "
        "(an upper bound: quick motion counts)"
    )
    if steady.seconds:
        text += (
            f"; {format_number(found.jitter_after, 3, 'mm')} after steadying over {steady.seconds:g} s, which moved "
        )
        text += f"frames by {found.mean_shift:.3f} mm on average and {found.largest_shift:.3f} mm at most"
    text += ". Flicker: what differs between neighbouring pictures once motion is taken out, thousandths of the range."
    return text + " The recording's own has noise and light in it, too."
