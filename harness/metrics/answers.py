"""Accuracy of answers to questions about images, 0 to 1 for each question, as the official evaluators compute it.

Ten people answered each question.  The evaluators leave out one person at a time and compute min(1, matches / 3), where
`matches` counts those of the other nine who gave the same answer.  The accuracy is the mean of the ten results.  So 1
match gives 0.3, 2 give 0.6, 3 give 0.9, and 4 or more give 1.  (Counting all ten at once would give 1/3, 2/3 and 1.)

Each evaluator has its own rules for which texts are the same:

    vqa_accuracy       VQA v1 and v2
    textvqa_accuracy   TextVQA
    vizwiz_accuracy    VizWiz

The ten results are summed in the order of the people, as the evaluators do, so the accuracies are equal to the last
bit.  The evaluators' mistakes are kept, because published numbers contain them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ENOUGH = 3  # matches that give an accuracy of 1
CACHED = 1 << 17  # texts whose normal form is cached: people's answers repeat
PUNCTUATION = frozenset(';/[]"{}()=+\\_-><@`,?!')  # without ' and : and .
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"} | {
    "seven": "7", "eight": "8", "nine": "9", "ten": "10"
}  # fmt: skip

# The evaluators' table maps each of these words, with one apostrophe missing ("dont", "shouldnt've", "shouldn'tve"), to
# the full word.  Its entries in capitals (Im, Ive, Id've, I'dve) are left out here: words are in lower case when they
# are looked up.  One entry of the table is reversed: it maps "somebody'd" to "somebodyd".
CONTRACTED = """
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't
    needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
    somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    form[:place] + form[place + 1 :]: form
    for form in CONTRACTED.split()
    for place, character in enumerate(form)
    if character == "'"
} | {"somebody'd": "somebodyd"}

# VizWiz's copy of the table has ’ in place of ', except in these entries.
STRAIGHT = {"couldn'tve", "hadn'tve", "ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"}
VIZWIZ_CONTRACTIONS = {
    lacking if lacking in STRAIGHT else lacking.replace("'", "’"): form if form in STRAIGHT else form.replace("'", "’")
    for lacking, form in CONTRACTIONS.items()
}

_comma_in_number = re.compile(r"\d,\d")
_period = re.compile(r"\.(?!\d)")
_PERIODS = 32  # the value of `re.UNICODE`, which the evaluators pass as `count` by mistake


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """The VQA evaluator's accuracy of one answer; ValueError where `truths` is empty.

    Texts are normalised only where the truths differ.  Where all truths are equal, the answer must equal them exactly:
    "Yes" is wrong where ten people said "yes".

    Source: `PythonEvaluationTools/vqaEvaluation/vqaEval.py` of github.com/GT-Vision-Lab/VQA, current version.  LAVIS
    copied the earlier version c4e6a0e, which normalises every answer, and of the truths only the punctuation.
    """
    texts = list(map(_stripped, truths))
    if texts and texts.count(texts[0]) == len(texts):
        return _accuracy(_stripped(answer), texts)
    return _accuracy(_vqa_text(answer), map(_vqa_text, truths))


def vqa_accuracies(answers: Sequence[str], truths: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """(questions,): `vqa_accuracy` of each question; ValueError where the lengths differ."""
    if len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers to {len(truths)} questions")
    return np.fromiter(map(vqa_accuracy, answers, truths), np.float64, len(answers))


def textvqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """The TextVQA evaluator's accuracy of one answer; ValueError where `truths` is empty.

    All texts are normalised: commas and question marks are removed ("1,000" is "1000"), "'s" becomes a word of its own,
    and the rules of VQA follow.

    Source: `TextVQAAccuracyEvaluator` in `mmf/utils/m4c_evaluators.py` of github.com/facebookresearch/mmf, which
    accepts exactly ten truths.
    """
    return _accuracy(_textvqa_text(answer), map(_textvqa_text, truths))


def vizwiz_accuracy(answer: str, truths: Sequence[str]) -> float:
    """The VizWiz evaluator's accuracy of one answer; ValueError where `truths` is empty.

    The answer is normalised and the truths are not, so no answer matches a truth of "a cat", "Yes" or "two".  People
    are identified by their position, so two people with the same answer are not left out together.

    Source: `VQAEval` of Qing Li's VizWiz API, which vizwiz.org distributes.  It was read in two copies: the one at
    `vlm_eval/util/evaluation/vizwiz/eval.py` of github.com/TRI-ML/vlm-evaluation, which lost the character ’, and one
    that has it.
    """
    return _accuracy(_vizwiz_text(answer), truths)


def _accuracy(answer: str, truths: Iterable[str]) -> float:
    return _left_one_out(tuple([truth == answer for truth in truths]))


@lru_cache(CACHED)
def _left_one_out(matching: tuple[bool, ...]) -> float:
    """The mean over people, each left out once, of min(1, matches among the others / 3); `matching` is by person."""
    if not matching:
        raise ValueError("a question without people's answers cannot be scored")
    matches = sum(matching)
    return sum(min(1.0, (matches - left_out) / ENOUGH) for left_out in matching) / len(matching)


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(CACHED)
def _vqa_text(text: str) -> str:
    return _reworded(_unpunctuated(_stripped(text)), CONTRACTIONS)


@lru_cache(CACHED)
def _textvqa_text(text: str) -> str:
    bare = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _reworded(_unpunctuated(_stripped(bare)), CONTRACTIONS)


def _vizwiz_text(text: str) -> str:
    return _reworded(_unpunctuated(_stripped(text)), VIZWIZ_CONTRACTIONS)


def _unpunctuated(text: str) -> str:
    """`text` without punctuation, by the evaluators' rules.

    A punctuation character that has a space before or after it anywhere in the text is removed; any other becomes a
    space ("a-b" is "a b").  In a text with a comma between digits, all punctuation is removed.  A period is removed
    unless a digit follows.  (The evaluators meant to check for a digit before it as well, but wrote "(?!<=".)  Only the
    first 32 such periods are removed.
    """
    left = text
    if present := PUNCTUATION.intersection(text):
        number = _comma_in_number.search(text) is not None
        for character in present:
            spaced = f"{character} " in text or f" {character}" in text
            left = left.replace(character, "" if number or spaced else " ")
    return _period.sub("", left, count=_PERIODS) if "." in left else left


def _reworded(text: str, contractions: Mapping[str, str]) -> str:
    """In lower case, with number words as digits, without articles, with missing apostrophes restored."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)
