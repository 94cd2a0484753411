"""Frozen answers: which differences are changed answers, and which are near ties of another instruction set."""

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
def judged_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Way, Callable[[list[Any]], None]], Verdict]:
    """The verdict on one way of querying, after a change to the lines of a copy of the file."""

    def judged(way: Way, change: Callable[[list[Any]], None] = lambda lines: None) -> Verdict:
        monkeypatch.setattr(answers, "WAYS", (way,))
        lines = [json.loads(line) for line in FROZEN.read_text().splitlines()]
        change(lines)
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return answers.judged(path, MODEL)[0]

    return judged


def first(lines: list[Any], way: str) -> dict[str, Any]:
    """The first frozen answer of a way of querying."""
    answer: dict[str, Any] = next(line for line in lines if line.get("way") == way)
    return answer


def with_padding_token(way: str) -> Callable[[list[Any]], None]:
    """A change: the second token of the first answer becomes the padding token, id 1."""

    def change(lines: list[Any]) -> None:
        first(lines, way)["tokens"][0][1] = 1

    return change


def test_frozen_file_has_every_question_kind_in_every_way() -> None:
    from harness.florence2.prompts import FORMS

    head, *lines = [json.loads(line) for line in FROZEN.read_text().splitlines()]
    kinds: dict[str, set[str]] = {}
    for line in lines:
        kinds.setdefault(line["way"], set()).add(line["question"].split()[0])
    assert kinds == {way.name: set(FORMS) for way in answers.WAYS}
    assert head["instruction set"] in ("AVX512", "AVX2", "DEFAULT")


def test_float32_answer_with_another_token_is_broken_and_names_the_token(judged_way: Any) -> None:
    way = answers.WAYS[1]
    assert judged_way(way).state == "kept"
    verdict = judged_way(way, with_padding_token(way.name))
    assert verdict.state == "broken"
    assert ": token 1 is " in verdict.measured and "was '<pad>'" in verdict.measured
    assert "raise ANSWERS_VERSION" in verdict.reason


def test_equal_tokens_with_another_value_are_broken(judged_way: Any) -> None:
    way = answers.WAYS[1]

    def change(lines: list[Any]) -> None:
        first(lines, way.name)["value"] = None

    verdict = judged_way(way, change)
    assert verdict.state == "broken" and "the same tokens are parsed into" in verdict.measured


def test_search_without_ban_of_repeats_is_broken(judged_way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ban_repeats", lambda *_: None)
    assert judged_way(answers.WAYS[1]).state == "broken"


@pytest.mark.parametrize(("gap", "state"), [(MARGIN, "kept"), (MARGIN + 0.01, "broken")])
def test_int8_token_is_kept_up_to_the_margin_and_broken_beyond(
    judged_way: Any, monkeypatch: pytest.MonkeyPatch, gap: float, state: str
) -> None:
    way = Way("int8", 1)
    monkeypatch.setattr(answers, "_gap", lambda *_: gap)
    verdict = judged_way(way, with_padding_token(way.name))
    assert verdict.state == state
    assert ("with a near tie" in verdict.measured) == (state == "kept")


def test_bfloat16_padding_token_is_beyond_the_margin(judged_way: Any) -> None:
    """Padding is never a likely token, so the computed difference of log-probabilities is large."""
    way = Way("bfloat16", 1)
    verdict = judged_way(way, with_padding_token(way.name))
    assert verdict.state == "broken" and f"more than {MARGIN}" in verdict.measured


def test_other_version_weights_or_question_or_torn_file_asks_for_a_freeze(judged_way: Any, tmp_path: Path) -> None:
    way = answers.WAYS[1]

    def older(lines: list[Any]) -> None:
        lines[0]["answers version"] = 0

    def retrained(lines: list[Any]) -> None:
        lines[0]["weights"] = "0" * 64

    def fewer(lines: list[Any]) -> None:
        lines.remove(first(lines, way.name))

    def more(lines: list[Any]) -> None:
        lines.append({**first(lines, way.name), "question": "refer nothing.jpg a cup"})

    for change, message in (
        (older, "frozen is 0"), (retrained, "frozen is 000000000000"), (fewer, "is not frozen"),
        (more, "frozen questions are not queried any more"),
    ):  # fmt: skip
        verdict = judged_way(way, change)
        assert (verdict.state, message in verdict.measured, verdict.more) == ("broken", True, "gate --freeze"), verdict
        assert not verdict.reason  # set only where an answer differs: `freeze` goes by it
    (tmp_path / "torn.jsonl").write_text("{")
    verdicts = answers.judged(tmp_path / "torn.jsonl", MODEL)
    assert all("holds no frozen answers" in verdict.measured for verdict in verdicts)


@pytest.mark.parametrize(("old", "new", "place"), [
    ([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([5], [6], 0),
])  # fmt: skip
def test_first_difference_is_the_place_or_the_shorter_length(old: list[int], new: list[int], place: int) -> None:
    assert answers._first_difference(old, new) == place
