"""The output for CI systems: JUnit XML, annotations, summary and JSON."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from harness.gates import rendering
from harness.gates.verdicts import Verdict


def test_markup_and_control_characters_in_verdicts_are_escaped() -> None:
    verdicts = [
        Verdict("a <b>|x", "broken", "p & q", "measured\n::error::planted", "no\x00ise", "more"),
        Verdict("b", "undecided", "p", "c", passes=True),
        Verdict("c", "kept", "p", "c"),
    ]
    suite = ElementTree.fromstring(rendering.junit(verdicts))
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert [case.get("name") for case in suite] == ["a <b>|x", "b", "c"]
    lines = rendering.github(verdicts).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "::error",
        "::warning",
    ]  # the planted command is text of the first
    assert "&lt;b&gt;\\|x" in rendering.summary(verdicts)
    assert json.loads(json.dumps(rendering.as_json(verdicts)))[0]["red"]
