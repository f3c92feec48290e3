from __future__ import annotations

import dataclasses
import math

import pytest

from mouse_facelift.evaluation.search_numbers import (
    compared_at,
    finalist_spread,
    parameters,
    pareto_front,
    score_value,
    searched,
    setting,
    trial_value,
    value_at,
    value_key,
    value_text,
    varied,
    views_curves,
)
from mouse_facelift.evaluation.trials import Objective, Trial
from tests.searches import PSNR, VIEWS, WEIGHTS, views_search, weights_search


def test_trials_are_compared_where_most_of_them_came() -> None:
    search = weights_search()
    samples = compared_at(search)
    scores = [value_at(PSNR, trial, samples) for trial in searched(search)]
    assert samples == 400, "two thirds end at the first rung"
    assert sum(map(math.isfinite, scores)) == 18, "all but the two that failed before"


def test_scores_are_those_of_the_same_samples() -> None:
    trial = searched(weights_search())[0]
    assert value_at(PSNR, trial, 400) == trial.curve[4].scores["psnr_foreground"]
    assert value_at(PSNR, trial, 410) == trial.curve[4].scores["psnr_foreground"]
    assert math.isnan(value_at(PSNR, trial, 4000)) and math.isnan(value_at(PSNR, trial, 10))


def test_nothing_scored_is_compared_nowhere() -> None:
    search = weights_search()
    empty = tuple(dataclasses.replace(trial, curve=(), scores={}) for trial in search.trials)
    assert compared_at(dataclasses.replace(search, trials=empty)) == 0


def test_weighted_sums_and_costs() -> None:
    trial = searched(weights_search())[0]
    both = Objective("psnr_foreground + 10 * mask_iou", "max", terms=((1.0, "psnr_foreground"), (10.0, "mask_iou")))
    wanted = trial.scores["psnr_foreground"] + 10 * trial.scores["mask_iou"]
    assert trial_value(both, trial) == pytest.approx(wanted)
    assert trial_value(Objective("memory_mib", "min", "MiB"), trial) == trial.memory_mib
    assert math.isnan(score_value(both, {"psnr_foreground": 1.0}))


def test_the_default_has_the_presets_values_and_conditions_leave_gaps() -> None:
    search = weights_search()
    default, other = searched(search)[:2]
    knobs = {knob.path: knob for knob in WEIGHTS}
    assert setting(default, knobs["losses.alpha"]) == 1.0
    assert setting(default, knobs["losses.ssim_masked"]) is None, "it is only searched where SSIM is on"
    assert setting(other, knobs["losses.alpha"]) == other.overrides["losses.alpha"]
    assert {knob.path for knob in varied(search)} == set(knobs)
    assert all(len(parameter.values) == 20 for parameter in parameters(search, searched(search)))


def test_settings_that_never_varied_are_left_out() -> None:
    search = weights_search()
    trials = tuple(dataclasses.replace(t, overrides={**t.overrides, "losses.alpha": 1.0}) for t in search.trials)
    assert "losses.alpha" not in {knob.path for knob in varied(dataclasses.replace(search, trials=trials))}


def test_quality_by_views_has_a_curve_per_number_at_training() -> None:
    search = views_search()
    curves = views_curves(search)
    assert [curve.trained for curve in curves] == ["1", "2", "1–3", "3", "4", "1–5", "5"]
    assert [curve.most for curve in curves] == [1, 2, 3, 3, 4, 5, 5]
    four = curves[4]
    assert four.trials == (search.trials[0],), "the default trains with the preset's number"
    assert [four.quality[n].mean for n in range(1, 6)] == [
        search.trials[0].by_views[n]["psnr_foreground"] for n in range(1, 6)
    ]


def test_repetitions_share_a_curve_and_of_two_configurations_the_better_is_shown() -> None:
    search = views_search()
    base = search.trials[1]
    by_views = {n: {"psnr_foreground": s["psnr_foreground"] + 1} for n, s in base.by_views.items()}
    again = dataclasses.replace(base, trial_id="again", stage="final", by_views=by_views)
    worse = dataclasses.replace(
        base, trial_id="worse", overrides={**base.overrides, "x": 1}, scores={"psnr_foreground": 1.0}
    )
    curves = views_curves(dataclasses.replace(search, trials=(*search.trials, again, worse)))
    one = next(curve for curve in curves if curve.trained == "1")
    assert {trial.trial_id for trial in one.trials} == {base.trial_id, "again"}
    assert one.quality[3].mean == pytest.approx(base.by_views[3]["psnr_foreground"] + 0.5)
    assert one.quality[3].deviation == pytest.approx(math.sqrt(0.5))


def test_nothing_on_the_front_is_beaten_and_everything_else_is() -> None:
    cost = Objective("seconds_train", "min", "s")
    base = weights_search()
    trials = tuple(
        dataclasses.replace(
            t, status="completed" if t.status == "stopped" else t.status, seconds_train=100.0 + 37 * t.number % 90
        )
        for t in base.trials
    )
    search = dataclasses.replace(base, trials=trials, objectives=(PSNR, cost))
    front = pareto_front(search)
    done = [t for t in searched(search) if t.status == "completed"]

    def better(a: Trial, b: Trial) -> bool:
        pa, pb = ((trial_value(PSNR, t), -trial_value(cost, t)) for t in (a, b))
        return pa[0] >= pb[0] and pa[1] >= pb[1] and pa != pb

    assert 0 < len(front) < len(done)
    for trial in done:
        assert any(better(other, trial) for other in done) == (trial not in front)
    with pytest.raises(ValueError, match="two objectives"):
        pareto_front(base)


def test_a_finalists_spread_is_that_of_its_seeds() -> None:
    search = weights_search()
    for finalist in search.finalists:
        spread = finalist_spread(search, finalist)
        assert spread.mean == pytest.approx(finalist.mean["psnr_foreground"])
        assert spread.deviation == pytest.approx(finalist.spread["psnr_foreground"])


def test_settings_as_text_and_as_keys() -> None:
    assert [value_text(v) for v in (None, True, 0.123456, 3, "lora")] == ["–", "yes", "0.123", "3", "lora"]
    assert value_key(1) == value_key(1.0) != value_key(True)
    assert VIEWS[0].default == 4
