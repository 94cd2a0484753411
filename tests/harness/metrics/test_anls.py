"""ANLS against a slow recursive definition, and by hand."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.anls import anls, levenshtein

TEXTS = st.text(alphabet="abA .0ßİ\t\u00a0", max_size=7)


def slow_distance(one: str, other: str) -> int:
    """The edit distance by its recursive definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        kept = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(kept, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(one), len(other))


def slow_anls(answer: str, truths: list[str]) -> float:
    """The evaluator's rules one by one: distances of normalised texts, lengths of the texts as they are."""
    shares = []
    for truth in truths:
        distance = slow_distance(" ".join(truth.strip().lower().split()), " ".join(answer.strip().lower().split()))
        length = max(len(truth.upper()), len(answer.upper()))
        shares.append(0.0 if length == 0 else float(distance) / float(length))
    best = 1 - min(shares)
    return 0 if best < 0.5 else best


@pytest.mark.parametrize(("answer", "truths", "expected"), [
    ("0.28", ["0.28"], 1.0),
    ("Denver  broncos\n", ["Denver Broncos"], 1.0),  # case and white space
    ("12/15/89", ["12/15/88"], 1 - 1 / 8),
    ("12/15/89", ["nothing", "12/15/88"], 1 - 1 / 8),  # the nearest truth
    ("abcd", ["abxy"], 0.5),  # 2 of 4: not under the threshold
    ("abcde", ["abxyz"], 0.0),  # 3 of 5
    ("", ["x"], 0.0),
    ("", [""], 1.0),  # an empty truth, as the evaluator has it
    ("ab    ", ["xb"], 1 - 1 / 6),  # spare white space counts in the length
    ("aß", ["as"], 1 - 1 / 3),  # "aß".upper() has three letters
])  # fmt: skip
def test_anls_by_hand(answer: str, truths: list[str], expected: float) -> None:
    assert anls(answer, truths) == expected


@given(answer=TEXTS, truths=st.lists(TEXTS, min_size=1, max_size=3))
def test_anls_equals_the_slow_rules(answer: str, truths: list[str]) -> None:
    assert anls(answer, truths) == slow_anls(answer, truths)


@given(one=TEXTS, other=TEXTS)
def test_levenshtein_equals_the_recursive_definition(one: str, other: str) -> None:
    assert levenshtein(one, other) == levenshtein(other, one) == slow_distance(one, other)


def test_threshold_is_an_argument() -> None:
    assert anls("abcde", ["abxyz"], threshold=0.4) == 1 - 3 / 5


def test_no_truths_raise() -> None:
    with pytest.raises(ValueError, match="without accepted answers"):
        anls("a", [])
