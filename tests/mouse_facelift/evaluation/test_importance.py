from __future__ import annotations

import math

import numpy as np
import pytest

from mouse_facelift.evaluation.importance import FEWEST_TRIALS, SURE, Importance, Parameter, importances


def drawn(trials: int, seed: int = 0) -> list[Parameter]:
    """A parameter on a log scale, one on a linear scale, and choices with and without an order."""
    random = np.random.default_rng(seed)
    return [
        Parameter("lr", (10 ** random.uniform(-6, -2, trials)).tolist(), "log"),
        Parameter("weight", random.uniform(0, 1, trials).tolist()),
        Parameter("layers", random.choice([0, 12, 20, 22], trials).tolist(), "choice"),
        Parameter("mode", random.choice(["full", "lora", "heads"], trials).tolist(), "choice"),
        Parameter("masked", random.choice([True, False], trials).tolist(), "choice"),
    ]


def by_name(found: list[Importance]) -> dict[str, Importance]:
    return {item.name: item for item in found}


@pytest.mark.parametrize("deciding", ["lr", "weight", "mode", "masked"])
@pytest.mark.parametrize("seed", range(3))
def test_what_decides_everything_gets_nearly_all_and_the_rest_nothing(deciding: str, seed: int) -> None:
    # With fewer trials, parameters that are drawn independently are correlated by chance, and rightly share.
    parameters = drawn(100, seed)
    chosen = next(p for p in parameters if p.name == deciding)
    height = {"full": 1.0, "lora": 3.0, "heads": 2.0, "True": 1.0, "False": 0.0}
    numbers = [height[str(v)] if str(v) in height else float(str(v)) for v in chosen.values]
    scores = np.log(numbers).tolist() if deciding == "lr" else numbers
    found = importances(parameters, scores)
    assert found[0].name == deciding and found[0].share > 0.95 and found[0].chance <= SURE
    assert all(item.share < 0.1 for item in found[1:])


def test_noise_decides_nothing() -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for seed in range(20):
        found = importances(drawn(16, seed), random.normal(size=16).tolist(), seed)
        wrong += found[0].chance <= SURE
        assert all(0 <= item.low <= item.share + 1e-9 and item.share <= item.high + 1e-9 for item in found)
    # One search in twenty may be fooled, by what a chance of 5 % means; four in twenty would be a broken test.
    assert wrong <= 3


def test_a_best_value_in_the_middle_is_found_and_named() -> None:
    parameters = drawn(30)
    scores = [-((math.log10(float(str(lr))) + 4) ** 2) for lr in parameters[0].values]
    found = importances(parameters, scores)[0]
    assert found.name == "lr" and found.share > 0.8
    assert isinstance(found.best, float) and 3e-5 < found.best < 3e-4
    assert found.words.startswith("best near")


@pytest.mark.parametrize(("sign", "words"), [(1, "more is better"), (-1, "less is better")])
def test_a_direction_is_named(sign: int, words: str) -> None:
    parameters = drawn(30)
    scores = [sign * float(str(weight)) for weight in parameters[1].values]
    assert importances(parameters, scores)[0].words == words


def test_how_far_off_a_diverged_trial_is_does_not_matter() -> None:
    parameters = drawn(24)
    scores = [math.log(float(str(lr))) for lr in parameters[0].values]
    found = [importances(parameters, [*scores[:5], low, *scores[6:]]) for low in (min(scores) - 1, -1e9)]
    assert found[0] == found[1]
    assert found[1][0].name == "lr" and found[1][0].chance <= SURE


def test_only_the_order_of_scores_matters() -> None:
    parameters, scores = drawn(20), np.random.default_rng(2).normal(size=20)
    assert importances(parameters, scores.tolist()) == importances(parameters, np.exp(scores).tolist())


def test_trials_without_a_score_or_the_parameter_are_left_out() -> None:
    parameters = drawn(20)
    scores = [float(str(weight)) for weight in parameters[1].values]
    rare = Parameter("rank", [8 if i < 12 else None for i in range(20)])
    rank = [*range(12), *[None] * 8]
    found = by_name(importances([*parameters, rare, Parameter("some", rank)], [math.nan, *scores[1:]]))
    assert found["weight"].trials == 19 and found["some"].trials == 11
    assert found["rank"].words == "never varied"


def test_few_trials_say_nothing() -> None:
    parameters = drawn(FEWEST_TRIALS - 1)
    found = importances(parameters, [float(str(weight)) for weight in parameters[1].values])
    assert {item.words for item in found} == {"too few trials to tell"}
    assert all(math.isnan(item.share) for item in found)


def test_equal_scores_say_nothing() -> None:
    assert all(math.isnan(item.share) for item in importances(drawn(12), [1.0] * 12))


def test_zero_on_a_log_scale_is_the_least() -> None:
    values = [0.0, *np.geomspace(1e-3, 1, 19).tolist()]
    found = importances([Parameter("weight", values, "log")], list(range(20)))[0]
    assert found.share > 0.95 and found.words == "more is better"


def test_a_choice_tried_once_is_not_predicted_by_itself() -> None:
    values = ["a"] * 10 + ["b"]
    found = importances([Parameter("mode", values, "choice")], [*np.random.default_rng(3).normal(size=10), 50.0])[0]
    assert found.share < 0.1
