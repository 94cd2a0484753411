"""Verdicts of a gate: a table for people, and what CI systems read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from harness.gates.verdicts import Verdict
from harness.report.text import cell, table

SIGNS = {"kept": "ok", "broken": "BROKEN", "undecided": "CANNOT TELL"}


def describe(verdicts: Sequence[Verdict]) -> str:
    """A row a promise, then a line for each that is red."""
    rows = [(SIGNS[one.state], one.name, one.promised, one.came) for one in verdicts]
    red = [one for one in verdicts if one.red]
    lines = [table(("", "promise", "promised", "came"), [tuple(map(_plain, row)) for row in rows]), ""]
    lines += [_plain(one.line()) for one in red]
    hold = f"all of {len(verdicts)} promises hold"
    lines.append(f"{len(red)} of {len(verdicts)} promises do not hold" if red else hold)
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """For machines."""
    return [{**asdict(one), "red": one.red} for one in verdicts]


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """JUnit's XML: a test case a promise; what cannot be told is an error where it counts, else skipped."""
    count = {state: sum(one.state == state and one.red for one in verdicts) for state in SIGNS}
    suite = ElementTree.Element(
        "testsuite", name="gate", tests=str(len(verdicts)), failures=str(count["broken"]),
        errors=str(count["undecided"]), skipped=str(sum(one.state == "undecided" and one.passes for one in verdicts)),
    )  # fmt: skip
    for one in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="gate", name=_xml(one.name))
        if one.state != "kept":
            kind = "failure" if one.state == "broken" else "error" if one.red else "skipped"
            ElementTree.SubElement(case, kind, message=_xml(one.line()))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def github(verdicts: Sequence[Verdict]) -> str:
    """Workflow commands: an error for each that is red, a warning for what cannot be told and passes."""
    told = []
    for one in verdicts:
        if one.state != "kept":
            text = one.line().replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            title = _plain(one.name).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
            told.append(f"::{'error' if one.red else 'warning'} title=gate {title}::{text}")
    return "\n".join(told)


def summary(verdicts: Sequence[Verdict]) -> str:
    """A job's summary, in Markdown."""
    rows = [f"| {SIGNS[one.state]} | {cell(one.name)} | {cell(one.promised)} | {cell(one.came)} |" for one in verdicts]
    red = [f"- {cell(one.line())}" for one in verdicts if one.red]
    head = ["## Gate", "", "| | promise | promised | came |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *red, ""])


def _plain(text: str) -> str:
    return " ".join(text.split())


def _xml(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(letter for letter in text if letter in "\t\n\r" or (letter >= " " and letter not in "￾￿"))
