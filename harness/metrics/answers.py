"""Answers to questions about images, marked as the official evaluators mark them; each question 0..1.

Ten people answered each question.  An answer is held against every nine of them: a third for each of the nine who said
the same, 1 at most; the mean over the ten is its accuracy.  So 1 match is worth 0.3, 2 0.6, 3 0.9, and 4 or more 1:
not 1/3, 2/3 and 1, as they are where all ten are counted at once.  What counts as the same is each evaluator's own:

    vqa_accuracy       VQA v1 and v2
    textvqa_accuracy   TextVQA
    vizwiz_accuracy    VizWiz

Ten floats are added up in the order of the people, as the evaluators add them: a question's accuracy is theirs to the
last bit.  Their slips are kept, since published numbers rest on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ENOUGH = 3  # people who say the same make an answer right
REMEMBERED = 1 << 17  # texts whose normal form is kept: people's answers repeat
MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')  # neither ' nor : nor . is among them
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"} | {
    "seven": "7", "eight": "8", "nine": "9", "ten": "10"
}  # fmt: skip

# The evaluators look up each of these without one of its apostrophes ("dont", "shouldnt've", "shouldn'tve") and put it
# back.  Their entries in capitals (Im, Ive, Id've, I'dve) are left out here: words come in lower case, and never meet
# them.  One entry is the wrong way round.
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
    for place, mark in enumerate(form)
    if mark == "'"
} | {"somebody'd": "somebodyd"}

# VizWiz copied the table with ’ for ', but for these.
STRAIGHT = {"couldn'tve", "hadn'tve", "ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"}
VIZWIZ_CONTRACTIONS = {
    lacking if lacking in STRAIGHT else lacking.replace("'", "’"): form if form in STRAIGHT else form.replace("'", "’")
    for lacking, form in CONTRACTIONS.items()
}

_comma_in_number = re.compile(r"\d,\d")
_period = re.compile(r"\.(?!\d)")
_PERIODS = 32  # `re.UNICODE`, which the evaluators pass where a count is due


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """The VQA evaluator's accuracy of one answer; ValueError where nobody answered.

    Texts are normalised only where the truths differ.  Where all agree, they must be met to the letter: "Yes" is wrong
    where ten people said "yes".  (`PythonEvaluationTools/vqaEvaluation/vqaEval.py` of github.com/GT-Vision-Lab/VQA, as
    it is now; an earlier form, c4e6a0e, which LAVIS copied, normalised every answer and only the truths' punctuation.)
    """
    texts = list(map(_stripped, truths))
    if texts and texts.count(texts[0]) == len(texts):
        return _accuracy(_stripped(answer), texts)
    return _accuracy(_vqa_text(answer), map(_vqa_text, truths))


def vqa_accuracies(answers: Sequence[str], truths: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """(questions,): `vqa_accuracy` of each; ValueError where there are not as many answers as questions."""
    if len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers to {len(truths)} questions")
    return np.fromiter(map(vqa_accuracy, answers, truths), np.float64, len(answers))


def textvqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """TextVQA's accuracy of one answer; ValueError where nobody answered.

    Always normalised: commas and question marks go first ("1,000" is "1000"), "'s" becomes a word, and then as in VQA.
    (`TextVQAAccuracyEvaluator` in `mmf/utils/m4c_evaluators.py` of github.com/facebookresearch/mmf, which takes ten
    truths and no other number.)
    """
    return _accuracy(_textvqa_text(answer), map(_textvqa_text, truths))


def vizwiz_accuracy(answer: str, truths: Sequence[str]) -> float:
    """VizWiz's accuracy of one answer; ValueError where nobody answered.

    The answer is normalised and the truths never are: nothing matches a truth of "a cat", "Yes" or "two".  People are
    told apart by their place, so that those who said the same are not left out together.  (`VQAEval` of Qing Li's
    VizWiz API, which vizwiz.org hands out; read in the copy at `vlm_eval/util/evaluation/vizwiz/eval.py` of
    github.com/TRI-ML/vlm-evaluation and in another that has the ’ which that one lost.)
    """
    return _accuracy(_vizwiz_text(answer), truths)


def _accuracy(answer: str, truths: Iterable[str]) -> float:
    return _left_one_out(tuple([truth == answer for truth in truths]))


@lru_cache(REMEMBERED)
def _left_one_out(matching: tuple[bool, ...]) -> float:
    """The mean, over the people left out, of min(1, those left who match / 3), from who of all of them matches."""
    if not matching:
        raise ValueError("a question that nobody answered cannot be marked")
    matches = sum(matching)
    return sum(min(1.0, (matches - left_out) / ENOUGH) for left_out in matching) / len(matching)


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(REMEMBERED)
def _vqa_text(text: str) -> str:
    return _reworded(_unpunctuated(_stripped(text)), CONTRACTIONS)


@lru_cache(REMEMBERED)
def _textvqa_text(text: str) -> str:
    bare = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _reworded(_unpunctuated(_stripped(bare)), CONTRACTIONS)


def _vizwiz_text(text: str) -> str:
    return _reworded(_unpunctuated(_stripped(text)), VIZWIZ_CONTRACTIONS)


def _unpunctuated(text: str) -> str:
    """Each mark taken out where a space precedes or follows it anywhere in the text, else made a space ("a-b", "a b").

    Every mark is taken out of a text with a comma between digits.  A period goes unless a digit follows: the evaluators
    meant to ask for a digit before it too, but "(?!<=" looks nowhere.  The 33rd such period and those after it stay.
    """
    left = text
    if marks := MARKS.intersection(text):
        number = _comma_in_number.search(text) is not None
        for mark in marks:
            left = left.replace(mark, "" if number or f"{mark} " in text or f" {mark}" in text else " ")
    return _period.sub("", left, count=_PERIODS) if "." in left else left


def _reworded(text: str, contractions: Mapping[str, str]) -> str:
    """Lower case, number words as digits, no articles, known missing apostrophes put back, single spaces."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)
