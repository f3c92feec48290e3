"""The files of one reconstructed sample: Gaussians, similarity, pictures, turntable and the record of its scores."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mouse_facelift.cameras import Camera
from mouse_facelift.evaluation import images
from mouse_facelift.evaluation.metrics import ViewMetrics
from mouse_facelift.evaluation.reconstruction import Reconstruction, Scores, ViewChoice, nearest_input
from mouse_facelift.gaussians.filters import animal_mask
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.low_pass import with_low_pass
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.gaussians.steadying import centre_of
from mouse_facelift.gaussians.turntable import TurntableConfig, turntable_frames, write_turntable
from mouse_facelift.samples.schema import Sample

Units = Literal["normalised", "mm"]
RECORD_NAME = "sample.json"
TURNTABLE_NAME = "turntable.mp4"
# Five pictures and the turntable fit beside each other on the report.
_STYLE = images.SheetStyle(cell=160)


@dataclass(frozen=True)
class OutputOptions:
    """What is written for every sample."""

    units: Units = "normalised"
    """Units of gaussians.ply: those of the normalised world, or the capture's millimetres."""
    turntable: TurntableConfig | None = TurntableConfig(elevation_degrees=15.0)
    """The video; its field of view is replaced by the sample's own. None writes no video."""
    prune: bool = True
    """Leave out of what is exported what FaceLift's rules take for haze and floaters."""
    low_pass: bool = True
    """Give what is exported the blur of the model's own pixels, so that it can be drawn larger (see `low_pass.py`)."""


def write_reconstruction(
    folder: Path, sample: Sample, result: Reconstruction, options: OutputOptions, record: Mapping[str, Any]
) -> Path:
    """Writes one sample's folder whole or not at all, replacing an earlier one.

    The folder holds gaussians.ply, similarity.json, inputs.png, renders.png, turntable.mp4 and sample.json, which
    carries ``record``, the views used and the scores. The PLY, the turntable and the novel views show the exported
    Gaussians; scores and all pictures beside a truth are of what the model gave.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    gaussians = exported_gaussians(sample, result.gaussians, options)
    in_mm = options.units == "mm"
    stored = gaussians.restored(sample.scale, torch.from_numpy(sample.centre_mm)) if in_mm else gaussians
    write_ply(partial / "gaussians.ply", stored)
    _write_json(partial / "similarity.json", similarity_record(sample, options.units))
    images.write_png(partial / "inputs.png", inputs_sheet(sample, result))
    images.write_png(partial / "renders.png", renders_sheet(sample, result, gaussians))
    if options.turntable is not None:
        turntable = replace(options.turntable, hfov_degrees=mean_field_of_view(sample.cameras))
        write_turntable(partial / TURNTABLE_NAME, gaussians, turntable)
    written = sample_record(sample, result.choice, result.scores, gaussians)
    _write_json(partial / RECORD_NAME, {**record, **written})
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return folder


def exported_gaussians(sample: Sample, gaussians: Gaussians, options: OutputOptions) -> Gaussians:
    """A sample's Gaussians as files show them: pruned and as wide as the sample's pixels make them look."""
    if options.prune:
        gaussians = gaussians.select(animal_mask(gaussians))
    if options.low_pass:
        footprint = np.mean([np.linalg.norm(c.centre) / c.fxfycxcy[:2].mean() for c in sample.cameras])
        gaussians = with_low_pass(gaussians, float(footprint))
    return gaussians


def sample_record(sample: Sample, choice: ViewChoice, scores: Scores | None, exported: Gaussians) -> dict[str, Any]:
    """Ids, views and scores of a reconstruction, and what is exported of it, in plain values (nan is None)."""
    names = [camera.name for camera in sample.cameras]
    nearest = None if choice.held_out is None else nearest_input(sample, choice)
    rows = None if scores is None else asdict(scores)
    centre = centre_of(exported) / sample.scale + sample.centre_mm
    return {
        "sample_id": sample.sample_id,
        "capture": sample.capture,
        "frame": sample.frame,
        "time_s": sample.time_s,
        "segment": sample.segment,
        "inputs": [names[view] for view in choice.inputs],
        "held_out": None if choice.held_out is None else names[choice.held_out],
        "nearest": None if nearest is None else names[nearest],
        "scores": rows and {who: {k: _plain(v) for k, v in row.items()} for who, row in rows.items()},
        "gaussians": len(exported),
        "centre_mm": [_plain(float(value)) for value in centre],
    }


def scores_from_record(record: Mapping[str, Any]) -> Scores | None:
    """The scores of :func:`sample_record`, None where no view was held out."""
    if record["scores"] is None:
        return None
    rows = {
        who: ViewMetrics(**{key: math.nan if value is None else value for key, value in row.items()})
        for who, row in record["scores"].items()
    }
    return Scores(**rows)


def similarity_record(sample: Sample, units: Units) -> dict[str, Any]:
    """What takes the normalised world back to the capture's millimetres."""
    return {
        "centre_mm": [float(value) for value in sample.centre_mm],
        "scale": float(sample.scale),
        "formula": "X_normalised = scale * (X_mm - centre_mm)",
        "gaussians_ply_units": units,
    }


def mean_field_of_view(cameras: Sequence[Camera]) -> float:
    """Mean horizontal field of view in degrees, so that a turntable is zoomed as the views are."""
    return float(np.mean([math.degrees(2 * math.atan(c.width / (2 * c.fxfycxcy[0]))) for c in cameras]))


def inputs_sheet(sample: Sample, result: Reconstruction) -> images.Image:
    """The views the model was given."""
    panels = [
        images.Panel(result.truth[view].numpy(), f"input: camera {sample.cameras[view].name}")
        for view in result.choice.inputs
    ]
    return images.contact_sheet([panels], _STYLE)


def renders_sheet(sample: Sample, result: Reconstruction, exported: Gaussians, novel_views: int = 5) -> images.Image:
    """The held-out view beside its truth, what the model draws of its inputs, and views no camera has."""
    rows = []
    held_out = result.choice.held_out
    if held_out is not None:
        rows.append(_comparison(sample, result, held_out, "held out"))
    first = result.choice.inputs[0]
    rows.append(_comparison(sample, result, first, "input"))
    size = sample.images.shape[1]
    # Even: the turntable makes videos, too.
    view = TurntableConfig(
        novel_views, 2 * size, elevation_degrees=30.0, hfov_degrees=mean_field_of_view(sample.cameras)
    )
    frames = turntable_frames(exported, view)
    rows.append([images.Panel(f, f"novel view {i * 360 // novel_views} deg") for i, f in enumerate(frames)])
    return images.contact_sheet(rows, _STYLE)


def held_out_sheet(sample: Sample, result: Reconstruction) -> images.Image:
    """The held-out view: nearest input, truth, rendering, error and silhouette, side by side.

    Raises:
        ValueError: no view was held out.
    """
    held_out, nearest = result.choice.held_out, result.nearest
    if held_out is None or nearest is None:
        raise ValueError(f"sample {sample.sample_id}: no view was held out")
    *compared, _ = _comparison(sample, result, held_out, "held out")
    given = images.Panel(result.truth[nearest].numpy(), f"nearest input: camera {sample.cameras[nearest].name}")
    return images.contact_sheet([[given, *compared]], _STYLE)


def _comparison(sample: Sample, result: Reconstruction, view: int, role: str) -> list[images.Panel]:
    """Truth, rendering, error and mask of one view; for the held-out one the nearest input as well."""
    truth, drawn = result.truth[view].numpy(), result.rendering.rgb[view].numpy()
    panels = [
        images.Panel(truth, f"{role}: camera {sample.cameras[view].name}"),
        images.Panel(drawn, "rendered"),
        images.Panel(images.error_map(drawn, truth), f"error, 0 to {images.ERROR_CEILING}"),
        images.Panel(
            images.alpha_panel(result.rendering.alpha[view].numpy(), result.masks[view].numpy()),
            "alpha (red missing, blue extra)",
        ),
    ]
    if result.nearest is not None and view == result.choice.held_out:
        panels.append(images.Panel(result.truth[result.nearest].numpy(), "nearest input view"))
    return panels


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
