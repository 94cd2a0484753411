"""Prints the counts of the long proofs at the end."""

from __future__ import annotations

import pytest

from tests.hostile.nodes import nodes as nodes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The properties "inputs" and "kills" of all tests, one line each."""
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    lines = [text for report in reports for name, text in report.user_properties if name in ("inputs", "kills")]
    if lines:
        terminalreporter.section("hostile inputs and kills")
        for line in sorted(lines):
            terminalreporter.write_line(line)
