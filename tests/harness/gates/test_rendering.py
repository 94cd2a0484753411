"""What CI is told."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from harness.gates import rendering
from harness.gates.verdicts import Verdict


def test_the_files_of_a_gate_hold_nothing_that_is_markup() -> None:
    found = [
        Verdict("a <b>|x", "broken", "p & q", "came\n::error::planted", "no\x00ise", "more"),
        Verdict("b", "undecided", "p", "c", passes=True),
        Verdict("c", "kept", "p", "c"),
    ]
    suite = ElementTree.fromstring(rendering.junit(found))
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert [case.get("name") for case in suite] == ["a <b>|x", "b", "c"]
    lines = rendering.github(found).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]  # none planted
    assert "&lt;b&gt;\\|x" in rendering.summary(found)
    assert json.loads(json.dumps(rendering.as_json(found)))[0]["red"]
