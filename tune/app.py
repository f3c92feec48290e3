"""`mouse-facelift tune`: search training settings, and say what is better than the default and by how much.

python -m tune.app --data DATASET --out SEARCH --space loss-weights
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mouse_facelift.cli import run_verb
from mouse_facelift.config import REQUIRED, parse
from mouse_facelift.evaluation.search_report import headline
from mouse_facelift.evaluation.trials import RESULTS_FILE, SEARCH_FILE, Search
from tune.plan import make_plan
from tune.probe import seconds_per_step
from tune.recipes import recipe
from tune.search import BEST_FILE, REPORT_FILE, VERB, check_search_folder, run_search
from tune.settings import TuneConfig
from tune.show import Progress, plan_lines


def tune(settings: TuneConfig) -> Search:
    """Plan, show the plan, search.

    Raises:
        InputError: anything that cannot work, before any trial starts; or a search in which every trial failed.
    """
    settings = dataclasses.replace(settings, out=settings.out.absolute())
    check_search_folder(_whole_paths(settings))
    plan = make_plan(_whole_paths(settings))
    print("\n".join(plan_lines(plan, seconds_per_step(plan))), flush=True)
    return run_search(plan, Progress(plan))


class _StartingPoints(dict[str, TuneConfig]):
    """A training preset's name -> a search that starts from it.

    Which names there are depends on the space, so the plan refuses unknown ones; a person is shown GS-LRM's.
    """

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __missing__(self, name: str) -> TuneConfig:
        return _start_from(name)


def _start_from(name: str) -> TuneConfig:
    return TuneConfig(data=REQUIRED, out=REQUIRED, preset=name)


def _whole_paths(settings: TuneConfig) -> TuneConfig:
    """As it is recorded: a search goes on from wherever its command is typed."""
    data = settings.data if "://" in settings.data else str(Path(settings.data).absolute())
    base = None if settings.base is None else settings.base.absolute()
    space = Path(settings.space)
    named = str(space.absolute()) if space.suffix in (".yaml", ".yml") else settings.space
    return dataclasses.replace(settings, data=data, base=base, out=settings.out.absolute(), space=named)


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(
        TuneConfig,
        argv,
        prog=f"mouse-facelift {VERB}",
        description="Search training settings on a fixed protocol; the same command goes on after an interruption.",
        presets=_StartingPoints({name: _start_from(name) for name in recipe("gslrm").presets}),
    )
    search = tune(settings)
    print("\n".join(headline(search)))
    out = settings.out
    print(f"wrote {out / REPORT_FILE}; {RESULTS_FILE}, {SEARCH_FILE} and {BEST_FILE} beside it")
    print(f"next: mouse-facelift {search.settings['training']} --config {out / BEST_FILE} --out RUN")
    return 0


if __name__ == "__main__":
    run_verb(main)
