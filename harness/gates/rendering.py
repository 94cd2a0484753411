"""Verdicts as text: a table for people, and JSON, JUnit XML, annotations and a summary for CI systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from harness.gates.verdicts import Verdict
from harness.report.text import table
from harness.sinks import cell, command, line, xml

SIGNS = {"kept": "ok", "broken": "BROKEN", "undecided": "UNDECIDED"}


def describe(verdicts: Sequence[Verdict]) -> str:
    """A table with a row for each verdict, then a line for each that fails the gate."""
    rows = [(SIGNS[verdict.state], verdict.name, verdict.promised, verdict.measured) for verdict in verdicts]
    red = [verdict for verdict in verdicts if verdict.red]
    lines = [table(("", "promise", "promised", "measured"), rows), ""]
    lines += [line(verdict.line()) for verdict in red]
    hold = f"all of {len(verdicts)} promises hold"
    lines.append(f"{len(red)} of {len(verdicts)} promises do not hold" if red else hold)
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as JSON objects: the fields of Verdict, and `red`."""
    return [{**asdict(verdict), "red": verdict.red} for verdict in verdicts]


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """The verdicts as JUnit XML: broken is a failure; undecided is an error, or skipped where it passes."""
    outcomes = [_outcome(verdict) for verdict in verdicts]
    suite = ElementTree.Element(
        "testsuite", name="gate", tests=str(len(verdicts)), failures=str(outcomes.count("failure")),
        errors=str(outcomes.count("error")), skipped=str(outcomes.count("skipped")),
    )  # fmt: skip
    for verdict, outcome in zip(verdicts, outcomes, strict=True):
        case = ElementTree.SubElement(suite, "testcase", classname="gate", name=xml(verdict.name))
        if outcome:
            ElementTree.SubElement(case, outcome, message=xml(verdict.line()))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _outcome(verdict: Verdict) -> str:
    """The JUnit element of a verdict; "" where the promise is kept."""
    if verdict.state == "kept":
        return ""
    if verdict.state == "broken":
        return "failure"
    return "error" if verdict.red else "skipped"


def github(verdicts: Sequence[Verdict]) -> str:
    """Workflow commands of GitHub Actions: an error where a verdict fails, a warning where undecided passes."""
    commands = []
    for verdict in verdicts:
        if verdict.state != "kept":
            state, title = "error" if verdict.red else "warning", command(verdict.name, name=True)
            commands.append(f"::{state} title=gate {title}::{command(verdict.line())}")
    return "\n".join(commands)


def summary(verdicts: Sequence[Verdict]) -> str:
    """The summary of a job in Markdown: the table, then the verdicts that fail."""
    rows = [
        f"| {SIGNS[verdict.state]} | {cell(verdict.name)} | {cell(verdict.promised)} | {cell(verdict.measured)} |"
        for verdict in verdicts
    ]
    red = [f"- {cell(verdict.line())}" for verdict in verdicts if verdict.red]
    head = ["## Gate", "", "| | promise | promised | measured |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *red, ""])
