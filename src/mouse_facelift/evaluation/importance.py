"""Which searched parameter decides the score, measured so that few trials cannot pretend to know.

The measure is leave-one-out predicted variance (PRESS, Allen 1974) of the *order* of the trials: a parabola in the
parameter, or one level per choice, predicts the rank of a trial it was not fitted to. 1 says that the parameter alone
puts the trials in order, 0 that it predicts no better than their mean rank. Ranks, because one diverged trial would
otherwise be all the variance there is. Forests that split on pairs of parameters (fANOVA, Hutter et al. 2014) see more
with hundreds of trials; with a dozen they explain noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

Value = float | int | str | bool | None
FEWEST_TRIALS = 8
"""Below this no statement is made: a parabola through seven points leaves too little to judge it by."""
SURE, LIKELY = 0.05, 0.2
"""Chance of a share as large by luck, below which a parameter is said to matter, or to matter perhaps."""
_PSEUDO_TRIALS = 1.0
"""Ridge penalty, in trials: a choice tried once is then predicted by the mean and not by itself."""
_SHUFFLES, _RESAMPLES = 2000, 1000
_EDGE = 0.12
"""Share of a parameter's range at either end in which the best place counts as 'the more, the better'."""


@dataclass(frozen=True)
class Parameter:
    """What the trials had for one parameter."""

    name: str
    values: Sequence[Value]
    """One per trial; None where the parameter was not in force."""
    scale: Literal["linear", "log", "choice"] = "linear"
    """Choices that are all numbers are taken in their order, evenly spaced; others have no order."""


@dataclass(frozen=True)
class Importance:
    """How far one parameter decides the order of the trials."""

    name: str
    trials: int
    """Trials in which it was in force and that have a score."""
    share: float
    """Predicted share of the variance of ranks, 0 to 1; nan where nothing can be said."""
    low: float
    high: float
    """5 % and 95 % of the share when the trials are drawn again with replacement."""
    chance: float
    """How often the best of all parameters reaches this share when scores are dealt out at random."""
    best: Value = None
    """The tried value at which trials are predicted best."""
    trend: str = ""
    """The same in words."""

    @property
    def words(self) -> str:
        """What may be said about it."""
        if math.isnan(self.share):
            return "too few trials to tell" if self.trials < FEWEST_TRIALS else "never varied"
        if self.chance > LIKELY:
            return "no effect seen"
        return f"{'' if self.chance <= SURE else 'perhaps: '}{self.trend}"


@dataclass(frozen=True, eq=False)
class _Fit:
    """A parameter's regression: an orthonormal basis of its centred features over the trials in force."""

    rows: np.ndarray
    basis: Float[np.ndarray, "n r"]

    def predict(self, ranks: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Fitted ranks about their mean, by ridge regression."""
        n = len(self.rows)
        return self.basis @ (self.basis.T @ ranks) * (n / (n + _PSEUDO_TRIALS))

    def errors(self, ranks: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Squared errors of predicting each trial from all others: by the parameter, and by the mean rank."""
        n = len(self.rows)
        leverage = 1 / n + (self.basis**2).sum(axis=1, keepdims=True) * (n / (n + _PSEUDO_TRIALS))
        by_parameter = (ranks - self.predict(ranks)) / (1 - leverage)
        return by_parameter**2, (ranks * n / (n - 1)) ** 2


def importances(parameters: Sequence[Parameter], scores: Sequence[float], seed: int = 0) -> list[Importance]:
    """Every parameter's share of the order of the trials, the largest first, those without an answer last.

    Args:
        parameters: What was searched.
        scores: One per trial, more is better; a trial whose score is not finite is left out. They must be comparable:
            taken after the same number of samples.
        seed: Of the shuffles and resamples.
    """
    values = np.asarray(scores, dtype=np.float64)
    fits = [_fit(parameter, values) for parameter in parameters]
    usable = [fit for fit in fits if fit is not None]
    luck = _shares_by_luck(usable, values, np.random.default_rng(seed))
    found = [
        _silent(parameter, values) if fit is None else _importance(parameter, fit, values, luck, seed)
        for parameter, fit in zip(parameters, fits, strict=True)
    ]
    return sorted(found, key=lambda i: (math.isnan(i.share), -i.share if not math.isnan(i.share) else 0.0, i.name))


def _importance(
    parameter: Parameter, fit: _Fit, scores: Float[np.ndarray, " n"], luck: Float[np.ndarray, " k"], seed: int
) -> Importance:
    ranks = _centred_ranks(scores[fit.rows, None])
    errors, spread = (e[:, 0] for e in fit.errors(ranks))
    share = _share(errors, spread)
    drawn = np.random.default_rng(seed).integers(len(errors), size=(_RESAMPLES, len(errors)))
    low, high = np.quantile(_share(errors[drawn], spread[drawn], axis=1), (0.05, 0.95))
    chance = float((1 + (luck >= share).sum()) / (1 + len(luck)))
    best = parameter.values[int(fit.rows[int(fit.predict(ranks)[:, 0].argmax())])]
    share, low, high = np.clip([share, low, high], 0, 1).tolist()
    return Importance(parameter.name, len(fit.rows), share, low, high, chance, best, _trend(parameter, fit.rows, best))


def _silent(parameter: Parameter, scores: Float[np.ndarray, " n"]) -> Importance:
    return Importance(parameter.name, len(_in_force(parameter, scores)), math.nan, math.nan, math.nan, math.nan)


def _fit(parameter: Parameter, scores: Float[np.ndarray, " n"]) -> _Fit | None:
    """None where there are too few trials, or no variation in the parameter or the score."""
    rows = _in_force(parameter, scores)
    if len(rows) < FEWEST_TRIALS or len(np.unique(scores[rows])) < 2:
        return None
    features = _features(parameter, rows)
    features = features - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(features, full_matrices=False)
    basis = left[:, sizes > 1e-9 * max(float(sizes.max(initial=0)), 1e-12)]
    return _Fit(rows, basis) if basis.shape[1] else None


def _features(parameter: Parameter, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    """A coordinate and its square, or one column per choice that has no order."""
    places = _coordinates(parameter, rows)
    if places is not None:
        u = places - places.mean()
        u = u / max(float(np.abs(u).max()), 1e-12)
        return np.stack([u, u**2], axis=1)
    levels = [str(parameter.values[i]) for i in rows]
    return np.array([[level == other for other in dict.fromkeys(levels)] for level in levels], dtype=np.float64)


def _coordinates(parameter: Parameter, rows: np.ndarray) -> Float[np.ndarray, " n"] | None:
    """Where each trial lies along the parameter; None where its values have no order."""
    values = [parameter.values[i] for i in rows]
    if any(isinstance(value, (str, bool)) for value in values):
        return None
    numbers = np.array(values, dtype=np.float64)
    if parameter.scale == "choice":
        return np.unique(numbers, return_inverse=True)[1].astype(np.float64)
    if parameter.scale != "log" or not (numbers > 0).any():
        return numbers
    # Zero, which switches a term off, has no logarithm: it counts as one e-fold below the least that was tried.
    return np.log(np.where(numbers > 0, numbers, numbers[numbers > 0].min() / math.e))


def _in_force(parameter: Parameter, scores: Float[np.ndarray, " n"]) -> np.ndarray:
    given = np.array([value is not None for value in parameter.values], dtype=bool)
    return np.flatnonzero(given & np.isfinite(scores))


def _centred_ranks(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    ranks = rankdata(scores, axis=0)
    return ranks - ranks.mean(axis=0)


def _share(errors: np.ndarray, spread: np.ndarray, axis: int = 0) -> np.ndarray:
    return 1 - errors.sum(axis=axis) / np.maximum(spread.sum(axis=axis), 1e-12)


def _shares_by_luck(
    fits: Sequence[_Fit], scores: Float[np.ndarray, " n"], random: np.random.Generator
) -> Float[np.ndarray, " k"]:
    """The largest share of any parameter, for scores dealt out at random many times over."""
    finite = np.flatnonzero(np.isfinite(scores))
    if not fits:
        return np.zeros(0)
    dealt = np.full((len(scores), _SHUFFLES), np.nan)
    dealt[finite] = random.permuted(np.repeat(scores[finite, None], _SHUFFLES, axis=1), axis=0)
    return np.max([_share(*fit.errors(_centred_ranks(dealt[fit.rows]))) for fit in fits], axis=0)


def _trend(parameter: Parameter, rows: np.ndarray, best: Value) -> str:
    places = _coordinates(parameter, rows)
    text = f"{best:.3g}" if isinstance(best, float) else str(best)
    if places is None:
        return f"best: {text}"
    if len(np.unique(places)) > 2:
        where = float(places[[parameter.values[i] for i in rows].index(best)] - places.min()) / float(np.ptp(places))
        if where > 1 - _EDGE or where < _EDGE:
            return "more is better" if where > 0.5 else "less is better"
    return f"best near {text}"
