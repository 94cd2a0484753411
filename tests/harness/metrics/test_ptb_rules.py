"""The rules of the tokeniser: their patterns, and their letters and digits."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import cast

import pytest

from harness.metrics import ptb_rules
from harness.metrics.ptb_rules import Rule, digits, filled, letters, parts, rules

PIECES: list[str] = json.loads((Path(__file__).parent / "data/pieces.json").read_text(encoding="utf-8"))["awkward"]
TEXTS = [f"{one} {other}" for one, other in zip(PIECES, PIECES[1:] + PIECES[:1], strict=True)]


def longest(pattern: re.Pattern[str], text: str, place: int) -> int:
    """The end of the longest match at a position, by trying all ends; -1 where there is no match."""
    return max((end for end in range(place, len(text) + 1) if pattern.fullmatch(text, place, end)), default=-1)


@pytest.mark.parametrize("rule", rules(), ids=range(len(rules())))
def test_pattern_finds_its_longest_match_first(rule: Rule) -> None:
    """Python takes the first alternative that matches, the lexer the longest: they must be the same."""
    pattern = cast("re.Pattern[str]", rule.match.__self__)  # type: ignore[attr-defined]
    for text in TEXTS:
        for place in range(len(text)):
            match = rule.match(text, place)
            assert (match.end() if match else -1) == longest(pattern, text, place), (text, place)


@pytest.mark.parametrize(
    "rule", [rule for rule in rules() if rule.run], ids=lambda rule: rule.match.__self__.pattern[:20]
)
def test_rule_that_fails_at_the_start_of_its_run_fails_throughout(rule: Rule) -> None:
    """The lexer relies on this to skip the rule within the run."""
    assert rule.run is not None
    starts = [
        "a,",
        "a+",
        "+a.",
        "1.",
        "www.1",
        "a@.",
        "<!a",
        "A. <!a",
        "x.[^x=",
        "a-",
        "a.zip",
        "b.com/",
        ">",
        "<>]",
        " ",
    ]
    draw = random.Random(0)
    texts = [*TEXTS, *("".join(draw.choices(starts, k=draw.randint(1, 6))) for _ in range(1000))]
    failed = 0
    for text in texts:
        for place in range(len(text)):
            run = rule.run(text, place)
            if run and not rule.match(text, place):
                failed += 1
                assert not any(rule.match(text, later) for later in range(place, run.end())), (text, place)
    assert failed > 100


def test_filled_replaces_parts_within_parts() -> None:
    """`clitic` contains `apostrophe`."""
    assert filled("a«clitic»b") == "a" + parts()["clitic"].replace("«apostrophe»", parts()["apostrophe"]) + "b"
    assert not any("«" in filled(pattern) for pattern in parts().values())


def test_letters_and_digits_are_those_of_unicode_6_1() -> None:
    assert {ord(character) for character in "aZéßжあ漢ª"} <= letters()
    assert not {ord(character) for character in "0_-' "} & letters()
    assert 0x08A0 in letters() and 0x08A1 not in letters()  # Unicode 6.1 and 7.0
    assert 0x1885 in letters() and unicodedata.category("\u1885") == "Mn"  # a letter until Unicode 9.0
    assert {ord(character) for character in "09٣"} <= digits()
    assert 0xA9D0 in digits() and 0xA9F0 not in digits()  # Unicode 5.2 and 7.0


@pytest.mark.parametrize(
    ("token", "written"),
    [
        ("(", "-LRB-"), ("]", "-RSB-"), ("3 1/4", "3\u00a01/4"), ("½", "1/2"), ("€", "$"), ("—", "--"), ("...", "..."),
        ("co\u00adop", "coop"), ("“", "``"), ("&amp;", "&"), ("&lt;", "<"), ("---", "--"), ("-----", "-----"),
    ],
)  # fmt: skip
def test_token_is_written_as_by_the_lexer(token: str, written: str) -> None:
    matching = [rule for rule in rules() if (match := rule.match(f"{token} ", 0)) and match.end(1) == len(token)]
    assert matching[0].write(token) == written


def test_rules_are_compiled_once() -> None:
    assert rules() is rules()
    assert len(rules()) == len(ptb_rules.RULES)
