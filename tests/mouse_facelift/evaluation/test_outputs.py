from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mouse_facelift.capture.video import probe
from mouse_facelift.evaluation.metrics import ViewMetrics
from mouse_facelift.evaluation.outputs import (
    OutputOptions,
    exported_gaussians,
    mean_field_of_view,
    sample_record,
    scores_from_record,
    write_reconstruction,
)
from mouse_facelift.evaluation.reconstruction import Reconstruction, Scores, ViewChoice, reconstruct_sample
from mouse_facelift.gaussians.ply import read_ply
from mouse_facelift.gaussians.turntable import TurntableConfig
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.schema import Sample
from tests.synthetic import blob, ring_sample

QUICK = OutputOptions(turntable=TurntableConfig(views=3, size=32))
SAMPLE = ring_sample(blob())


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    torch.manual_seed(0)
    model = GSLRM(GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)).eval()
    return reconstruct_sample(model, SAMPLE, ViewChoice((0, 1, 3), 2))


def write(folder: Path, result: Reconstruction, options: OutputOptions = QUICK, sample: Sample = SAMPLE) -> Path:
    return write_reconstruction(folder / sample.sample_id, sample, result, options, {"request": {"a": 1}})


def test_a_folder_holds_everything_and_nothing_half_done(tmp_path: Path, result: Reconstruction) -> None:
    folder = write(tmp_path, result)
    expected = {"gaussians.ply", "similarity.json", "inputs.png", "renders.png", "turntable.mp4", "sample.json"}
    assert {path.name for path in folder.iterdir()} == expected
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    video = probe(folder / "turntable.mp4")
    assert (video.width, video.height, video.frame_count) == (32, 32, 3)
    sheets = [cv2.imread(str(folder / name)) for name in ("inputs.png", "renders.png")]
    assert all(sheet is not None and sheet.std() > 1 for sheet in sheets)


def test_writing_again_replaces_the_folder(tmp_path: Path, result: Reconstruction) -> None:
    (write(tmp_path, result) / "stale.txt").write_text("old")
    folder = write(tmp_path, result, replace(QUICK, turntable=None))
    assert not (folder / "stale.txt").exists() and not (folder / "turntable.mp4").exists()


def test_millimetres_and_normalised_units_differ_by_the_similarity(tmp_path: Path, result: Reconstruction) -> None:
    without_video = OutputOptions(turntable=None)
    normalised = read_ply(write(tmp_path / "a", result, without_video) / "gaussians.ply")
    folder = write(tmp_path / "b", result, replace(without_video, units="mm"))
    millimetres, similarity = read_ply(folder / "gaussians.ply"), json.loads((folder / "similarity.json").read_text())
    back = similarity["scale"] * (millimetres.means.double() - torch.tensor(similarity["centre_mm"]))
    np.testing.assert_allclose(back.numpy(), normalised.means.numpy(), atol=1e-5)
    ratio = (normalised.scales / millimetres.scales).numpy()
    np.testing.assert_allclose(ratio, similarity["scale"], rtol=1e-4)
    assert similarity["gaussians_ply_units"] == "mm"


def test_the_record_names_views_and_keeps_scores(tmp_path: Path, result: Reconstruction) -> None:
    record = json.loads((write(tmp_path, result) / "sample.json").read_text())
    assert record["request"] == {"a": 1}
    assert record["held_out"] == SAMPLE.cameras[2].name and record["held_out"] not in record["inputs"]
    assert record["nearest"] in record["inputs"]
    assert scores_from_record(record) == result.scores


def test_scores_that_are_not_defined_survive_the_record(result: Reconstruction) -> None:
    empty = ViewMetrics(30.0, math.nan, 0.9, math.nan, math.nan)
    record = sample_record(SAMPLE, result.choice, Scores(empty, empty, empty), result.gaussians)
    scores = scores_from_record(json.loads(json.dumps(record, allow_nan=False)))
    assert scores is not None and math.isnan(scores.model.mask_iou) and scores.model.psnr == 30.0


def test_what_is_exported_is_pruned_and_as_wide_as_it_looks(result: Reconstruction) -> None:
    everything = exported_gaussians(SAMPLE, result.gaussians, OutputOptions(prune=False, low_pass=False))
    assert all(torch.equal(a, b) for a, b in zip(everything.tensors(), result.gaussians.tensors(), strict=True))
    faint = replace(result.gaussians, opacities=result.gaussians.opacities.clone().index_fill(0, torch.arange(9), 0.01))
    pruned = exported_gaussians(SAMPLE, faint, OutputOptions(low_pass=False))
    assert len(pruned) <= len(result.gaussians) - 9
    wide = exported_gaussians(SAMPLE, result.gaussians, OutputOptions(prune=False))
    pixel = 2.7 / SAMPLE.cameras[0].fxfycxcy[0]
    added = wide.scales.square() - result.gaussians.scales.square()
    np.testing.assert_allclose(added.numpy(), 0.3 * pixel**2, rtol=0.01)


def test_field_of_view_is_that_of_the_cameras() -> None:
    assert mean_field_of_view(SAMPLE.cameras) == pytest.approx(35.0)
