from __future__ import annotations

import dataclasses

import pytest

from mouse_facelift.evaluation.search_verdict import UNFINISHED, compare, duration, headline
from mouse_facelift.evaluation.trials import Objective, Search, finalist
from tests.searches import views_search, weights_search


def with_scores(best: list[float], default: list[float]) -> Search:
    """A search whose best trial (t006) and default came to these scores over their seeds."""
    search = weights_search()
    finals, finalists = [], []
    for origin, scores in (("t006", best), ("t000", default)):
        trial = search.trial(origin)
        again = [
            dataclasses.replace(
                trial,
                trial_id=f"{origin}-{i}",
                seed=i,
                stage="final",
                status="completed",
                repeats=origin,
                scores={"psnr_foreground": score},
            )
            for i, score in enumerate(scores)
        ]
        finals += again
        finalists.append(finalist(trial, origin == "t000", again))
    trials = tuple(t for t in search.trials if t.stage == "search") + tuple(finals)
    return dataclasses.replace(search, trials=trials, finalists=tuple(finalists), best_trial="t006")


def test_a_gain_beyond_the_spread_is_called_better() -> None:
    search = with_scores([18.5, 18.6, 18.7], [17.9, 18.0, 18.1])
    found = compare(search)
    assert found is not None and found.verdict == "better" and found.repeated
    assert found.gain == pytest.approx(0.6) and found.noise == pytest.approx(0.02**0.5)
    first = headline(search)[0]
    assert first.startswith("Better than the default by 0.60 dB, 4.2 times the spread between seeds")
    assert "18.60 ± 0.10 dB" in first and "18.00 ± 0.10 dB" in first and "3 seeds" in first


def test_a_gain_within_the_spread_is_not() -> None:
    search = with_scores([18.0, 18.5, 19.0], [17.8, 18.3, 18.8])
    found = compare(search)
    assert found is not None and found.verdict == "within spread"
    assert headline(search)[0].startswith("No better than the default as far as can be told: the gain of 0.20 dB")


def test_a_loss_is_said() -> None:
    search = with_scores([17.0, 17.1, 17.2], [18.0, 18.1, 18.2])
    assert headline(search)[0].startswith("Not better than the default, by 1.00 dB")


@pytest.mark.parametrize(("default_iou", "said"), [(0.82, True), (0.805, False), (0.7, False)])
def test_what_a_gain_was_paid_with_is_said(default_iou: float, said: bool) -> None:
    """Mask IoU of the best is 0.79, 0.80 and 0.81."""
    search = with_scores([18.5, 18.6, 18.7], [17.9, 18.0, 18.1])
    trials = []
    for trial in search.trials:
        iou = 0.01 * (trial.seed - 1) + (0.8 if trial.repeats == "t006" else default_iou)
        trials.append(dataclasses.replace(trial, scores={**trial.scores, "mask_iou": iou}))
    again = [[t for t in trials if t.repeats == name] for name in ("t006", "t000")]
    finalists = tuple(
        finalist(search.trial(f.repeats), f.is_default, runs) for f, runs in zip(search.finalists, again, strict=True)
    )
    lines = headline(dataclasses.replace(search, trials=tuple(trials), finalists=finalists))
    sentence = "It is worse than the default in mask IoU (0.800 ± 0.010 against 0.820 ± 0.010)."
    assert (sentence in lines) == said and ("worse" in " ".join(lines)) == said


def test_a_mean_over_numbers_of_views_is_called_one() -> None:
    search = dataclasses.replace(with_scores([18.5, 18.6], [17.9, 18.0]), inputs=(1, 2, 3))
    assert "foreground PSNR (mean over 1 to 3 input views) 18.55 ± 0.07 dB" in headline(search)[0]


def test_an_unfinished_search_says_so() -> None:
    search = weights_search()
    assert "Not finished" not in headline(search)[-1]
    half = dataclasses.replace(search, settings={**search.settings, UNFINISHED: "3 of 8 trials have ended"})
    assert headline(half)[-1].endswith("Not finished: 3 of 8 trials have ended.")


def test_one_seed_each_may_be_luck() -> None:
    assert "may be luck" in headline(with_scores([18.0], [17.0]))[0]
    unrepeated = dataclasses.replace(weights_search(), finalists=())
    found = compare(unrepeated)
    assert found is not None and found.verdict == "unknown" and not found.repeated
    assert "one run each this may be luck" in headline(unrepeated)[0]


def test_an_unbeaten_default_is_said() -> None:
    search = dataclasses.replace(weights_search(), best_trial="t000")
    assert headline(search)[0].startswith("Nothing that was tried beats the default")
    assert not any(line.startswith("Trial") for line in headline(search))


def test_less_can_be_better() -> None:
    search = with_scores([18.5, 18.6, 18.7], [17.9, 18.0, 18.1])
    found = compare(dataclasses.replace(search, objectives=(Objective("psnr_foreground", "min", "dB"),)))
    assert found is not None and found.verdict == "not better"


@pytest.mark.parametrize("gone", ["default_trial", "best_trial"])
def test_a_search_that_has_just_begun(gone: str) -> None:
    lines = headline(dataclasses.replace(weights_search(), **{gone: ""}))
    assert lines[0].startswith("Nothing can be compared yet")
    assert headline(dataclasses.replace(weights_search(), trials=(), finalists=(), default_trial="", best_trial=""))


def test_what_the_best_sets_and_how_the_trials_ended() -> None:
    lines = headline(weights_search())
    assert "losses.foreground_weight 8.8" in lines[1]
    assert (
        lines[-1]
        == "20 trials: 5 completed, 13 stopped early, 2 failed; 9 repetitions with other seeds; 17 min in all."
    )


def test_views_are_summed_up_at_both_ends() -> None:
    sentence = next(line for line in headline(views_search()) if line.startswith("Given"))
    assert "given 1 view, the model trained with 1 " in sentence.lower()
    assert "given 5 views, the model trained with 5 " in sentence


@pytest.mark.parametrize(("seconds", "text"), [(48.2, "48 s"), (1043, "17 min"), (7500, "2 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
