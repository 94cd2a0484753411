"""Settings that may differ between two runs, and settings that a promise must allow by name."""

from __future__ import annotations

from typing import Any

import pytest

from harness.comparison import Side
from harness.core import Question, Run, RunSpec, Sample
from harness.errors import DataError
from harness.gates.comparable import differences, refuse_unlike

SETTINGS = {
    "weights sha256": "a", "precision": "float32", "decoding": "beams=3", "input": "128x128", "device": "cpu",
    "threads": 2, "batch size": 32, "prompts": {"refer": "grounding", "caption": "brief"},
}  # fmt: skip


def side(samples: int = 3, entry: str = "florence2-nano", **changes: Any) -> Side:
    spec = RunSpec(data="d", data_hash="h", task="refcoco", version=2, split="val", model="mine", fingerprint="f")
    provenance = {"entry": entry, "model": {**SETTINGS, **changes}}
    run = Run(schema=2, id="0", spec=spec, status="complete", headline="R", provenance=provenance)
    names = [f"{number}.jpg" for number in range(samples)]
    return Side(run, [Sample(name, Question(name, None, "refer", text="a"), None, name) for name in names], {})


@pytest.mark.parametrize("changes", [
    {"weights sha256": "b"}, {"parameters": 5}, {"device": "cuda"}, {"threads": 1}, {"batch size": 1},
    {"prompts": {"refer": "grounding", "caption": "detailed"}},  # of a question kind that no sample has
])  # fmt: skip
def test_settings_that_change_no_answer_are_no_difference(changes: dict[str, Any]) -> None:
    assert differences(side(), side(**changes)) == {}


@pytest.mark.parametrize(("name", "other"), [
    ("precision", side(precision="int8")),
    ("decoding", side(decoding="beams=3 max_new_tokens=20")),
    ("resolution", side(input="64x64")),
    ("prompts", side(prompts={"refer": "open"})),
    ("samples", side(samples=1)),
    ("model", side(entry="kosmos2")),
    ("other settings", side(quantisation="4 bits")),
])  # fmt: skip
def test_other_setting_is_refused_unless_allowed_by_name(name: str, other: Side) -> None:
    assert list(differences(side(), other)) == [name]
    with pytest.raises(DataError, match=f"{name}: .* versus .*differs = .*{name}"):
        refuse_unlike(side(), other, ())
    refuse_unlike(side(), other, (name,))


def test_two_differences_with_one_allowed_are_refused_for_the_other() -> None:
    other = side(precision="int8", decoding="beams=1")
    with pytest.raises(DataError, match="decoding: beams=3 versus beams=1") as error:
        refuse_unlike(side(), other, ("precision",))
    assert "float32" not in str(error.value)
