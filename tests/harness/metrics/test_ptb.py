"""The tokeniser against Stanford's: stored tokens, and the jar itself where there is Java.

python -m tests.harness.metrics.test_ptb        renews the stored tokens; needs Java
"""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.metrics import official_captions, ptb
from harness.metrics.java import java

DATA = Path(__file__).parent / "data"
STORED = DATA / "ptb.jsonl"  # lines of [caption, tokens], tokenised one after the other
needs_java = pytest.mark.skipif(java() is None, reason="there is no Java")

# Pieces of captions: plain words, and pieces with rules of their own.
PIECES: dict[str, list[str]] = json.loads((DATA / "pieces.json").read_text(encoding="utf-8"))
PLAIN, AWKWARD = PIECES["plain"], PIECES["awkward"]
# Capital letters of Unicode 14 and later: Python or Java may not know their lower case.
RECENT = {0x1C89, 0x2C2F, 0xA7C0, 0xA7CB, 0xA7CC, 0xA7D0, 0xA7D6, 0xA7D8, 0xA7DA, 0xA7DC}
ENDS = ["", "", ".", ".", ". ", " .", "!", "?", "...", '"', "'", ")", ","]


def caption(draw: random.Random) -> str:
    """A random caption of plain and awkward pieces, some of them without a space between them."""
    pieces = []
    for _ in range(draw.randint(1, 9)):
        piece = draw.choice(PLAIN if draw.random() < 0.5 else AWKWARD)
        change = draw.random()
        if change < 0.05:
            piece = piece.upper()
        elif change < 0.1:
            piece += draw.choice(AWKWARD)
        elif change < 0.2:
            piece += draw.choice(".,'\"!?;:-)]}”’>`%")
        elif change < 0.25:
            piece = draw.choice("([{\"'“‘<`-#@$") + piece
        pieces.append(piece)
    return ptb.clean(draw.choice([" "] * 12 + ["", "  ", "\u00a0", ", "]).join(pieces) + draw.choice(ENDS))


def stored() -> list[tuple[str, str]]:
    return [tuple(json.loads(line)) for line in STORED.read_text(encoding="utf-8").splitlines()]


def differences(captions: Sequence[str], ours: Sequence[list[str]], expected: Sequence[list[str]]) -> list[object]:
    return [trio for trio in zip(captions, ours, expected, strict=True) if trio[1] != trio[2]]


def test_tokens_equal_the_stored_ones() -> None:
    captions, lines = zip(*stored(), strict=True)
    expected = [line.split(" ") if line else [] for line in lines]
    assert differences(captions, list(ptb.tokens(captions)), expected) == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        (" \t ", ""),
        ("A dog.", "a dog"),
        ("A man's dogs' isn't I'll see", "a man 's dogs is n't i 'll see"),  # clitics are tokens, a single ' is dropped
        ("cannot gonna 'tis", "can not gon na 't is"),
        ('"Stop," he said (twice).', "stop he said -lrb- twice -rrb-"),  # the list of punctuation has -LRB- only
        ("[x] {y}", "-lsb- x -rsb- -lcb- y -rcb-"),
        ("black-and-white t-shirt", "black-and-white t-shirt"),
        ("3 1/4 cups", "3\u00a01/4 cups"),
        ("£5, €5, 5¢", "# 5 $ 5 5 cents"),
        ("Etc. inc.", "etc. inc."),
        ("a pizza 🍕 here", "a pizza here"),
        ("AT&amp;T at x@y.com", "at&t at x@y.com"),
    ],
)
def test_tokens_follow_the_treebank(text: str, tokens: str) -> None:
    assert list(ptb.tokens([text])) == [tokens.split(" " if tokens else None)]


@pytest.mark.parametrize("separator", [*"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\r\n"])
def test_line_break_within_a_caption_is_a_space(separator: str) -> None:
    assert ("a" + separator + "b").splitlines() == ["a", "b"]
    assert list(ptb.tokens([f"a{separator}b", "c"])) == [["a", "b"], ["c"]]


def test_last_tokens_depend_on_the_next_caption() -> None:
    """A full stop after a single letter ends a sentence before some words; "no." is "number" before a digit."""
    assert list(ptb.tokens(["vitamin C.", "The no.", "3"])) == [["vitamin", "c"], ["the", "no."], ["3"]]
    assert list(ptb.tokens(["vitamin C."])) == [["vitamin", "c."]]
    assert list(ptb.tokens(["The no."])) == [["the", "no"]]


pieces = st.one_of(
    st.sampled_from(PLAIN),
    st.sampled_from(AWKWARD),
    st.text("abnstDSTI'\",;:!?-. ", max_size=6),
    st.text("a.1/é<&@(\u00ad’", max_size=6),
)
texts = st.lists(pieces, max_size=8).map(" ".join).map(ptb.clean)


@given(texts, st.none() | texts)
@settings(max_examples=500, deadline=None)
@example(":p  ", None)
@example("no.", "3 a")
@example("St C.", "A a")
@example("he'll ", None)
@example("can NOT.", "")
def test_cached_pieces_give_the_tokens_of_the_full_rules(text: str, following: str | None) -> None:
    both = [text] if following is None else [text, following]
    assert next(ptb.tokens(both)) == ptb.lexed(text, following)


def lexing_seconds(text: str) -> float:
    """The processor time of lexing a text, by the full rules."""
    start = time.process_time()
    ptb.lexed(text)
    return time.process_time() - start


# Each unit begins a rule that reads to the end of the run and then fails.
@pytest.mark.parametrize("unit", ["a,", "+.", "1.", "www.1", "a@.", "<!a", "A. <!a", "x.[^x="])
def test_lexing_time_of_a_run_without_a_token_end_is_linear(unit: str) -> None:
    """Ten times the text takes about ten times as long; with a quadratic rule, more than twenty times."""
    unit += "x" * 60
    shorter = min(lexing_seconds(unit * 150) for _ in range(2))
    assert lexing_seconds(unit * 1500) < 20 * shorter


@pytest.mark.parametrize("caption", [f"<a{' ' * 100_000}", f"<!a{' ' * 100_000}", f"a{' ' * 100_000}1"])
def test_long_run_of_spaces_is_read_in_linear_time(caption: str) -> None:
    """A quadratic rule takes more than ten seconds."""
    start = time.process_time()
    list(ptb.tokens([caption]))
    assert time.process_time() - start < 2


def test_many_empty_captions_take_little_memory() -> None:
    """Each caption with all blank ones after it would be 800 million characters."""
    tracemalloc.start()
    try:
        assert list(ptb.tokens(["x 1", *[""] * 40_000, "3 y"]))[::40_001] == [["x", "1"], ["3", "y"]]
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_last_tokens_depend_on_the_caption_after_blank_ones() -> None:
    assert next(ptb.tokens(["vitamin C.", "", " ", "The x."])) == ["vitamin", "c"]


@needs_java
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None)
def test_tokens_of_random_captions_equal_the_jar(seed: int) -> None:
    draw = random.Random(seed)
    captions = [caption(draw) for _ in range(1500)]
    assert differences(captions, list(ptb.tokens(captions)), official_captions.tokens(captions)) == []


@needs_java
@pytest.mark.slow
def test_tokens_of_every_character_equal_the_jar() -> None:
    """Each character of the Basic Multilingual Plane, alone, within a word, and between digits."""
    points = [point for point in range(0x10000) if not 0xD800 <= point < 0xE000]
    captions = [ptb.clean(f"{chr(point)} a{chr(point)}b 1{chr(point)}2") for point in points]
    kept = [text for point, text in zip(points, captions, strict=True) if point not in RECENT | {ord("Σ")}]
    assert differences(kept, list(ptb.tokens(kept)), official_captions.tokens(kept)) == []


def renew() -> None:
    """Writes the stored tokens again, by the jar."""
    draw = random.Random(0)
    captions = [*AWKWARD, *(f"a {piece} b" for piece in AWKWARD), *(caption(draw) for _ in range(1200))]
    official = official_captions.tokens(captions)
    lines = (json.dumps([text, " ".join(tokens)]) for text, tokens in zip(captions, official, strict=True))
    STORED.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew()
