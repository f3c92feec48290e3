"""A search's rules in words, for its plan, its results and their report."""

from __future__ import annotations

from tune.plan import Plan
from tune.recipes import recipe


def protocol_in_words(plan: Plan) -> dict[str, str]:
    """How every trial is judged: title -> text."""
    orders = plan.orders
    words = {"samples": f"{len(plan.held_out_ids)} of split=val ({plan.held_out.rows} rows), the same for every trial"}
    if orders.inputs:
        views = " to ".join(map(str, dict.fromkeys((orders.inputs[0], orders.inputs[-1]))))
        words["held-out view"] = "one of each sample, rotating over the cameras; never an input"
        words["input views"] = f"{views}, spread in azimuth"
        if len(orders.inputs) > 1:
            words["scores"] = "means over these numbers of input views"
        words["background"] = str(orders.base.views.background)  # type: ignore[attr-defined]
        words["image size"] = f"{orders.base.model.image_size} px"  # type: ignore[attr-defined]
    else:
        words["evaluation"] = "that of the settings the search started from"
    words["searched settings"] = "decide how a model is trained and nothing of how it is judged"
    return words


def settings_in_words(plan: Plan) -> dict[str, str]:
    """How trials are chosen and what they may take: title -> text."""
    orders, settings = plan.orders, plan.settings
    how = {"tpe": "Optuna's TPE", "random": "random", "grid": "grid"}[plan.search]
    words = {
        "training": recipe(orders.kind).verb,
        "search": f"{how}, seed {settings.seed}",
        "budget": f"at most {orders.max_samples} samples per trial, evaluated every {orders.grace_samples}",
    }
    if plan.scheduler == "asha":
        words["early stopping"] = (
            f"ASHA on samples seen: at {', '.join(map(str, plan.rungs))} one in {settings.reduction} goes on"
        )
    elif plan.scheduler == "pbt":
        words["early stopping"] = f"population-based training every {orders.grace_samples} samples; "
        words["early stopping"] += "a trial's settings are those it ended with, and finals train with them throughout"
    else:
        words["early stopping"] = "none"
    if plan.finals:
        words["finals"] = f"default and best {settings.finalists}, {settings.final_seeds} new seeds each"
    words["resources"] = f"{orders.resources.side_by_side} trials side by side, {orders.resources.described()} each"
    return words
