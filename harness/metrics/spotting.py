"""Words found and read in a photograph, counted by the rules of ICDAR 2015 (Robust Reading, Challenge 4).

A detection matches a word if the IoU of the two quadrilaterals is above 0.5; each has at most one match.  Words are
taken in the order of the file, and each takes the first free detection that matches, not the best one.

Words with the transcription "###" are not to be found.  A detection that such a word covers by more than half is
dropped; it neither counts nor matches.

    task           words to be found                             a match is right if
    detection      all but ###                                   always
    end to end     all but ###                                   the texts are equal without regard to case, or after a
                                                                 special character is removed at either end of the truth
    word spotting  those of 3 or more letters and hyphens        the texts are equal without regard to case, after the
                                                                 special characters are removed from the truth

Source: `script.py` of tasks 4.1 and 4.4 (E2E_iou_1_1.py), which rrc.cvc.uab.es distributes.  Lexicons of the strong,
weak and generic settings are given to the methods and are no part of the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core import Quads
from harness.geometry.quads import above_half, covered, iou

IGNORED = "###"
SPECIAL = "!?.:,*\"()·[]/'"  # ignored at the ends of a word, end to end
LEAST = 3  # letters of a word to spot
LETTERS = (("a", "z"), ("A", "Z"), ("À", "ƿ"), ("Ǆ", "ɿ"), ("Ά", "Ͽ"), ("-", "-"))  # ranges
NO_LETTERS = "×÷·"


@dataclass(frozen=True, slots=True)
class Spotted:
    """The numbers of words to be found, of detections that count, of matches, and of right matches in an image."""

    words: int
    detections: int
    matched: int
    right: int


def end_to_end(truth: Quads, found: Quads) -> Spotted:
    """The counts of one image; `matched` are those of detection, `right` those of end-to-end recognition.

    Corners are in whole pixels, and every quadrilateral has a label.  ValueError where a true word has no text.
    """
    return _counted(truth, found, [text != IGNORED for text in truth.labels], truth.labels, spot=False)


def word_spotting(truth: Quads, found: Quads) -> Spotted:
    """The counts of one image for word spotting."""
    wanted = [text != IGNORED and is_spotted(text) for text in truth.labels]
    return _counted(truth, found, wanted, list(map(spotted_text, truth.labels)), spot=True)


def same_text(truth: str, found: str) -> bool:
    """Whether two texts are equal end to end; ValueError where the truth is empty."""
    if not truth:
        raise ValueError("a word without a text cannot be compared")
    truth, found = truth.upper(), found.upper()
    first, last = truth[0] in SPECIAL, truth[-1] in SPECIAL
    return (
        truth == found
        or (first and truth[1:] == found)
        or (last and truth[:-1] == found)
        or (first and last and truth[1:-1] == found)
    )


def spotted_text(text: str) -> str:
    """A transcription without a final 's, hyphens at its ends and special characters."""
    if text.endswith(("'s", "'S")):
        text = text[:-2]
    text = text.strip("-")
    for character in SPECIAL:
        text = text.replace(character, " ")
    return text.strip()


def is_spotted(text: str) -> bool:
    """Whether a transcription is one word of at least three letters and hyphens, without other characters."""
    word = spotted_text(text)
    return (
        " " not in word
        and len(word) >= LEAST
        and all(
            character not in NO_LETTERS and any(low <= character <= high for low, high in LETTERS) for character in word
        )
    )


def _counted(truth: Quads, found: Quads, wanted: Sequence[bool], texts: Sequence[str], *, spot: bool) -> Spotted:
    """The counts of one image; `wanted` and `texts` say which true words are to be found, and as what."""
    ignored = [quad for quad, is_wanted in zip(truth.quads, wanted, strict=True) if not is_wanted]
    free = [
        (quad, text)
        for quad, text in zip(found.quads, found.labels, strict=True)
        if not any(above_half(covered, quad, other) for other in ignored)
    ]
    detections, matched, right = len(free), 0, 0
    for quad, is_wanted, text in zip(truth.quads, wanted, texts, strict=True):
        first = next((one for one in free if above_half(iou, quad, one[0])), None) if is_wanted else None
        if first is not None:
            free.remove(first)
            matched += 1
            right += text.upper() == first[1].upper() if spot else same_text(text, first[1])
    return Spotted(sum(wanted), detections, matched, right)
