"""Searches as they come out of `tune`, made up: scores follow a known rule, so that what a page says can be checked."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mouse_facelift.evaluation.trials import Knob, Objective, Point, Search, Trial, Value, finalist

PSNR = Objective("psnr_foreground", "max", "dB")
WEIGHTS = (
    Knob("losses.alpha", "log", 1.0, low=0.05, high=5.0),
    Knob("losses.foreground_weight", "log", 1.0, low=1.0, high=20.0),
    Knob("losses.ssim", "choice", 0.0, options=(0.0, 0.1, 0.2, 0.5)),
    Knob("losses.opacity", "log", 0.0, low=1e-4, high=1e-2),
    Knob("losses.photometric", "choice", "none", options=("none", "affine")),
    Knob("losses.ssim_masked", "choice", False, options=(False, True), condition="losses.ssim is not 0"),
)
VIEWS = (
    Knob("views.num_inputs", "choice", 4, options=(1, 2, 3, 4, 5)),
    Knob("views.min_inputs", "choice", 0, options=(0, 1), condition="views.num_inputs is 3 or 5"),
)
_RUNGS, _FULL = (400, 1200), 3600


def weights_search(trials: int = 20, gain: float = 0.8, noise: float = 0.1, seed: int = 0) -> Search:
    """A search over loss weights with ASHA: foreground weight decides, SSIM helps a little, the rest is noise.

    Args:
        trials: How many, the default among them.
        gain: What the best foreground weight adds (dB).
        noise: Of every run (dB).
        seed: Of everything that is drawn.
    """
    random = np.random.default_rng(seed)
    ran = [_weights_trial(number, random, gain, noise) for number in range(trials)]
    if trials > 6:
        ran[3] = dataclasses.replace(
            ran[3],
            status="failed",
            curve=(),
            scores={},
            samples_seen=0,
            reason="out of memory: the worker took 7.9 GB of 8 GB",
        )
        ran[5] = dataclasses.replace(
            ran[5],
            status="failed",
            curve=ran[5].curve[:1],
            scores={"psnr_foreground": 6.1},
            samples_seen=80,
            reason="the loss became nan at step 112",
        )
    ran = _halved(ran)
    best = max((t for t in ran if t.status == "completed"), key=lambda t: t.scores["psnr_foreground"])
    third = [t for t in ran if t.status == "completed" and t not in (best, ran[0])][:1]
    finals, finalists = [], []
    for origin in dict.fromkeys(t.trial_id for t in (best, *third, ran[0])):
        trial = next(t for t in ran if t.trial_id == origin)
        again = [_repeat(trial, s, len(ran) + len(finals) + s, random, gain, noise) for s in (1, 2, 3)]
        finals += again
        finalists.append(finalist(trial, trial is ran[0], again))
    finalists.sort(key=lambda f: -f.mean["psnr_foreground"])
    return Search(
        space="loss-weights",
        knobs=WEIGHTS,
        objectives=(PSNR,),
        preset="demo",
        data="shards",
        protocol={"samples": "8 of split=val", "held-out view": "one per sample, in turn", "input views": "4"},
        default_trial="t000",
        best_trial=finalists[0].repeats,
        settings={"method": "tpe", "scheduler": "asha", "budget": f"{_FULL} samples a trial"},
        trials=(*ran, *finals),
        finalists=tuple(finalists),
        seconds=1043.0,
    )


def views_search(seed: int = 0) -> Search:
    """A grid over input views at training; quality peaks where training and evaluation agree."""
    random = np.random.default_rng(seed)
    grid: list[dict[str, Value]] = [{}, *[{"views.num_inputs": n} for n in (1, 2, 3, 5)]]
    for most in (3, 5):
        grid.append({"views.num_inputs": most, "views.min_inputs": 1})
    trials = []
    for number, overrides in enumerate(grid):
        most = int(str(overrides.get("views.num_inputs", 4)))
        mixed = "views.min_inputs" in overrides
        by_views = {
            n: {
                "psnr_foreground": 14
                + 4 * math.log(n + 0.5) / math.log(5)
                - (0.3 if mixed else 0.7 * abs(n - most))
                + random.normal(0, 0.05),
                "seconds": 0.02 + 0.015 * n,
                "memory_mib": 20.0 + 11 * n,
            }
            for n in range(1, 6)
        }
        trial = _trial(number, overrides, 14 + by_views[4]["psnr_foreground"] - 14, random)
        trials.append(
            dataclasses.replace(trial, by_views=by_views, seconds_train=60.0 + 25 * most, memory_mib=700.0 + 60 * most)
        )
    best = max(trials, key=lambda t: t.scores["psnr_foreground"])
    return dataclasses.replace(
        weights_search(4),
        space="views",
        knobs=VIEWS,
        trials=tuple(trials),
        finalists=(),
        default_trial="t000",
        best_trial=best.trial_id,
    )


def _weights_trial(number: int, random: np.random.Generator, gain: float, noise: float) -> Trial:
    overrides: dict[str, Value] = {}
    if number:
        overrides = {
            "losses.alpha": float(10 ** random.uniform(math.log10(0.05), math.log10(5))),
            "losses.foreground_weight": float(10 ** random.uniform(0, math.log10(20))),
            "losses.ssim": float(random.choice([0.0, 0.1, 0.2, 0.5])),
            "losses.opacity": float(10 ** random.uniform(-4, -2)),
            "losses.photometric": str(random.choice(["none", "affine"])),
        }
        if overrides["losses.ssim"]:
            overrides["losses.ssim_masked"] = bool(random.integers(2))
    return _trial(number, overrides, _rule(overrides, gain) + random.normal(0, noise), random)


def _rule(overrides: dict[str, Value], gain: float) -> float:
    foreground = float(str(overrides.get("losses.foreground_weight", 1.0)))
    ssim = float(str(overrides.get("losses.ssim", 0.0)))
    return 17.6 + gain * (1 - (math.log(foreground / 8) / math.log(8)) ** 2) + 0.15 * gain * (ssim > 0)


def _trial(number: int, overrides: dict[str, Value], score: float, random: np.random.Generator) -> Trial:
    seen = range(80, _FULL + 1, 80)
    rise = [score - 9 * math.exp(-s / 700) + random.normal(0, 0.06) for s in seen]
    curve = tuple(
        Point(s, 0.09 * s, {"psnr_foreground": value, "mask_iou": 0.35 + value / 40})
        for s, value in zip(seen, rise, strict=True)
    )
    return Trial(
        trial_id=f"t{number:03d}",
        number=number,
        overrides=overrides,
        seed=0,
        stage="search",
        status="completed",
        steps=_FULL // 4,
        samples_seen=_FULL,
        seconds_start=float(random.uniform(0.3, 0.9)),
        seconds_train=0.09 * _FULL,
        memory_mib=float(random.uniform(690, 820)),
        curve=curve,
        scores={"psnr_foreground": score, "mask_iou": 0.35 + score / 40, "ssim_foreground": 0.5 + score / 50},
    )


def _repeat(trial: Trial, seed: int, number: int, random: np.random.Generator, gain: float, noise: float) -> Trial:
    score = _rule(dict(trial.overrides), gain) + random.normal(0, noise)
    again = _trial(number, dict(trial.overrides), score, random)
    return dataclasses.replace(
        again, trial_id=f"{trial.trial_id}-s{seed}", seed=seed, stage="final", repeats=trial.trial_id
    )


def _halved(trials: list[Trial]) -> list[Trial]:
    """What ASHA leaves: two thirds of the trials end at each rung; the default always runs to the end."""
    for rung in _RUNGS:
        alive = [t for t in trials if t.status == "completed"]
        kept = sorted(alive, key=lambda t: -_at(t, rung))[: math.ceil(len(alive) / 2.5)]
        trials = [t if t.status != "completed" or t in kept or not t.number else _stopped(t, rung) for t in trials]
    return trials


def _stopped(trial: Trial, rung: int) -> Trial:
    curve = tuple(point for point in trial.curve if point.samples_seen <= rung)
    return dataclasses.replace(
        trial,
        status="stopped",
        reason=f"others did better after {rung} samples",
        curve=curve,
        samples_seen=curve[-1].samples_seen,
        steps=curve[-1].samples_seen // 4,
        seconds_train=curve[-1].seconds,
        scores=dict(curve[-1].scores),
    )


def _at(trial: Trial, samples: int) -> float:
    return [point.scores["psnr_foreground"] for point in trial.curve if point.samples_seen <= samples][-1]
