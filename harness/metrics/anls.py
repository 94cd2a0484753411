"""ANLS, the average normalised Levenshtein similarity of DocVQA and InfographicVQA, as their official evaluator has it.

The similarity of an answer to an accepted answer is 1 minus their edit distance over the length of the longer one.  The
best of the accepted answers counts.  A similarity under 0.5 counts as 0: the answer is wrong, not misread.

Texts are compared in lower case, with each run of white space as one space and none at the ends.  The length is that of
the original texts, so spare white space raises the similarity of an answer that is not exact.  That is a mistake of the
evaluator, which published numbers contain.

Source: `infographicsvqa_eval.py`, which docvqa.org distributes (read in the copy in QwenLM/Qwen-VL, `eval_mm/`).
"""

from __future__ import annotations

from collections.abc import Sequence

THRESHOLD = 0.5  # similarities under it count as 0


def anls(answer: str, truths: Sequence[str], threshold: float = THRESHOLD) -> float:
    """The similarity of an answer to the nearest truth, 0 to 1; ValueError where `truths` is empty."""
    if not truths:
        raise ValueError("a question without accepted answers cannot be scored")
    similarity = 1 - min(_distance_share(answer, truth) for truth in truths)
    return similarity if similarity >= threshold else 0.0


def levenshtein(one: str, other: str) -> int:
    """The least number of characters to insert, delete or replace that turns one text into the other."""
    if len(one) > len(other):
        one, other = other, one
    above = list(range(len(one) + 1))  # the distances of the prefixes of `one` to the empty text
    for row, character in enumerate(other, 1):
        here = [row]
        for column, own in enumerate(one):
            replaced = above[column] + (own != character)
            here.append(min(replaced, above[column + 1] + 1, here[column] + 1))
        above = here
    return above[-1]


def _distance_share(answer: str, truth: str) -> float:
    """The edit distance over the length of the longer text; 0 where both are empty."""
    longest = max(len(answer.upper()), len(truth.upper()))  # "ß" counts twice, as in the evaluator
    return levenshtein(_plain(answer), _plain(truth)) / longest if longest else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
