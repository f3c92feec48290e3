"""The run's page: made from log and pictures alone, at any moment of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mouse_facelift.evaluation.images import write_png
from training.metrics_log import METRICS_FILE, MetricsLog
from training.report import panel_file, write_training_report
from training.settings import TrainingConfig

VERDICT = ("psnr_foreground", "blank_psnr_foreground")


def _config(folder: Path, **changes: Any) -> TrainingConfig:
    return TrainingConfig(data="d", out=folder, steps=100, wandb="disabled", **changes)


def _page(folder: Path, entries: list[dict[str, Any]], **changes: Any) -> str:
    log = MetricsLog(folder / METRICS_FILE)
    for entry in entries:
        log.append(entry)
    return write_training_report(_config(folder, **changes), VERDICT).read_text()


def _train(step: int, loss: float | None = 0.5, refused: int = 0) -> dict[str, Any]:
    pace = {"lr": 1e-3, "grad_norm": 1.0, "refused_steps": refused, "data_wait": 0.0}
    return {"event": "train", "step": step, "loss": loss, "psnr_foreground": 15.0} | pace


def _evaluate(step: int, score: float) -> dict[str, Any]:
    scores = {"psnr_foreground": score, "blank_psnr_foreground": 12.0, "nearest_psnr_foreground": 14.0, "lpips": None}
    return {"event": "evaluate", "step": step, "samples": 3, "seconds": 1.0, "beats_baseline": score > 12} | scores


def test_a_page_from_the_first_moment_on(tmp_path: Path) -> None:
    page = _page(tmp_path, [])
    assert "Samples that were not trained on" in page
    assert "0 of 100 steps" in page and "Nothing was evaluated yet" in page and "config.yaml" in page


def test_curves_stand_beside_their_baselines(tmp_path: Path) -> None:
    page = _page(tmp_path, [_train(1), _evaluate(10, 13.0), _train(20, None, refused=2), _evaluate(20, 19.5)])
    assert "foreground PSNR 19.50, baseline 12.00" in page
    for words in ("held out", "training views", "learning rate", "norm before clipping"):
        assert words in page
    # One chart with four curves: the model on held-out and training views, and both baselines.
    chart = next(part for part in page.split("<svg") if 'aria-label="foreground PSNR"' in part)
    assert chart.count("<polyline") == 4
    assert "2 steps were refused" in page and "lpips" not in page, "what is defined nowhere is not drawn"
    assert "better than both baselines" in page and "Below a baseline" not in page


@pytest.mark.parametrize(("score", "words"), [(13.0, "nearest"), (11.0, "blank")])
def test_a_model_under_a_baseline_is_flagged(tmp_path: Path, score: float, words: str) -> None:
    page = _page(tmp_path, [_train(1), _evaluate(10, score)])
    assert "Below a baseline" in page and f"<tr class='{words}'>" in page


def test_pictures_of_a_few_moments_spread_over_the_run(tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    entries: list[dict[str, Any]] = []
    for step in range(10, 110, 10):
        file = panel_file(step, "sample0")
        write_png(tmp_path / file, np.full((4, 4, 3), step, np.uint8))
        entries.append({"event": "panels", "step": step, "files": [file]})
    (tmp_path / entries[0]["files"][0]).unlink()
    page = _page(tmp_path, entries)
    assert page.count("data:image/png") == 3, "four moments, one of whose pictures was removed"
    assert "step 100, sample0" in page


def test_the_overfitting_verdict_comes_at_the_end(tmp_path: Path) -> None:
    entries = [_train(50), _evaluate(50, 31.0)]
    page = _page(tmp_path, entries, overfit=5)
    assert "Overfitting test" not in page and "The 5 samples trained on" in page
    assert "Overfitting test: PASS" in _page(tmp_path, [_evaluate(100, 31.0)], overfit=5)
