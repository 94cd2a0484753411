"""ICDAR 2015's rules by hand, and against plain loops written from them, with areas in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Quad, Quads
from harness.metrics.spotting import Spotted, end_to_end, is_spotted, same_text, spotted_text, word_spotting
from tests.harness.geometry.test_quads import slow_intersection


def rectangle(left: float, top: float, width: float, height: float) -> Quad:
    return ((left, top), (left + width, top), (left + width, top + height), (left, top + height))


HERE, THERE = rectangle(0, 0, 40, 10), rectangle(100, 0, 40, 10)


def words(*pairs: tuple[Quad, str]) -> Quads:
    return Quads(tuple(quad for quad, _ in pairs), tuple(text for _, text in pairs))


@pytest.mark.parametrize(("truth", "found", "expected"), [
    (words((HERE, "Exit")), words((HERE, "EXIT")), Spotted(1, 1, 1, 1)),  # case does not matter
    (words((HERE, "Exit")), words((HERE, "Exits")), Spotted(1, 1, 1, 0)),
    (words((HERE, "Exit")), words((rectangle(0, 0, 21, 10), "exit")), Spotted(1, 1, 1, 1)),  # IoU 21/40
    (words((HERE, "Exit")), words((rectangle(0, 0, 20, 10), "exit")), Spotted(1, 1, 0, 0)),  # 1/2 is not above 1/2
    (words((HERE, "Exit")), words((HERE, "exit"), (HERE, "exit")), Spotted(1, 2, 1, 1)),  # one to one
    # the first detection that matches, not the better one
    (words((HERE, "Exit")), words((rectangle(0, 0, 30, 10), "no"), (HERE, "exit")), Spotted(1, 2, 1, 0)),
    # the first true word takes it, not the one with the higher IoU
    (words((rectangle(0, 0, 30, 10), "no"), (HERE, "Exit")), words((HERE, "exit")), Spotted(2, 1, 1, 0)),
    (words((HERE, "###")), words((HERE, "exit")), Spotted(0, 0, 0, 0)),  # dropped
    (words((HERE, "###")), words((rectangle(20, 0, 40, 10), "exit")), Spotted(0, 1, 0, 0)),  # half of it: kept
    (words((HERE, "###")), words((rectangle(1, 1, 5, 5), "e"), (THERE, "f")), Spotted(0, 1, 0, 0)),  # IoU is not asked
    (words((HERE, "###"), (HERE, "Exit")), words((HERE, "exit")), Spotted(1, 0, 0, 0)),  # dropped before it matches
    (words(), words((HERE, "exit")), Spotted(0, 1, 0, 0)),
    (words((HERE, "Exit")), words(), Spotted(1, 0, 0, 0)),
])  # fmt: skip
def test_end_to_end_by_hand(truth: Quads, found: Quads, expected: Spotted) -> None:
    assert end_to_end(truth, found) == expected


@pytest.mark.parametrize(("truth", "found", "same"), [
    ("Exit!", "exit!", True), ("Exit!", "exit", True), ("Exit", "exit!", False),  # only of the truth
    ("(Exit)", "exit)", True), ("(Exit)", "(exit", True), ("(Exit)", "exit", True),
    ("Exit!!", "exit", False), ("Exit!!", "exit!", True),  # one character at each end
    ("it's", "its", False), ("-Exit", "exit", False),  # a hyphen is no special character
    ("!", "", True), ("straße", "STRASSE", True),
])  # fmt: skip
def test_same_text_ignores_case_and_a_special_character_at_each_end_of_the_truth(
    truth: str, found: str, same: bool
) -> None:
    assert same_text(truth, found) is same


def test_true_word_without_a_text_raises() -> None:
    with pytest.raises(ValueError, match="without a text"):
        end_to_end(words((HERE, "")), words((HERE, "a")))


@pytest.mark.parametrize(("text", "bare", "spotted"), [
    ("Exit", "Exit", True), ("EXIT!", "EXIT", True), ("(Joe's", "Joe", True), ("Joe's", "Joe", True),
    ("-Exit-", "Exit", True), ("a-b", "a-b", True), ("ab", "ab", False), ("it's", "it", False), ("B12", "B12", False),
    ("one.two", "one two", False), ("Åland", "Åland", True), ("Άλφα", "Άλφα", True), ("x×y", "x×y", False),
    ("100%", "100%", False), ("Дом", "Дом", False),
])  # fmt: skip
def test_words_to_spot_are_single_words_of_three_letters(text: str, bare: str, spotted: bool) -> None:
    assert (spotted_text(text), is_spotted(text)) == (bare, spotted)


def test_word_spotting_drops_what_covers_short_words() -> None:
    truth = words((HERE, "ab"), (THERE, "Exit!"))
    assert word_spotting(truth, words((HERE, "ab"), (THERE, "exit"))) == Spotted(1, 1, 1, 1)
    assert word_spotting(truth, words((THERE, "exit!"))) == Spotted(1, 1, 1, 0)  # equal to the bare word only
    assert end_to_end(truth, words((HERE, "ab"), (THERE, "exit"))) == Spotted(2, 2, 2, 2)


# ---------------------------------------------------------------------------- plain loops


def slow_area(quad: Quad) -> Fraction:
    total = Fraction(0)
    for place in range(4):
        (x, y), (next_x, next_y) = quad[place], quad[(place + 1) % 4]
        total += Fraction(x) * Fraction(next_y) - Fraction(next_x) * Fraction(y)
    return abs(total) / 2


def slow_counts(truth: Quads, found: Quads) -> tuple[int, int, int, int]:
    """The evaluator's steps one by one: dropped detections, all IoUs, pairs in two loops, texts."""
    ignored = [place for place, text in enumerate(truth.labels) if text == "###"]
    dropped = []
    for place, quad in enumerate(found.quads):
        for other in ignored:
            whole = slow_area(quad)
            if whole and slow_intersection(quad, truth.quads[other]) / whole > Fraction(1, 2):
                dropped.append(place)
                break
    taken_true, taken, matched, right = set(), set(), 0, 0
    for number, quad in enumerate(truth.quads):
        for place, other_quad in enumerate(found.quads):
            both = slow_intersection(quad, other_quad)
            either = slow_area(quad) + slow_area(other_quad) - both
            share = both / either if either else Fraction(0)
            free = number not in taken_true and place not in taken
            if free and number not in ignored and place not in dropped and share > Fraction(1, 2):
                taken_true.add(number)
                taken.add(place)
                matched += 1
                want, text = truth.labels[number].upper(), found.labels[place].upper()
                special = "!?.:,*\"()·[]/'"
                accepted = {want}
                if want[0] in special:
                    accepted.add(want[1:])
                if want[-1] in special:
                    accepted.add(want[:-1])
                if want[0] in special and want[-1] in special:
                    accepted.add(want[1:-1])
                right += text in accepted
    return len(truth.quads) - len(ignored), len(found.quads) - len(dropped), matched, right


PLACES = st.integers(0, 6).map(float)
ANY = st.builds(rectangle, PLACES, PLACES, st.integers(1, 5), st.integers(1, 3)) | st.tuples(
    *[st.tuples(PLACES, PLACES)] * 4
)
TEXTS = st.sampled_from(["ab", "AB", "ab.", "(ab)", "###", "b", "."])
REGIONS = st.lists(st.tuples(ANY, TEXTS), max_size=4).map(lambda pairs: words(*pairs))


@given(truth=REGIONS, found=REGIONS)
def test_counts_equal_those_of_plain_loops(truth: Quads, found: Quads) -> None:
    """Places on a grid of 7 x 7, so that many shares are exactly 1/2."""
    counts = end_to_end(truth, found)
    assert (counts.words, counts.detections, counts.matched, counts.right) == slow_counts(truth, found)
