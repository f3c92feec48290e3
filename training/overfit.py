"""The sanity test before any long run: can the model learn a handful of samples by heart?

It trains on a few samples and judges the same ones, each on a view that is held out from the input at that moment yet
was supervised in other steps. A model that fails this has a fault in its cameras, losses or optimisation, which no
amount of data will cure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from training.settings import TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)

_WARMUP_SHARE = 10
"""The warm-up takes at most this fraction (1 / 10) of the test."""


@dataclass(frozen=True)
class OverfitVerdict:
    """What the test says."""

    passed: bool
    reason: str

    def line(self) -> str:
        """For a terminal."""
        return f"{'PASS' if self.passed else 'FAIL'}: {self.reason}"


def as_overfit_test(config: Config) -> Config:
    """The run's settings for the test, where `config.overfit` asks for it; applying it twice changes nothing more."""
    if not config.overfit:
        return config
    warmup = min(config.optimiser.warmup_steps, config.overfit_steps // _WARMUP_SHARE)
    return dataclasses.replace(
        config,
        steps=config.overfit_steps,
        evaluate_samples=config.overfit,
        optimiser=dataclasses.replace(config.optimiser, warmup_steps=warmup),
    )


def overfit_verdict(
    config: TrainingConfig, verdict: tuple[str, str], log: Sequence[Mapping[str, Any]]
) -> OverfitVerdict:
    """PASS when the deciding score of the last evaluation exceeds the bar and its baseline, and why not otherwise.

    Args:
        config: the run's settings.
        verdict: names of the deciding score and its baseline.
        log: the run's metrics log.
    """
    score_name, baseline_name = verdict
    last = next((entry for entry in reversed(log) if entry["event"] == "evaluate"), None)
    train = next((entry for entry in reversed(log) if entry["event"] == "train"), None)
    words, bar = score_name.replace("_", " "), config.overfit_bar
    if last is None or last[score_name] is None:
        return OverfitVerdict(False, f"{words} is undefined: the samples show no foreground, or nothing was evaluated")
    score, baseline = last[score_name], last[baseline_name]
    reached = (
        f"{words} {score:.2f} after {last['step']} steps on {last['samples']} samples "
        f"(bar {bar:g}, baseline {'undefined' if baseline is None else f'{baseline:.2f}'})"
    )
    if score > bar and (baseline is None or score > baseline):
        return OverfitVerdict(True, reached)
    return OverfitVerdict(False, f"{reached}; {_advice(score, bar, (train or {}).get(score_name))}")


def _advice(score: float, bar: float, trained: float | None) -> str:
    """Where to look, from how well the training views themselves are met."""
    if trained is not None and trained > bar:
        return (
            f"training views reach {trained:.2f}, views left out of the input do not: check that the cameras describe "
            "the images (mouse-facelift inspect) and that every view is among the targets"
        )
    close = "it was close: more --overfit-steps may do" if score > 0.9 * bar else "raise --overfit-steps first"
    return f"training views are not met either; {close}, then look at learning rate, model size and image size"
