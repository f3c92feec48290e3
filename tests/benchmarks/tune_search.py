"""What ASHA and TPE are worth: the best configuration found after equally many samples, against random search.

    python -m tests.benchmarks.tune_search [--seeds 0 1 2] [--samples 12000]

The search is the real one - book, journal, suggestions, successive halving - with two trials side by side; training is
not: a trial's score is a made-up learning curve over `loss-weights`. Its optimum lies away from the default, a larger
alpha learns faster and ends lower (so that early scores mislead a little), and every evaluation is noisy. What counts
is the noiseless score at the full budget of the configuration that the search itself would call its best.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from mouse_facelift.evaluation.trials import Value
from tests.tune.plans import plan, two_samples
from tune.book import Book, Spec
from tune.catalogue import SPACES
from tune.journal import Journal
from tune.objective import rank
from tune.plan import Plan
from tune.scheduling import BookScheduler

Method = Literal["random", "asha + tpe"]
_FULL, _GRACE, _STEP = 1000, 250, 250
_SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class Config:
    """What is compared."""

    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 12_000
    """Both may see so many: twelve whole trials."""
    noise: float = 0.05
    """Standard deviation of every score (dB)."""


def score(overrides: Mapping[str, Value], samples: float) -> float:
    """A made-up foreground PSNR (dB) after so many samples."""

    def decades(path: str, default: float, best: float) -> float:
        value = overrides.get(path, default)
        assert isinstance(value, (int, float))
        return math.log10(max(value, 1e-6) / best)

    alpha, weight = decades("losses.alpha", 1.0, 0.4), decades("losses.foreground_weight", 4.0, 9.0)
    ssim = overrides.get("losses.ssim", 0.0)
    assert isinstance(ssim, (int, float))
    end = 18.0 - 1.2 * alpha**2 - 1.5 * weight**2 - 8.0 * (ssim - 0.2) ** 2
    pace = 200.0 * 10 ** (-0.15 * alpha)
    return end - 6.0 * math.exp(-samples / pace)


def search(method: Method, seed: int, config: Config, dataset: Path, folder: Path) -> tuple[list[float], int]:
    """One search to its last sample.

    Returns:
        The score of what it calls its best after every tenth of the samples (nan before the first), and its trials.
    """
    book = Book(_plan(method, seed, config, dataset, folder), Journal(folder))
    scheduler = BookScheduler(book, lambda: None)
    running: list[tuple[Spec, int]] = []
    seen, found = 0, []
    while seen < config.samples:
        while len(running) < _SIDE_BY_SIDE and isinstance(spec := book.next(), Spec):
            running.append((spec, 0))
        spec, samples = running.pop(0)
        samples, seen = samples + _STEP, seen + _STEP
        noisy = score(spec.overrides, samples) + config.noise * _draw(seed, spec, samples)
        report = {"samples_seen": samples, "seconds_train": float(samples), "scores": {"psnr_foreground": noisy}}
        book.point(spec.trial_id, report)
        if samples == _FULL:
            book.ended(spec.trial_id, "completed", report=report)
        elif scheduler._decide(spec.trial_id, report) != "STOP":
            running.append((spec, samples))
        if seen % (config.samples // 10) < _STEP:
            found.append(_best(book))
    return found, len(book.specs)


def _plan(method: Method, seed: int, config: Config, dataset: Path, folder: Path) -> Plan:
    made = plan(dataset, folder)
    halving = method != "random"
    return dataclasses.replace(
        made,
        settings=dataclasses.replace(made.settings, seed=seed),
        space=SPACES["loss-weights"].applicable(made.orders.base),
        scheduler="asha" if halving else "none",
        search="tpe" if halving else "random",
        # More than there are samples for.
        trials=config.samples // _GRACE + _SIDE_BY_SIDE,
        orders=dataclasses.replace(made.orders, max_samples=_FULL, grace_samples=_GRACE),
    )


def _best(book: Book) -> float:
    done = [trial for trial in book.trials() if trial.status == "completed"]
    ranked = rank(book.plan.objectives[0], done)
    return score(ranked[0].overrides, _FULL) if ranked else math.nan


def _draw(seed: int, spec: Spec, samples: int) -> float:
    """The same noise for the same configuration, whoever tries it."""
    digest = hashlib.sha256(f"{seed} {spec.overrides} {samples}".encode()).digest()
    return float(np.random.default_rng(int.from_bytes(digest[:8])).standard_normal())


def _row(title: str, values: Sequence[float], trials: float) -> str:
    return f"{title:<12}{trials:>7.1f}  " + " ".join(f"{value:>6.2f}" for value in values)


def main(config: Config) -> None:
    """Print the noiseless score of the best so far, at every tenth of the samples."""
    default = score({}, _FULL)
    tenths = [config.samples * tenth // 10 for tenth in range(1, 11)]
    print(f"default {default:.2f} dB; optimum 18.00 dB less what is unlearned\n")
    print(f"{'':<12}{'trials':>7}  " + " ".join(f"{samples:>6}" for samples in tenths))
    with tempfile.TemporaryDirectory() as scratch:
        dataset = two_samples(Path(scratch) / "dataset")
        for method in ("random", "asha + tpe"):
            runs = [search(method, s, config, dataset, Path(scratch) / f"{method}{s}") for s in config.seeds]
            for seed, (found, trials) in zip(config.seeds, runs, strict=True):
                print(_row(f"  seed {seed}", found, trials))
            means = np.mean([found for found, _ in runs], axis=0)
            print(_row(method, list(means), float(np.mean([trials for _, trials in runs]))))


if __name__ == "__main__":
    main(tyro.cli(Config))
