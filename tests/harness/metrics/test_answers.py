"""Accuracies of answers, against the official evaluators' steps in plain loops, and against sums by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.metrics import answers
from harness.metrics.answers import (
    textvqa_accuracy,
    vizwiz_accuracy,
    vqa_accuracies,
    vqa_accuracy,
)

Accuracy = Callable[[str, Sequence[str]], float]

# --- the official steps, in the order of the published code ---

PUNCTUATION = r"""; / [ ] " { } ( ) = + \ _ - > < @ ` , ? !"""
WORDS = "none zero one two three four five six seven eight nine ten"
DIGITS = "0 0 1 2 3 4 5 6 7 8 9 10"


def slow_punctuation(text: str) -> str:
    out = text
    for character in PUNCTUATION.split():
        next_to_space = re.search(re.escape(character) + " ", text) or re.search(" " + re.escape(character), text)
        if next_to_space or re.search(r"\d,\d", text):
            out = re.sub(re.escape(character), "", out)
        else:
            out = re.sub(re.escape(character), " ", out)
    # As published: `(?!<=\d)` was meant to be `(?<!\d)`, and the count of 32 was meant to be the flag re.UNICODE.
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", out, count=32)


def slow_words(text: str, contractions: dict[str, str]) -> str:
    out = []
    for word in text.lower().split():
        if word in WORDS.split():
            word = DIGITS.split()[WORDS.split().index(word)]
        if word not in ["a", "an", "the"]:
            out.append(word)
    for place, word in enumerate(out):
        if word in contractions:
            out[place] = contractions[word]
    return " ".join(out)


def slow_leave_one_out(answer: str, truths: Sequence[str]) -> float:
    total = 0.0
    for left_out in range(len(truths)):
        matches = 0
        for place, truth in enumerate(truths):
            if place != left_out and truth == answer:
                matches += 1
        total += min(1, matches / 3)
    return total / len(truths)


def slow_strip(text: str) -> str:
    return re.sub(r"[\n\t]", " ", text).strip()


def slow_vqa(answer: str, truths: Sequence[str]) -> float:
    answer, truths = slow_strip(answer), [slow_strip(truth) for truth in truths]
    if len(set(truths)) > 1:
        truths = [slow_words(slow_punctuation(truth), answers.CONTRACTIONS) for truth in truths]
        answer = slow_words(slow_punctuation(answer), answers.CONTRACTIONS)
    return slow_leave_one_out(answer, truths)


def slow_textvqa_text(text: str) -> str:
    text = re.sub("'s", " 's", re.sub("[,?]", "", text.lower())).strip()
    return slow_words(slow_punctuation(slow_strip(text)), answers.CONTRACTIONS)


def slow_textvqa(answer: str, truths: Sequence[str]) -> float:
    truths = [slow_textvqa_text(truth) for truth in truths]
    scores = {unique: slow_leave_one_out(unique, truths) for unique in set(truths)}
    return scores.get(slow_textvqa_text(answer), 0.0)


def slow_vizwiz(answer: str, truths: Sequence[str]) -> float:
    return slow_leave_one_out(slow_words(slow_punctuation(slow_strip(answer)), answers.VIZWIZ_CONTRACTIONS), truths)


PIECES = """
    yes Yes no a The an none Two ten cat dog's dont DONT don't wheres im couldnt've couldn'tve couldnt’ve somebody'd
    let's somebody’d 's red-brown black/white 0 1 10 3. .5 1,000 1,,0 12:30 e.g. ... £5 ٣ ٣,٤ İ é . , ' ’ : &
"""
BITS = [*PIECES.split(), *PUNCTUATION.split(), " ", "  ", "\n", "\t", "\u00a0", "\u2028"]
texts = st.one_of(
    st.lists(st.sampled_from(BITS) | st.characters(), max_size=5).map("".join),
    st.lists(st.sampled_from(BITS), max_size=4).map(" ".join),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """An answer and ten truths from a few texts and variants of them, so that they often match."""
    seeds = draw(st.lists(texts, min_size=1, max_size=3))
    variants: list[Callable[[str], str]] = [
        str, str.upper, str.capitalize, lambda text: f" {text}\n", lambda text: f"{text}.",
        lambda text: f"the {text}", lambda text: text.replace("-", " "), lambda text: text.replace(",", ""),
    ]  # fmt: skip
    text = st.builds(lambda seed, variant: variant(seed), st.sampled_from(seeds), st.sampled_from(variants))
    return draw(text), draw(st.lists(text, min_size=10, max_size=10) | text.map(lambda same: [same] * 10))


@pytest.mark.parametrize(
    ("ours", "plain"), [(vqa_accuracy, slow_vqa), (textvqa_accuracy, slow_textvqa), (vizwiz_accuracy, slow_vizwiz)]
)
@settings(max_examples=400, deadline=None)
@given(questions())
@example(("a" + "." * 40, ["a" + "." * 8] * 2 + ["a"] * 8))
@example(("yes", [" yes", "yes\n", *["yes"] * 8]))
def test_accuracy_equals_the_official_steps_to_the_last_bit(
    ours: Accuracy, plain: Accuracy, question: tuple[str, list[str]]
) -> None:
    answer, truths = question
    assert ours(answer, truths) == plain(answer, truths)


@given(st.lists(questions(), max_size=5))
@settings(max_examples=50, deadline=None)
def test_accuracies_of_many_questions_are_those_of_each(several: list[tuple[str, list[str]]]) -> None:
    accuracies = vqa_accuracies([answer for answer, _ in several], [truths for _, truths in several])
    assert accuracies.dtype == np.float64
    assert accuracies.tolist() == [vqa_accuracy(answer, truths) for answer, truths in several]


# --- sums by hand ---


@pytest.mark.parametrize("accuracy", [vqa_accuracy, textvqa_accuracy, vizwiz_accuracy])
@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        (0, 0.0),
        (1, 0.3),  # left out once: 0; left in nine times: 1/3 each; 9/3 / 10 (not 1/3)
        (2, 0.6),  # 2 x 1/3 + 8 x 2/3 = 6 (not 2/3)
        (3, 0.9),  # 3 x 2/3 + 7 x 1 = 9 (not 1)
        (4, 1.0),  # 4 x 3/3 + 6 x 1
        (10, 1.0),
    ],
)
def test_matches_are_scored_with_one_person_left_out(accuracy: Accuracy, matches: int, expected: float) -> None:
    truths = ["cat"] * matches + [f"dog {place}" for place in range(10 - matches)]
    rounding = 10 * np.finfo(np.float64).eps  # of a sum of ten terms of at most 1
    assert accuracy("cat", truths) == pytest.approx(expected, abs=rounding)
    assert accuracy("cat", truths[::-1]) == pytest.approx(expected, abs=rounding)


def test_fewer_than_ten_people_are_scored_by_the_same_rule() -> None:
    assert vqa_accuracy("cat", ["cat"]) == 0  # no other person is left
    assert vqa_accuracy("cat", ["cat", "dog"]) == pytest.approx(1 / 6)  # (0 + 1/3) / 2
    assert vqa_accuracy("cat", ["cat"] * 3) == pytest.approx(2 / 3)  # two others match, each time


def vqa_same(answer: str, truth: str) -> bool:
    """Whether `answer` scores 1 against four people who answered `truth` and six who did not."""
    return vqa_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == 1


SAME_TO_VQA = [
    *[("Yes", "yes"), ("yes.", "yes"), (" yes\n", "yes"), ("a\tb", "b"), ("", "a"), ("1\u00a02", "1 2")],
    *[("none", "0"), ("ten", "10"), ("one two", "1 2"), ("the cat on a mat", "cat on mat")],
    *[("3.", "3"), ("e.g.", "eg")],  # a period is removed unless a digit follows
    # with a comma between digits, all punctuation is removed; digits are those of Unicode
    *[("1,000", "1000"), ("1,000-2,000", "10002000"), ("1,000 (a lot)", "1000 lot"), ("٣,٤", "٣٤")],
    *[("red-brown", "red brown"), ("black/white", "black white"), ("red- brown", "red brown")],
    ("red -brown-green", "red browngreen"),  # a space next to one hyphen: all hyphens are removed
    *[("dont", "don't"), ("shouldnt've", "shouldn't've"), ("shouldn'tve", "shouldn't've"), ("twas", "'twas")],
    *[("yall'd've", "y'all'd've"), ("'ow'sat", "ow's'at")],
    ("somebody'd", "somebodyd"),  # the reversed entry of the table
]
OTHERWISE_TO_VQA = [
    *[(".5", "5"), ("1.5", "15"), ("12:30", "1230"), ("cat's", "cats"), ("$5", "5"), ("cats", "cat"), ("eleven", "11")],
    *[("im", "i'm"), ("ive", "i've"), ("id've", "i'd've")],  # the table's entries in capitals never match
    ("shouldntve", "shouldn't've"),  # two apostrophes are missing
    ("a" + "." * 33, "a"),  # the 33rd period stays
]


@pytest.mark.parametrize(("answer", "truth"), SAME_TO_VQA)
def test_texts_that_vqa_normalises_alike_match(answer: str, truth: str) -> None:
    assert vqa_same(answer, truth)
    assert vqa_same(truth, answer)


@pytest.mark.parametrize(("answer", "truth"), OTHERWISE_TO_VQA)
def test_texts_that_vqa_normalises_differently_do_not_match(answer: str, truth: str) -> None:
    assert not vqa_same(answer, truth)
    assert not vqa_same(truth, answer)


def test_only_the_first_32_periods_are_removed() -> None:
    assert vqa_same("a" + "." * 32, "a")
    assert not vqa_same("a" + "." * 33, "a" + "." * 34)  # "a." is not "a.."


@pytest.mark.parametrize("answer", ["Yes", "yes.", "yes!", "the yes", "YES"])
def test_vqa_where_all_people_agree_normalises_nothing(answer: str) -> None:
    assert vqa_accuracy(answer, ["yes"] * 10) == 0
    assert vqa_accuracy(answer, ["yes"] * 9 + ["no"]) == 1
    assert vqa_accuracy(answer, [answer] * 10) == 1


def test_vqa_people_agree_after_stripping_white_space() -> None:
    truths = ["yes", " yes", "yes\n", "\tyes ", *["yes"] * 6]
    assert vqa_accuracy("\nyes", truths) == 1
    assert vqa_accuracy("Yes", truths) == 0  # a normalised "Yes" would match all ten
    # "Yes" and "yes" differ, so all are normalised, and all ten match
    assert vqa_accuracy("YES", ["Yes", *["yes"] * 9]) == 1


TO_TEXTVQA = [
    *[("Yes.", "yes", 1), ("a cat", "cat", 1), ("3.", "3", 1), (".5", "5", 0)],  # equal truths are normalised as well
    ("1,000", "1000", 1),
    ("1,000-2,000", "1000 2000", 1),  # commas are removed before other punctuation; VQA gives 10002000
    *[("cat's", "cat 's", 1), ("lets go, now?", "lets go now", 1)],
    ("what's", "whats", 0),  # the answer becomes "what 's", the truth "what's"
]
TO_VIZWIZ = [
    *[("Yes.", "yes", 1), ("the cat", "cat", 1), ("two", "2", 1)],  # the answer is normalised
    # truths are not
    *[("yes", "Yes", 0), ("Yes", "Yes", 0), ("a cat", "a cat", 0), ("two", "two", 0), ("yes", "yes ", 0)],
    *[("dont", "don’t", 1), ("dont", "don't", 0), ("don't", "don't", 1)],  # most contractions have the apostrophe ’
    *[("cant", "can't", 1), ("wheres", "where's", 1), ("couldn'tve", "couldn’t’ve", 1)],  # some have the apostrophe '
    *[("couldnt've", "couldnt've", 1), ("shouldnt’ve", "shouldn’t’ve", 1)],
    *[("somebody’d", "somebodyd", 1), ("somebody'd", "somebody'd", 1)],
]


@pytest.mark.parametrize(("answer", "truth", "expected"), TO_TEXTVQA)
def test_textvqa_normalises_answer_and_truths(answer: str, truth: str, expected: float) -> None:
    assert textvqa_accuracy(answer, [truth] * 10) == expected
    assert textvqa_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == expected
    assert textvqa_accuracy(answer, [truth] * 3 + ["otherwise"] * 7) == pytest.approx(0.9 * expected)


@pytest.mark.parametrize(("answer", "truth", "expected"), TO_VIZWIZ)
def test_vizwiz_normalises_the_answer_only(answer: str, truth: str, expected: float) -> None:
    assert vizwiz_accuracy(answer, [truth] * 10) == expected
    assert vizwiz_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == expected


def test_contractions_lack_one_apostrophe() -> None:
    assert len(answers.CONTRACTIONS) == 114  # 120 published, less 4 in capitals and 2 that change nothing
    for short, full in answers.CONTRACTIONS.items():
        assert short.replace("'", "") == full.replace("'", "")
        assert short.islower()
        assert short.count("'") == full.count("'") + (1 if short == "somebody'd" else -1)
        assert answers.VIZWIZ_CONTRACTIONS.keys() & {short, short.replace("'", "’")}


@pytest.mark.parametrize("accuracy", [vqa_accuracy, textvqa_accuracy, vizwiz_accuracy])
def test_question_without_truths_is_refused(accuracy: Accuracy) -> None:
    with pytest.raises(ValueError, match="without people's answers"):
        accuracy("yes", [])


def test_different_numbers_of_answers_and_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers to 1 questions"):
        vqa_accuracies(["yes", "no"], [["yes"] * 10])
    assert vqa_accuracies([], []).shape == (0,)
