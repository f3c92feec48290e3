"""Checks say the same on the terminal and on the page."""

from __future__ import annotations

from mouse_facelift.evaluation.checks import Check, check_lines, check_table, checks_summary

CHECKS = [Check.of("floor", "at z = 2", True), Check.of("rays", "miss 40 mm", False), Check("sync", "no", "unknown")]


def test_lines_and_table_hold_every_check():
    lines, table = check_lines(CHECKS), check_table(CHECKS)
    for check, line, row in zip(CHECKS, lines, table.rows, strict=True):
        assert check.question in line and check.finding in line and check.status.upper() in line
        assert list(row) == [check.question, check.finding, check.status]


def test_the_summary_names_what_wants_a_look():
    assert checks_summary(CHECKS) == "2 of 3 checks want a look: rays; sync."
    assert checks_summary(CHECKS[:1]) == "All 1 checks are as they should be."


def test_many_findings_to_one_question_are_cut_short_on_the_terminal_only():
    many = [Check.of("verdict", f"reason {i}", False) for i in range(9)] + CHECKS
    lines = check_lines(many, most=4)
    assert len(lines) == 4 + len(CHECKS) + 1 and "and 5 more findings" in lines[-1]
    assert len(check_table(many).rows) == len(many)
    assert checks_summary(many) == "3 of 4 checks want a look: verdict; rays; sync."
