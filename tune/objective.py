"""What decides between trials: scores of the fixed protocol, costs, or a weighted sum of scores; never the loss."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.metrics import LOWER_IS_BETTER, ViewMetrics
from mouse_facelift.evaluation.search_numbers import sign, trial_value
from mouse_facelift.evaluation.trials import Objective, Trial
from mouse_facelift.plain import did_you_mean

COSTS: Mapping[str, str] = {"seconds_train": "s", "memory_mib": "MiB"}
"""What a trial takes, by name, with its unit; less is better."""

SCORES = tuple(field.name for field in fields(ViewMetrics))
_TERM = re.compile(r"\s*(?:(?P<weight>[-+]?\s*[0-9.]+(?:e[-+]?\d+)?)\s*\*\s*)?(?P<name>[a-z_]+)\s*")


def parse_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Objectives as typed: a score (`psnr_foreground`), a cost (`seconds_train`), or a sum of scores
    (`psnr_foreground + 10 * mask_iou`); the first one ranks.

    Raises:
        InputError: one that is not understood, or no objective.
    """
    if not texts:
        raise InputError("--objectives: name at least one, such as psnr_foreground")
    if len(set(texts)) < len(texts):
        raise InputError("--objectives: one is named twice; name each once")
    return tuple(_objective(text) for text in texts)


def rank(objective: Objective, trials: Sequence[Trial]) -> list[Trial]:
    """Trials whose value is known, best first; equals in the order of their numbers."""
    known = [trial for trial in trials if math.isfinite(trial_value(objective, trial))]
    return sorted(known, key=lambda trial: (-sign(objective) * trial_value(objective, trial), trial.number))


def _objective(text: str) -> Objective:
    if text in COSTS:
        return Objective(text, "min", COSTS[text])
    terms = _terms(text)
    down = {name in LOWER_IS_BETTER for _, name in terms}
    if len(terms) == 1 and terms[0][0] == 1.0:
        name = terms[0][1]
        return Objective(name, "min" if down == {True} else "max", "dB" if name.startswith("psnr") else "")
    # In a sum the signs say what is better; the sum as a whole is to grow.
    return Objective(text, "max", terms=tuple(terms))


def _terms(text: str) -> list[tuple[float, str]]:
    """A weighted sum's parts."""
    parts = []
    for part in text.replace("-", "+-").split("+"):
        if not part.strip():
            continue
        negative = part.strip().startswith("-")
        match = _TERM.fullmatch(part.strip().removeprefix("-"))
        if match is None:
            raise InputError(f"--objectives: '{text}' is not understood; write score, or 2 * score + score")
        name = match["name"]
        if name not in SCORES:
            raise InputError(f"--objectives: no score is called '{name}'{did_you_mean(name, (*SCORES, *COSTS))}")
        weight = float(match["weight"] or 1.0)
        parts.append((-weight if negative else weight, name))
    if not parts:
        raise InputError("--objectives: one is empty; write a score's name, such as psnr_foreground")
    return parts
