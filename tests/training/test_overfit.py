"""The sanity test's settings and its verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from training.overfit import as_overfit_test, overfit_verdict
from training.settings import OptimiserConfig, TrainingConfig

CONFIG = TrainingConfig(data="d", out=Path("o"), overfit=10, overfit_steps=300, overfit_bar=30.0)
NAMES = ("psnr", "blank_psnr")


def _log(score: float | None, trained: float, baseline: float = 12.0) -> list[dict[str, Any]]:
    scores = {"samples": 10, "psnr": score, "blank_psnr": baseline}
    return [{"event": "train", "step": 300, "psnr": trained}, {"event": "evaluate", "step": 300} | scores]


def test_settings_are_the_tests_own_and_stay_so() -> None:
    test = as_overfit_test(CONFIG)
    assert (test.steps, test.evaluate_samples, test.optimiser.warmup_steps) == (300, 10, 30)
    assert as_overfit_test(test) == test
    short = replace(CONFIG, optimiser=OptimiserConfig(warmup_steps=5))
    assert as_overfit_test(short).optimiser.warmup_steps == 5
    plain = replace(CONFIG, overfit=0)
    assert as_overfit_test(plain) is plain


def test_pass_needs_the_bar_and_the_baseline() -> None:
    passed = overfit_verdict(CONFIG, NAMES, _log(31.0, 33.0))
    assert passed.passed and passed.line() == "PASS: psnr 31.00 after 300 steps on 10 samples (bar 30, baseline 12.00)"
    assert not overfit_verdict(CONFIG, NAMES, _log(30.0, 33.0)).passed
    assert not overfit_verdict(CONFIG, NAMES, _log(31.0, 33.0, baseline=35.0)).passed


def test_fail_says_where_to_look() -> None:
    assert "cameras describe" in overfit_verdict(CONFIG, NAMES, _log(20.0, 33.0)).line()
    assert "more --overfit-steps may do" in overfit_verdict(CONFIG, NAMES, _log(28.0, 29.0)).line()
    assert "raise --overfit-steps first" in overfit_verdict(CONFIG, NAMES, _log(14.0, 15.0)).line()
    assert "FAIL: psnr is undefined" in overfit_verdict(CONFIG, NAMES, _log(None, 15.0)).line()
    assert not overfit_verdict(CONFIG, NAMES, []).passed
