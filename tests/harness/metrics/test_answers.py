"""Marks for answers, against the official evaluators' steps told again plainly, and against sums done by hand."""

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

Marker = Callable[[str, Sequence[str]], float]

# --- the official steps, one after the other, as slowly as they are published ---

PUNCTUATION = r"""; / [ ] " { } ( ) = + \ _ - > < @ ` , ? !"""
WORDS = "none zero one two three four five six seven eight nine ten"
DIGITS = "0 0 1 2 3 4 5 6 7 8 9 10"


def slow_punctuation(text: str) -> str:
    out = text
    for mark in PUNCTUATION.split():
        beside_space = re.search(re.escape(mark) + " ", text) or re.search(" " + re.escape(mark), text)
        if beside_space or re.search(r"\d,\d", text):
            out = re.sub(re.escape(mark), "", out)
        else:
            out = re.sub(re.escape(mark), " ", out)
    # as published: the first group was meant for (?<!\d), and the 32 for a flag
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


SAID = """
    yes Yes no a The an none Two ten cat dog's dont DONT don't wheres im couldnt've couldn'tve couldnt’ve somebody'd
    let's somebody’d 's red-brown black/white 0 1 10 3. .5 1,000 1,,0 12:30 e.g. ... £5 ٣ ٣,٤ İ é . , ' ’ : &
"""
BITS = [*SAID.split(), *PUNCTUATION.split(), " ", "  ", "\n", "\t", "\u00a0", "\u2028"]
texts = st.one_of(
    st.lists(st.sampled_from(BITS) | st.characters(), max_size=5).map("".join),
    st.lists(st.sampled_from(BITS), max_size=4).map(" ".join),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """An answer and ten truths out of few texts and their near likes, so that they often match."""
    seeds = draw(st.lists(texts, min_size=1, max_size=3))
    likes: list[Callable[[str], str]] = [
        str, str.upper, str.capitalize, lambda text: f" {text}\n", lambda text: f"{text}.",
        lambda text: f"the {text}", lambda text: text.replace("-", " "), lambda text: text.replace(",", ""),
    ]  # fmt: skip
    said = st.builds(lambda seed, like: like(seed), st.sampled_from(seeds), st.sampled_from(likes))
    return draw(said), draw(st.lists(said, min_size=10, max_size=10) | said.map(lambda text: [text] * 10))


@pytest.mark.parametrize(
    ("ours", "plain"), [(vqa_accuracy, slow_vqa), (textvqa_accuracy, slow_textvqa), (vizwiz_accuracy, slow_vizwiz)]
)
@settings(max_examples=400, deadline=None)
@given(questions())
@example(("a" + "." * 40, ["a" + "." * 8] * 2 + ["a"] * 8))
@example(("yes", [" yes", "yes\n", *["yes"] * 8]))
def test_as_the_official_steps(ours: Marker, plain: Marker, question: tuple[str, list[str]]) -> None:
    answer, truths = question
    assert ours(answer, truths) == plain(answer, truths)  # to the last bit


@given(st.lists(questions(), max_size=5))
@settings(max_examples=50, deadline=None)
def test_many_at_once(asked: list[tuple[str, list[str]]]) -> None:
    marks = vqa_accuracies([answer for answer, _ in asked], [truths for _, truths in asked])
    assert marks.dtype == np.float64
    assert marks.tolist() == [vqa_accuracy(answer, truths) for answer, truths in asked]


# --- sums done by hand ---


@pytest.mark.parametrize("mark", [vqa_accuracy, textvqa_accuracy, vizwiz_accuracy])
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
def test_what_each_match_is_worth(mark: Marker, matches: int, expected: float) -> None:
    truths = ["cat"] * matches + [f"dog {place}" for place in range(10 - matches)]
    assert mark("cat", truths) == pytest.approx(expected, abs=1e-15)
    assert mark("cat", truths[::-1]) == pytest.approx(expected, abs=1e-15)


def test_fewer_than_ten_people() -> None:
    assert vqa_accuracy("cat", ["cat"]) == 0  # nobody is left
    assert vqa_accuracy("cat", ["cat", "dog"]) == pytest.approx(1 / 6)  # (0 + 1/3) / 2
    assert vqa_accuracy("cat", ["cat"] * 3) == pytest.approx(2 / 3)  # each time two are left


def vqa_same(answer: str, truth: str) -> bool:
    """Whether four people who said `truth`, and six who did not, make `answer` right."""
    return vqa_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == 1


SAME_TO_VQA = [
    *[("Yes", "yes"), ("yes.", "yes"), (" yes\n", "yes"), ("a\tb", "b"), ("", "a"), ("1\u00a02", "1 2")],
    *[("none", "0"), ("ten", "10"), ("one two", "1 2"), ("the cat on a mat", "cat on mat")],
    *[("3.", "3"), ("e.g.", "eg")],  # a period goes where no digit follows
    # a comma between digits: every mark goes; digits are Unicode's
    *[("1,000", "1000"), ("1,000-2,000", "10002000"), ("1,000 (a lot)", "1000 lot"), ("٣,٤", "٣٤")],
    *[("red-brown", "red brown"), ("black/white", "black white"), ("red- brown", "red brown")],
    ("red -brown-green", "red browngreen"),  # a space beside one of them: all of them go
    *[("dont", "don't"), ("shouldnt've", "shouldn't've"), ("shouldn'tve", "shouldn't've"), ("twas", "'twas")],
    *[("yall'd've", "y'all'd've"), ("'ow'sat", "ow's'at")],
    ("somebody'd", "somebodyd"),  # the wrong way round
]
OTHERWISE_TO_VQA = [
    *[(".5", "5"), ("1.5", "15"), ("12:30", "1230"), ("cat's", "cats"), ("$5", "5"), ("cats", "cat"), ("eleven", "11")],
    *[("im", "i'm"), ("ive", "i've"), ("id've", "i'd've")],  # the entries in capitals are never met
    ("shouldntve", "shouldn't've"),  # two apostrophes are missing
    ("a" + "." * 33, "a"),  # the 33rd period stays
]


@pytest.mark.parametrize(("answer", "truth"), SAME_TO_VQA)
def test_the_same_to_vqa(answer: str, truth: str) -> None:
    assert vqa_same(answer, truth)
    assert vqa_same(truth, answer)


@pytest.mark.parametrize(("answer", "truth"), OTHERWISE_TO_VQA)
def test_not_the_same_to_vqa(answer: str, truth: str) -> None:
    assert not vqa_same(answer, truth)
    assert not vqa_same(truth, answer)


def test_thirty_two_periods_go() -> None:
    assert vqa_same("a" + "." * 32, "a")
    assert not vqa_same("a" + "." * 33, "a" + "." * 34)  # "a." and "a.."


@pytest.mark.parametrize("answer", ["Yes", "yes.", "yes!", "the yes", "YES"])
def test_where_all_agree_nothing_is_normalised(answer: str) -> None:
    assert vqa_accuracy(answer, ["yes"] * 10) == 0
    assert vqa_accuracy(answer, ["yes"] * 9 + ["no"]) == 1
    assert vqa_accuracy(answer, [answer] * 10) == 1


def test_all_agree_once_stripped() -> None:
    truths = ["yes", " yes", "yes\n", "\tyes ", *["yes"] * 6]
    assert vqa_accuracy("\nyes", truths) == 1
    assert vqa_accuracy("Yes", truths) == 0  # normalised, it would match all ten
    # "Yes" and "yes" do not agree, so both are normalised, and all ten match
    assert vqa_accuracy("YES", ["Yes", *["yes"] * 9]) == 1


TO_TEXTVQA = [
    *[("Yes.", "yes", 1), ("a cat", "cat", 1), ("3.", "3", 1), (".5", "5", 0)],  # ten who agree are normalised too
    ("1,000", "1000", 1),
    ("1,000-2,000", "1000 2000", 1),  # the commas are gone before any mark is looked at: 10002000 to VQA
    *[("cat's", "cat 's", 1), ("lets go, now?", "lets go now", 1)],
    ("what's", "whats", 0),  # "what 's", but "what's" for the truth
]
TO_VIZWIZ = [
    *[("Yes.", "yes", 1), ("the cat", "cat", 1), ("two", "2", 1)],  # the answer is normalised
    # no truth is
    *[("yes", "Yes", 0), ("Yes", "Yes", 0), ("a cat", "a cat", 0), ("two", "two", 0), ("yes", "yes ", 0)],
    *[("dont", "don’t", 1), ("dont", "don't", 0), ("don't", "don't", 1)],  # most contractions have the other apostrophe
    *[("cant", "can't", 1), ("wheres", "where's", 1), ("couldn'tve", "couldn’t’ve", 1)],  # some have not
    *[("couldnt've", "couldnt've", 1), ("shouldnt’ve", "shouldn’t’ve", 1)],
    *[("somebody’d", "somebodyd", 1), ("somebody'd", "somebody'd", 1)],
]


@pytest.mark.parametrize(("answer", "truth", "expected"), TO_TEXTVQA)
def test_the_same_to_textvqa(answer: str, truth: str, expected: float) -> None:
    assert textvqa_accuracy(answer, [truth] * 10) == expected
    assert textvqa_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == expected
    assert textvqa_accuracy(answer, [truth] * 3 + ["otherwise"] * 7) == pytest.approx(0.9 * expected)


@pytest.mark.parametrize(("answer", "truth", "expected"), TO_VIZWIZ)
def test_the_same_to_vizwiz(answer: str, truth: str, expected: float) -> None:
    assert vizwiz_accuracy(answer, [truth] * 10) == expected
    assert vizwiz_accuracy(answer, [truth] * 4 + ["otherwise"] * 6) == expected


def test_the_table_of_contractions() -> None:
    assert len(answers.CONTRACTIONS) == 114  # 120 published, less 4 in capitals and 2 that change nothing
    for written, meant in answers.CONTRACTIONS.items():
        assert written.replace("'", "") == meant.replace("'", "")
        assert written.islower()
        assert written.count("'") == meant.count("'") + (1 if written == "somebody'd" else -1)
        assert answers.VIZWIZ_CONTRACTIONS.keys() & {written, written.replace("'", "’")}


@pytest.mark.parametrize("mark", [vqa_accuracy, textvqa_accuracy, vizwiz_accuracy])
def test_nobody_answered(mark: Marker) -> None:
    with pytest.raises(ValueError, match="nobody answered"):
        mark("yes", [])


def test_as_many_answers_as_questions() -> None:
    with pytest.raises(ValueError, match="2 answers to 1 questions"):
        vqa_accuracies(["yes", "no"], [["yes"] * 10])
    assert vqa_accuracies([], []).shape == (0,)
