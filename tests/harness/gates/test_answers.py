"""Frozen answers: what counts as a changed answer, and what as a near tie of another instruction set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.florence2.decoding import search
from harness.gates import answers
from harness.gates.answers import MARGIN, Way
from harness.gates.verdicts import Verdict

FROZEN = Path(__file__).parents[3] / "baselines/frozen/answers.jsonl"
MODEL = "florence2-nano-ft"


@pytest.fixture
def one_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Way, Callable[[list[Any]], None]], Verdict]:
    """The verdict on one way of asking, after a change to the lines of a copy of the file."""

    def judged(way: Way, change: Callable[[list[Any]], None] = lambda lines: None) -> Verdict:
        monkeypatch.setattr(answers, "WAYS", (way,))
        lines = [json.loads(line) for line in FROZEN.read_text().splitlines()]
        change(lines)
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return answers.judged(path, MODEL)[0]

    return judged


def first(lines: list[Any], way: str) -> dict[str, Any]:
    """The first frozen answer of a way of asking."""
    found: dict[str, Any] = next(line for line in lines if line.get("way") == way)
    return found


def another_token(way: str) -> Callable[[list[Any]], None]:
    """The second token of the first answer is the padding token."""

    def change(lines: list[Any]) -> None:
        first(lines, way)["tokens"][0][1] = 1

    return change


def test_every_kind_of_question_is_frozen_in_every_way() -> None:
    from harness.florence2.prompts import FORMS

    head, *lines = [json.loads(line) for line in FROZEN.read_text().splitlines()]
    asked: dict[str, set[str]] = {}
    for line in lines:
        asked.setdefault(line["way"], set()).add(line["question"].split()[0])
    assert asked == {way.name: set(FORMS) for way in answers.WAYS}
    assert head["instruction set"] in ("AVX512", "AVX2", "DEFAULT")


def test_float32_token_that_differs_is_named_with_what_to_do(one_way: Any) -> None:
    way = answers.WAYS[1]
    assert one_way(way).state == "kept"
    found = one_way(way, another_token(way.name))
    assert found.state == "broken"
    assert ": token 1 is " in found.came and "was '<pad>'" in found.came
    assert "raise ANSWERS_VERSION" in found.chance


def test_same_tokens_parsed_otherwise_are_a_changed_answer(one_way: Any) -> None:
    way = answers.WAYS[1]

    def change(lines: list[Any]) -> None:
        first(lines, way.name)["value"] = None

    found = one_way(way, change)
    assert found.state == "broken" and "the same tokens are parsed into" in found.came


def test_changed_search_is_found(one_way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ban_repeats", lambda *_: None)
    assert one_way(answers.WAYS[1]).state == "broken"


@pytest.mark.parametrize(("gap", "state"), [(MARGIN, "kept"), (MARGIN + 0.01, "broken")])
def test_near_tie_in_int8_is_kept_and_a_clear_difference_is_not(
    one_way: Any, monkeypatch: pytest.MonkeyPatch, gap: float, state: str
) -> None:
    way = Way("int8", 1)
    monkeypatch.setattr(answers, "_gap", lambda *_: gap)
    found = one_way(way, another_token(way.name))
    assert found.state == state
    assert ("with a near tie" in found.came) == (state == "kept")


def test_gap_is_that_of_the_two_candidates_after_the_same_tokens(one_way: Any) -> None:
    """Padding is never a near candidate: the true difference is large, and said."""
    way = Way("bfloat16", 1)
    found = one_way(way, another_token(way.name))
    assert found.state == "broken" and f"more than {MARGIN}" in found.came


def test_another_version_or_question_or_a_torn_file_asks_to_freeze_again(one_way: Any, tmp_path: Path) -> None:
    way = answers.WAYS[1]

    def older(lines: list[Any]) -> None:
        lines[0]["answers version"] = 0

    def fewer(lines: list[Any]) -> None:
        lines.remove(first(lines, way.name))

    def more(lines: list[Any]) -> None:
        lines.append({**first(lines, way.name), "question": "refer nothing.jpg a cup"})

    for change, said in (
        (older, "frozen is 0"), (fewer, "is not among them"), (more, "questions are not asked any more"),
    ):  # fmt: skip
        found = one_way(way, change)
        assert (found.state, said in found.came, found.more) == ("broken", True, "gate --freeze"), found
    (tmp_path / "torn.jsonl").write_text("{")
    assert all("holds no frozen answers" in one.came for one in answers.judged(tmp_path / "torn.jsonl", MODEL))


@pytest.mark.parametrize(("old", "new", "place"), [
    ([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([5], [6], 0),
])  # fmt: skip
def test_first_difference(old: list[int], new: list[int], place: int) -> None:
    assert answers._first_difference(old, new) == place
