"""Checks: a question, what was found, and whether a person should look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mouse_facelift.evaluation.report import Table


@dataclass(frozen=True)
class Check:
    """One question about a recording or a dataset; ``unknown`` where there was nothing to measure."""

    question: str
    finding: str
    status: Literal["ok", "look", "unknown"]

    @staticmethod
    def of(question: str, finding: str, fine: bool) -> Check:
        """A check that could be answered."""
        return Check(question, finding, "ok" if fine else "look")


def check_lines(checks: Sequence[Check], most: int = 6) -> list[str]:
    """The checks for a terminal, one line each; of many findings to one question the first ``most``."""
    width = max((len(check.question) for check in checks), default=0)
    lines, asked = [], Counter[str]()
    for check in checks:
        asked[check.question] += 1
        if asked[check.question] <= most:
            lines.append(f"  {check.status.upper():<8}{check.question:<{width}}  {check.finding}")
    left_out = sum(max(count - most, 0) for count in asked.values())
    return lines + ([f"  {'':<8}{'':<{width}}  and {left_out} more findings in the report"] if left_out else [])


def check_table(checks: Sequence[Check]) -> Table:
    """The checks for a page."""
    return Table(["check", "finding", "verdict"], [[c.question, c.finding, c.status] for c in checks], 3)


def checks_summary(checks: Sequence[Check]) -> str:
    """All checks in one sentence."""
    asked = {check.question for check in checks}
    wrong = list(dict.fromkeys(check.question for check in checks if check.status != "ok"))
    if not wrong:
        return f"All {len(asked)} checks are as they should be."
    return f"{len(wrong)} of {len(asked)} checks want a look: {'; '.join(wrong)}."
