"""What to try next: a plain function of the space, the trial's number and what is known so far.

Nothing is kept between calls, so a search that was killed suggests as if it had not been. Optuna's estimator is made
anew from the finished trials each time, which takes milliseconds where training takes minutes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mouse_facelift.evaluation.trials import Objective, Value
from tune.spaces import Axis, Overrides, Space

STARTUP_TRIALS = 5
"""Trials drawn at random before the estimator has anything to go by."""


@dataclass(frozen=True)
class Known:
    """One trial as a suggestion sees it."""

    overrides: Overrides
    """Values of every setting that applies, the default's included."""
    state: Literal["running", "completed", "stopped", "failed"]
    scores: tuple[float, ...] = ()
    """One per objective: the last ones."""
    samples_seen: int = 0


def suggest(
    space: Space,
    method: Literal["tpe", "random"],
    number: int,
    seed: int,
    known: Sequence[Known] = (),
    objectives: Sequence[Objective] = (),
) -> Overrides:
    """Values for one more trial.

    Args:
        space: where to look.
        method: "tpe" is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), with the liar of parallel
            searches; "random" looks at nothing but number and seed.
        number: of the trial.
        seed: of the search.
        known: the trials so far.
        objectives: what `known` was scored by.
    """
    if method == "random":
        return _random(space, np.random.default_rng((seed, number)))
    # One and the same draw for one and the same history, whenever it is asked for.
    sampler_seed = int(np.random.default_rng((seed, number)).integers(2**31))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=sampler_seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True, constant_liar=True
        )
    up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [up if objective.direction == "max" else down for objective in objectives]
    study = optuna.create_study(directions=directions, sampler=sampler)
    for entry in known:
        study.add_trial(_told(space, entry, single=len(objectives) == 1))
    asked, chosen = study.ask(), Overrides()
    for path, axis in space.axes.items():
        if space.active(path, chosen):
            chosen[path] = _asked(asked, path, axis)
    return chosen


def _random(space: Space, generator: np.random.Generator) -> Overrides:
    chosen: Overrides = {}
    for path, axis in space.axes.items():
        # Every setting takes its turn, applicable or not, so that one does not shift the others' draws.
        share = float(generator.random())
        if space.active(path, chosen):
            chosen[path] = at_share(axis, share)
    return chosen


def at_share(axis: Axis, share: float) -> Value:
    """The value at a share in [0, 1) of the axis."""
    if axis.kind == "choice":
        return axis.options[int(share * len(axis.options))]
    assert axis.low is not None and axis.high is not None
    if axis.kind == "int":
        return int(axis.low) + int(share * (int(axis.high) - int(axis.low) + 1))
    if axis.kind == "log":
        return axis.low * math.exp(share * math.log(axis.high / axis.low))
    return axis.low + share * (axis.high - axis.low)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.kind == "choice":
        return CategoricalDistribution(axis.options)
    assert axis.low is not None and axis.high is not None
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log")


def _asked(trial: optuna.Trial, path: str, axis: Axis) -> Value:
    if axis.kind == "choice":
        return trial.suggest_categorical(path, axis.options)
    assert axis.low is not None and axis.high is not None
    if axis.kind == "int":
        return trial.suggest_int(path, int(axis.low), int(axis.high))
    return trial.suggest_float(path, axis.low, axis.high, log=axis.kind == "log")


def _told(space: Space, entry: Known, single: bool) -> FrozenTrial:
    """A trial in Optuna's form. A value outside its axis (a preset's) cannot be said, so it is left out."""
    said = {path: value for path, value in entry.overrides.items() if space.axes[path].contains(value)}
    distributions = {path: _distribution(space.axes[path]) for path in said}
    defined = bool(entry.scores) and all(math.isfinite(score) for score in entry.scores)
    if entry.state == "running":
        return create_trial(state=TrialState.RUNNING, params=said, distributions=distributions)
    if entry.state == "failed" or not defined:
        return create_trial(state=TrialState.FAIL, params=said, distributions=distributions)
    if entry.state == "stopped" and single:
        last = {entry.samples_seen: entry.scores[0]}
        return create_trial(state=TrialState.PRUNED, params=said, distributions=distributions, intermediate_values=last)
    # Optuna knows no unfinished trials of several objectives: their last scores stand for them.
    return create_trial(state=TrialState.COMPLETE, params=said, distributions=distributions, values=list(entry.scores))
