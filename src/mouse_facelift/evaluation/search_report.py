"""The page of a search: was it worth it, which settings decide, what each trial did - read in a minute.

Best first: one sentence, the finalists' seeds and pictures; then what the settings do, quality by number of views and
by cost where they were measured; last the table of all trials and how they were judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mouse_facelift.evaluation.drawings import Drawing
from mouse_facelift.evaluation.images import Image, Panel, SheetStyle, composite, contact_sheet, error_map
from mouse_facelift.evaluation.importance import FEWEST_TRIALS, Importance, importances
from mouse_facelift.evaluation.importance_charts import importance_svg, slices_svg
from mouse_facelift.evaluation.parallel_coordinates import MOST_AXES, parallel_coordinates_svg
from mouse_facelift.evaluation.report import Item, Picture, Report, Section, write_report
from mouse_facelift.evaluation.search_charts import (
    finalist_name,
    finalists_svg,
    learning_curves_svg,
    pareto_svg,
    views_svg,
)
from mouse_facelift.evaluation.search_numbers import (
    compared_at,
    finalist_spread,
    objective_label,
    parameters,
    pareto_front,
    searched,
    sign,
    value_at,
    varied,
    views_curves,
)
from mouse_facelift.evaluation.search_tables import (
    failure_table,
    finalist_table,
    front_table,
    protocol_tables,
    trial_table,
    views_tables,
)
from mouse_facelift.evaluation.search_verdict import compare, headline, spread_text, summary
from mouse_facelift.evaluation.summary import read_picture
from mouse_facelift.evaluation.trials import Objective, Search

__all__ = ["FramePanel", "headline", "write_search_report"]

# Pictures of the finalists and their errors stand beside each other on a page of this width, in pixels.
_SHEETS, _SMALLEST, _LARGEST = 1080, 96, 192


@dataclass(frozen=True, eq=False)
class FramePanel:
    """One held-out view of one frame: the truth, and what each finalist makes of it."""

    caption: str
    """Such as "frame 812, view 3"."""
    truth: Image | Path | None
    """None where each finalist's picture is a sheet that has the truth in it."""
    renders: Mapping[str, Image | Path]
    """Trial of the search (`Finalist.repeats`) -> its picture, as an array or a file, of the truth's size."""


def write_search_report(path: Path | str, search: Search, panels: Sequence[FramePanel] = ()) -> Path:
    """Write the page of a search, finished or not; returns its path.

    Args:
        path: The file.
        search: All that is known so far.
        panels: Pictures of the finalists on the same frames; the page is written without them where there are none.

    Raises:
        InputError: A picture's file is absent or damaged.
    """
    sections = [_outcome(search), *_pictures(search, panels), *_by_views(search), *_cost(search), *_decides(search)]
    text = "A stopped trial's score is that of the samples it saw, lower than it would have become."
    sections.append(Section("All trials", [trial_table(search)], text))
    if any(trial.status == "failed" for trial in search.trials):
        sections.append(Section("What failed, and why", [failure_table(search)]))
    sections.append(Section("How it was searched and judged", protocol_tables(search)))
    page = Report(f"Search over {search.space}, preset {search.preset}", summary(search)[0], [], sections)
    return write_report(path, page)


def _outcome(search: Search) -> Section:
    """Finalists and learning curves side by side, then the finalists' numbers and settings."""
    items: list[Item] = []
    if any(finalist_spread(search, finalist).values for finalist in search.finalists):
        items.append(Drawing(finalists_svg(search), "Bar: mean and standard deviation of the seeds. Dashed: default."))
    items.append(Drawing(learning_curves_svg(search), "One line per trial of the search, its own seed only."))
    if search.finalists:
        items.append(finalist_table(search))
    return Section("Best and default", items, " ".join([*_outcome_text(search), *summary(search)[1:]]))


def _outcome_text(search: Search) -> list[str]:
    found = compare(search)
    if found is None or (found.best_is_default and not found.repeated):
        return []
    default = f"The default alone would have given {spread_text(found.of_default, found.objective)}."
    if not found.repeated:
        luck = "the winner of many tries is lucky too, so expect less of it in another run."
        return [default, f"Best and default were run once each, with the seed they were chosen by: {luck}"]
    count = sum(not finalist.is_default for finalist in search.finalists)
    chosen = f"The best {count} configurations were" if count > 1 else "The best configuration was"
    return [default, f"{chosen} trained again beside the default, with seeds that played no part in choosing them."]


def _pictures(search: Search, panels: Sequence[FramePanel]) -> list[Section]:
    """A sheet of truth, default, best and others with a row per frame, and beside it a sheet of their errors."""
    ordered = sorted(search.finalists, key=lambda f: (not f.is_default, f.repeats != search.best_trial))
    renders, errors, sheets = [], [], []
    for panel in panels:
        there = [finalist for finalist in ordered if finalist.repeats in panel.renders]
        shown = [(finalist_name(search, f), _picture(panel.renders[f.repeats])) for f in there]
        if panel.truth is None:
            sheets += [Picture(image, f"{panel.caption}: {name}") for name, image in shown]
        elif shown:
            truth = _picture(panel.truth)
            renders.append([Panel(truth, panel.caption), *[Panel(image, name) for name, image in shown]])
            errors.append([Panel(error_map(composite(image), composite(truth)), name) for name, image in shown])
    items = _compared(renders, errors) + sheets
    text = "Held-out views of held-out frames, one seed of each."
    return [Section("The finalists on the same frames", items, text)] if items else []


def _compared(renders: Sequence[Sequence[Panel]], errors: Sequence[Sequence[Panel]]) -> list[Picture]:
    """Two sheets beside each other, as large as the page has room for."""
    if not renders:
        return []
    columns = max(len(row) for row in renders) + max(len(row) for row in errors)
    style = SheetStyle(cell=min(max(_SHEETS // columns - SheetStyle.gap, _SMALLEST), _LARGEST))
    return [
        Picture(contact_sheet(renders, style), "Left the truth, then what each makes of it."),
        Picture(contact_sheet(errors, style), "Its error: black for none."),
    ]


def _decides(search: Search) -> list[Section]:
    """Importance with the scores behind it, then parallel coordinates, which take a row of their own."""
    trials, samples, objective = searched(search), compared_at(search), search.objectives[0]
    knobs = {knob.path: knob for knob in varied(search)}
    if not samples or not knobs:
        return []
    scores = [sign(objective) * value_at(objective, trial, samples) for trial in trials]
    found = importances(parameters(search, trials), scores)
    ordered = [knobs[item.name] for item in found]
    items = [
        Drawing(slices_svg(search, ordered), "Blue: best. Orange: default. A score far below the others is left out.")
    ]
    if not all(math.isnan(item.share) for item in found):
        items.insert(0, Drawing(importance_svg(found), "Line: 5 % to 95 % when the trials are drawn again."))
    caption = f"The {MOST_AXES} settings that decide most, of {len(ordered)}. " if len(ordered) > MOST_AXES else ""
    caption += "A trial that was not trained that long ends before the last axis."
    items.append(Drawing(parallel_coordinates_svg(search, ordered), caption))
    longer = any(trial.samples_seen > samples for trial in trials)
    return [Section("Which settings decide", items, _decides_text(objective, found, samples, longer))]


def _decides_text(objective: Objective, found: Sequence[Importance], samples: int, longer: bool) -> str:
    count = max((item.trials for item in found), default=0)
    text = f"By {objective_label(objective)} after {samples:,} samples, which {count} trials have"
    text += ": later scores would compare survivors only. " if longer else ". "
    if count < FEWEST_TRIALS:
        return f"{text}Too few to tell what decides: at least {FEWEST_TRIALS} are needed. Their scores by setting:"
    text += "A bar is how well the setting alone predicts the order of trials it was not fitted to. Solid blue: chance "
    text += "gives the luckiest setting as much in under 5 % of shuffles; pale blue: in under 20 %; grey: more often. "
    return f"{text}Settings that act only together can be missed."


def _by_views(search: Search) -> list[Section]:
    curves, objective = views_curves(search), search.objectives[0]
    if not curves:
        return []
    caption = "Ring: as many views as in training." if any(curve.most for curve in curves) else ""
    items = [Drawing(views_svg(objective, curves), caption)]
    text = "Every model is judged on the same targets with each number of input views. Memory: peak of one worker."
    return [Section("Quality by number of views", [*items, *views_tables(objective, curves)], text)]


def _cost(search: Search) -> list[Section]:
    front = pareto_front(search) if len(search.objectives) > 1 else []
    if not front:
        return []
    items = [Drawing(pareto_svg(search)), front_table(search, front)]
    return [Section("Quality and cost", items, "No completed trial is better in both than one on the line.")]


def _picture(source: Image | Path) -> Image:
    return read_picture(source) if isinstance(source, Path) else source
