"""GS-LRM as the loop sees it: what it reads, refuses, and how it is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mouse_facelift.config import from_plain, parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.losses import LossNetworks
from mouse_facelift.gslrm.step import ViewConfig
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample
from training.gslrm import PRESETS, GSLRMTask, GSLRMTrainingConfig
from training.task import Moment

NONE = LossNetworks()
DEBUG = PRESETS["debug"]
TASK = GSLRMTask(DEBUG)


def _moment() -> Moment:
    return Moment(0, torch.Generator().manual_seed(0), TASK.companions(torch.device("cpu")))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row_from_sample(ring_sample(blob(seed), seed)) for seed in range(3)]


def test_presets_are_complete_but_for_the_paths() -> None:
    for name, preset in PRESETS.items():
        given = parse(
            GSLRMTrainingConfig,
            ["--preset", name, "--data", "d", "--out", "o"],
            prog="p",
            description="",
            presets=PRESETS,
        )
        assert given == replace(preset, data=given.data, out=given.out)
        assert from_plain(GSLRMTrainingConfig, to_plain(given)) == given


def test_collate_keeps_pixels_and_cameras_exactly(rows: list[dict[str, Any]]) -> None:
    batch = TASK.collate(rows)
    expected = [ring_sample(blob(seed), seed) for seed in range(3)]
    assert batch["images"].dtype == torch.uint8 and batch["images"].shape == (3, 4, 32, 32, 4)
    assert np.array_equal(batch["images"].numpy(), np.stack([sample.images for sample in expected]))
    w2c = np.stack([[camera.w2c for camera in sample.cameras] for sample in expected]).astype(np.float32)
    assert np.array_equal(batch["w2c"].numpy(), w2c) and batch["fxfycxcy"].shape == (3, 4, 4)


def test_loss_reaches_every_parameter(rows: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    model = TASK.build_model()
    loss, scalars = TASK.loss(model, TASK.collate(rows[:2]), _moment())
    loss.backward()
    assert torch.isfinite(loss) and scalars["loss"] == loss.detach()
    # DDP waits for the gradient of every parameter.
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_held_out_view_rotates_and_is_not_an_input(rows: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    model = TASK.build_model().eval()
    spoilt = dict(rows[0])
    sample = ring_sample(blob(0))
    sample.images[1, ..., :3] = 255 - sample.images[1, ..., :3]
    spoilt["images"] = row_from_sample(sample)["images"]
    held_out_1, spoilt_1 = (TASK.evaluate(model, [(1, row)], NONE)[0] for row in (rows[0], spoilt))
    held_out_5 = TASK.evaluate(model, [(5, rows[0])], NONE)[0]
    assert held_out_1 == held_out_5 != TASK.evaluate(model, [(2, rows[0])], NONE)[0]
    # View 1 is only compared with: spoiling it changes colours' scores, not the rendered mask's.
    assert spoilt_1["psnr_foreground"] != held_out_1["psnr_foreground"]
    assert spoilt_1["mask_iou"] == held_out_1["mask_iou"]
    assert held_out_1["blank_mask_iou"] == 0.0 and held_out_1["nearest_mask_iou"] > 0.0


def test_a_camera_held_out_from_training_is_neither_input_nor_target_and_alone_is_scored(
    rows: list[dict[str, Any]],
) -> None:
    names = list(rows[0]["camera"])
    task = GSLRMTask(replace(DEBUG, views=replace(DEBUG.views, num_inputs=3, num_targets=3, hold_out=(names[2],))))
    batch, whole = task.collate(rows[:1]), TASK.collate(rows[:1])
    assert torch.equal(batch["images"], whole["images"][:, [0, 1, 3]])
    assert torch.equal(batch["w2c"], whole["w2c"][:, [0, 1, 3]])
    torch.manual_seed(0)
    model = task.build_model().eval()
    first, second = (task.evaluate(model, [(number, rows[0])], NONE)[0] for number in (0, 1))
    assert first == second == TASK.evaluate(model, [(2, rows[0])], NONE)[0]
    with pytest.raises(InputError, match="no camera 99 to hold out"):
        GSLRMTask(replace(DEBUG, views=replace(DEBUG.views, hold_out=("99",)))).check_sample(rows[0])


def test_samples_the_model_cannot_use_are_refused(rows: list[dict[str, Any]]) -> None:
    TASK.check_sample(rows[0])
    with pytest.raises(InputError, match="has 4 views to train on, the run asks for 5 inputs"):
        GSLRMTask(replace(DEBUG, views=ViewConfig(num_inputs=5, num_targets=2))).check_sample(rows[0])
    with pytest.raises(InputError, match="32x32 px, not a multiple of the patch of 12 px"):
        GSLRMTask(replace(DEBUG, model=replace(DEBUG.model, image_size=36, patch_size=12))).check_sample(rows[0])
    with pytest.raises(InputError, match="32 px, which cannot be averaged down to 24 px"):
        GSLRMTask(replace(DEBUG, model=replace(DEBUG.model, image_size=24))).check_sample(rows[0])


def test_a_damaged_picture_is_named_with_the_cure(rows: list[dict[str, Any]]) -> None:
    images = [*rows[1]["images"][:3], {"bytes": rows[1]["images"][3]["bytes"][:60], "path": ""}]
    bad = dict(rows[1], images=images)
    said = "^data/mice, sample ring-000001: an image of the dataset is damaged; restore the dataset"
    task = GSLRMTask(replace(DEBUG, data="data/mice"))
    with pytest.raises(InputError, match=said):
        task.collate([rows[0], bad])
    with pytest.raises(InputError, match=said):
        task.evaluate(task.build_model(), [(0, bad)], NONE)


def test_description(rows: list[dict[str, Any]]) -> None:
    model = TASK.build_model()
    facts = TASK.describe(model, TASK.collate(rows[:1]))
    assert facts["tokens"] == 3 * 16 + 2 and facts["gaussians"] == 3 * 32 * 32 + 2
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert isinstance(facts["memory_estimate_gib"], float) and 0 < facts["memory_estimate_gib"] < 1


def test_larger_images_are_averaged_down_to_the_models_size(rows: list[dict[str, Any]]) -> None:
    half = GSLRMTask(replace(DEBUG, model=replace(DEBUG.model, image_size=16)))
    batch, whole = half.collate(rows[:1]), TASK.collate(rows[:1])
    assert batch["images"].shape == (1, 4, 16, 16, 4) and torch.equal(batch["fxfycxcy"], whole["fxfycxcy"] / 2)
    torch.manual_seed(0)
    scores = half.evaluate(half.build_model().eval(), [(0, rows[0])], NONE)
    assert scores[0]["psnr_foreground"] > 0
    assert half.describe(half.build_model(), batch)["gaussians"] == 3 * 16 * 16 + 2


def test_panels_show_one_sheet_per_row(rows: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    sheets = TASK.panels(TASK.build_model().eval(), [(0, rows[0]), (1, rows[1])], NONE)
    assert list(sheets) == ["sample0", "sample1"]
    # Five pictures beside each other: nearest input, target, rendering, error, silhouette.
    assert all(sheet.dtype == np.uint8 and sheet.shape[1] > 5 * 160 for sheet in sheets.values())
    assert not np.array_equal(sheets["sample0"], sheets["sample1"])
